"""Training rows: read from the artifact store, validated one by one, tokenised, and never dropped without a word.

A row that is not what it should be is an error. A row longer than `max_length` tokens would be cut (a cut answer has no
end of turn) or silently dropped by TRL; here such rows are left out, counted and reported, and refused when they are
more than 1 % of the rows: then the length or the data is wrong.
"""

import json
import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from datasets import Dataset
from pydantic import Field, ValidationError

from selfreward.contracts.base import Contract, Message, explain
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.store.artifacts import ArtifactStore
from services.trainer.training.checks import JobRefused, common_prefix, render

MOST_OVERLONG = 0.01
IGNORED = -100
_log = logging.getLogger(__name__)


class SftRow(Contract):
    """One supervised row; the loss is on `completion` only."""

    prompt: list[Message] = Field(min_length=1)
    completion: list[Message] = Field(min_length=1)


Row = TypeVar("Row", SftRow, PreferencePair, Rollout)


@dataclass(frozen=True)
class Prepared:
    """Rows as TRL takes them, their lengths in tokens, and how many others were left out as too long or identical."""

    rows: list[dict[str, Any]]
    lengths: list[int]
    overlong: int
    identical: int = 0


def sft_rows(store: ArtifactStore, names: Sequence[str], tokenizer: Any, max_length: int) -> Prepared:
    """Rows `{"input_ids", "labels"}`; labels are -100 on the prompt, so the loss is on the completion only."""
    found = []
    for where, row in read_rows(store, names, SftRow):
        _check_answer(where, "completion", row.completion)
        ids = render(tokenizer, [*row.prompt, *row.completion])
        start = common_prefix(render(tokenizer, row.prompt, answer_next=True), ids)
        found.append((where, len(ids), {"input_ids": ids, "labels": [IGNORED] * start + ids[start:]}))
    return _within(found, max_length)


def dpo_rows(store: ArtifactStore, names: Sequence[str], tokenizer: Any, max_length: int) -> Prepared:
    """Rows `{"prompt", "chosen", "rejected"}`, conversational; TRL tokenises them by the same template.

    Where some of the pairs are of single steps, all rows are token ids instead (`services.trainer.training.steps`).
    Where a pair
    has a soft label, all have a `weight`, which is 1 for those with a hard one. A noisy judge gives one text two
    scores; such pairs prefer nothing and have no gradient: they are left out, counted.
    """
    found = []
    identical: list[str] = []
    stepwise = False
    for where, row in read_rows(store, names, PreferencePair):
        _check_answer(where, "chosen", row.chosen)
        _check_answer(where, "rejected", row.rejected)
        if row.chosen == row.rejected:
            identical.append(where)
            continue
        ids = pair_ids(tokenizer, row)
        longest = len(ids["prompt_ids"]) + max(len(ids["chosen_ids"]), len(ids["rejected_ids"]))
        found.append((where, longest, {**row.model_dump(include={"prompt", "chosen", "rejected", "weight"}), **ids}))
        stepwise = stepwise or row.separator is not None
    soft = any(row["weight"] is not None for _, _, row in found)
    if soft and stepwise:
        raise JobRefused("some pairs have a weight and others are of single steps: train on the one or the other")
    for _, _, made in found:
        for name in ("prompt", "chosen", "rejected"):
            del made[name if stepwise else f"{name}_ids"]
        weight = made.pop("weight")
        if soft:
            made["weight"] = 1.0 if weight is None else weight
    if identical:
        _log.warning(
            "%d pairs prefer a text to itself: %s; they are left out", len(identical), ", ".join(identical[:3])
        )
    return replace(_within(found, max_length), identical=len(identical))


def read_rows(store: ArtifactStore, names: Sequence[str], model: type[Row]) -> Iterator[tuple[str, Row]]:
    """Each row with the words that locate it: file and row number, counted from 1."""
    for name in names:
        try:
            lines = store.read_bytes(name).splitlines()
        except FileNotFoundError:
            raise JobRefused(f"dataset {name!r} does not exist under {store.root}: write it before the job") from None
        for number, line in enumerate(lines, start=1):
            where = f"{name} row {number}"
            try:
                yield where, model.model_validate(json.loads(line))
            except json.JSONDecodeError as error:
                raise JobRefused(f"{where} is not JSON ({error}): write one JSON object on each line") from None
            except ValidationError as error:
                raise JobRefused(f"{where}: fix or drop the row:\n{explain(error)}") from None


def _check_answer(where: str, field: str, messages: list[Message]) -> None:
    if messages[:1] == [] or messages[0].role != "assistant" or messages[-1].role != "assistant":
        roles = [message.role for message in messages]
        raise JobRefused(f"{where}: {field} has roles {roles}; it must begin and end with an assistant message")
    if not messages[-1].content.strip():
        raise JobRefused(f"{where}: {field} is an empty answer; drop the row")


def _within(found: list[tuple[str, int, dict[str, Any]]], max_length: int) -> Prepared:
    """Sort out the rows that are too long; `found` is where each row is, its length in tokens and the row."""
    if not found:
        raise JobRefused("the datasets hold no rows: give at least one")
    overlong = [where for where, length, _ in found if length > max_length]
    if overlong:
        text = f"{len(overlong)} of {len(found)} rows are longer than {max_length} tokens: {', '.join(overlong[:3])}"
        if len(overlong) > MOST_OVERLONG * len(found):
            raise JobRefused(f"{text}; raise max_length (within the model's context) or shorten the rows")
        _log.warning("%s; they are left out", text)
    kept = [(row, length) for _, length, row in found if length <= max_length]
    return Prepared([row for row, _ in kept], [length for _, length in kept], len(overlong))


def training_order(lengths: Sequence[int], epochs: float, batch_size: int, seed: int) -> list[int]:
    """Row indices of the whole training, `epochs` times all rows (rounded to whole rows, at least one)."""
    total = max(1, round(epochs * len(lengths)))
    order: list[int] = []
    epoch = 0
    while len(order) < total:
        indices = list(range(len(lengths)))
        random.Random(f"{seed} {epoch}").shuffle(indices)  # noqa: S311 - guards no secret
        order += indices
        epoch += 1
    steps = (order[start : min(start + batch_size, total)] for start in range(0, total, batch_size))
    return [index for step in steps for index in sorted(step, key=lambda index: lengths[index])]


def ordered_dataset(prepared: Prepared, epochs: float, batch_size: int, seed: int) -> Dataset:
    """The rows as a dataset in training order, to be read once from its beginning to its end."""
    order = training_order(prepared.lengths, epochs, batch_size, seed)
    return Dataset.from_list(prepared.rows).select(order)


def pair_ids(tokenizer: Any, pair: PreferencePair) -> dict[str, list[int]]:
    """Token ids `prompt_ids`, `chosen_ids` and `rejected_ids` of a pair, of whole answers or of steps.

    The completions start where either sequence departs from the prompt's tokens, as TRL has it: a tokenizer may merge
    across the border.
    """
    begins = [message.content for message in pair.prompt[-1:] if message.role == "assistant" and pair.separator]
    prompt = render_begun(tokenizer, pair.prompt) if begins else render(tokenizer, pair.prompt, answer_next=True)
    asked = pair.prompt[: len(pair.prompt) - len(begins)]
    sides = []
    for side in (pair.chosen, pair.rejected):
        if pair.separator is None:
            sides.append(render(tokenizer, [*pair.prompt, *side]))
            continue
        text = "".join([*begins, side[-1].content])
        turns = [*asked, Message(role="assistant", content=text)]
        goes_on = text.endswith(pair.separator)
        sides.append(render_begun(tokenizer, turns) if goes_on else render(tokenizer, turns))
    start = min(common_prefix(prompt, side) for side in sides)
    return {"prompt_ids": prompt[:start], "chosen_ids": sides[0][start:], "rejected_ids": sides[1][start:]}


def render_begun(tokenizer: Any, messages: list[Message]) -> list[int]:
    """Token ids of a conversation whose last message is not at its end: no end of turn follows it."""
    turns = [message.model_dump() for message in messages]
    ids: list[int] = tokenizer.apply_chat_template(turns, continue_final_message=True, tokenize=True, return_dict=False)
    return ids
