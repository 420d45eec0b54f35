"""Training rows: read from the artifact store, validated one by one, tokenised, and put in training order.

An invalid row is an error. TRL would cut a row longer than `max_length` tokens, so that the answer has no end of turn,
or drop it silently; here such rows are left out, counted and logged. When they are more than 1 % of all rows, the
length or the data is wrong, and the job is refused.
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
from selfreward.contracts.rollouts import PreferencePair
from selfreward.store.artifacts import ArtifactStore
from services.trainer.training.checks import JobRefused, common_prefix, render

IGNORED = -100
_MAX_OVERLONG_SHARE = 0.01
_log = logging.getLogger(__name__)
Row = TypeVar("Row", bound=Contract)


class SftRow(Contract):
    """One supervised row; the loss is on `completion` only."""

    prompt: list[Message] = Field(min_length=1)
    completion: list[Message] = Field(min_length=1)


@dataclass(frozen=True)
class Prepared:
    """Rows in TRL's form with their lengths in tokens.

    `overlong` and `identical` count the rows that were left out: longer than the limit, or with the same text on both
    sides.
    """

    rows: list[dict[str, Any]]
    lengths: list[int]
    overlong: int
    identical: int = 0


def sft_rows(store: ArtifactStore, names: Sequence[str], tokenizer: Any, max_length: int) -> Prepared:
    """Rows `{"input_ids", "labels"}`; labels are -100 on the prompt, so the loss is on the completion only.

    Raises JobRefused for an invalid row, and where more than 1 % are longer than `max_length` tokens.
    """
    tokenised = []
    for where, row in read_rows(store, names, SftRow):
        _check_answer(where, "completion", row.completion)
        ids = render(tokenizer, [*row.prompt, *row.completion])
        start = common_prefix(render(tokenizer, row.prompt, answer_next=True), ids)
        tokenised.append((where, len(ids), {"input_ids": ids, "labels": [IGNORED] * start + ids[start:]}))
    return _within(tokenised, max_length)


def dpo_rows(store: ArtifactStore, names: Sequence[str], tokenizer: Any, max_length: int) -> Prepared:
    """Rows `{"prompt", "chosen", "rejected"}`, conversational; TRL tokenises them by the same template.

    If some pairs are of single steps, all rows are token ids instead (`pair_ids`). If some have a soft label, all rows
    have a `weight`, 1 for the others. Pairs of one text with itself, to which a noisy judge gave two scores, have no
    gradient: they are left out and counted.

    Raises JobRefused as `sft_rows` does, and for soft labels beside pairs of single steps.
    """
    # Every pair is tokenised here once to learn its length, whether TRL gets its tokens or its texts.
    tokenised: list[tuple[str, int, dict[str, Any]]] = []
    identical: list[str] = []
    stepwise = False
    for where, row in read_rows(store, names, PreferencePair):
        _check_answer(where, "chosen", row.chosen)
        _check_answer(where, "rejected", row.rejected)
        if row.chosen == row.rejected:
            identical.append(where)
            continue
        ids = pair_ids(tokenizer, row)
        length = len(ids["prompt_ids"]) + max(len(ids["chosen_ids"]), len(ids["rejected_ids"]))
        texts = row.model_dump(include={"prompt", "chosen", "rejected", "weight"})
        tokenised.append((where, length, {**texts, **ids}))
        stepwise = stepwise or row.separator is not None
    # TRL wants the same columns in every row: texts or token ids, with weights or without.
    soft = any(row["weight"] is not None for _, _, row in tokenised)
    if soft and stepwise:
        raise JobRefused("some pairs have a weight and others are of single steps: train on the one or the other")
    for _, _, columns in tokenised:
        for name in ("prompt", "chosen", "rejected"):
            del columns[name if stepwise else f"{name}_ids"]
        weight = columns.pop("weight")
        if soft:
            columns["weight"] = 1.0 if weight is None else weight
    if identical:
        _log.warning(
            "%d pairs prefer a text to itself: %s; they are left out", len(identical), ", ".join(identical[:3])
        )
    return replace(_within(tokenised, max_length), identical=len(identical))


def read_rows(store: ArtifactStore, names: Sequence[str], model: type[Row]) -> Iterator[tuple[str, Row]]:
    """Each row of the artifacts `names` with its place in words: file and row number, counted from 1.

    Raises JobRefused for a missing file and for an invalid row.
    """
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


def _within(tokenised: list[tuple[str, int, dict[str, Any]]], max_length: int) -> Prepared:
    """Leave out the rows that are too long; `tokenised` has each row's place, length in tokens and columns."""
    if not tokenised:
        raise JobRefused("the datasets hold no rows: give at least one")
    overlong = [where for where, length, _ in tokenised if length > max_length]
    leave_out(
        overlong,
        len(tokenised),
        f"rows are longer than {max_length} tokens",
        "raise max_length (within the model's context) or shorten the rows",
    )
    kept = [(row, length) for _, length, row in tokenised if length <= max_length]
    return Prepared([row for row, _ in kept], [length for _, length in kept], len(overlong))


def leave_out(overlong: Sequence[str], total: int, problem: str, remedy: str) -> None:
    """Log the places of rows that are left out. Raises JobRefused with the remedy when they are more than 1 %."""
    if not overlong:
        return
    text = f"{len(overlong)} of {total} {problem}: {', '.join(overlong[:3])}"
    if len(overlong) > _MAX_OVERLONG_SHARE * total:
        raise JobRefused(f"{text}; {remedy}")
    _log.warning("%s; they are left out", text)


def training_order(lengths: Sequence[int], epochs: float, batch_size: int, seed: int) -> list[int]:
    """Row indices of the whole training: `epochs` times all rows (rounded to whole rows, at least one).

    Each epoch is shuffled by `seed`. Within a batch rows are sorted by length, so that passes have little padding.
    """
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
    """The rows of the whole training as a dataset in training order, to be read once."""
    order = training_order(prepared.lengths, epochs, batch_size, seed)
    return Dataset.from_list(prepared.rows).select(order)


def pair_ids(tokenizer: Any, pair: PreferencePair) -> dict[str, list[int]]:
    """Token ids `prompt_ids`, `chosen_ids` and `rejected_ids` of a pair, of whole answers or of single steps.

    The completions start where either sequence departs from the prompt's tokens, as in TRL: a tokenizer may merge
    tokens across the border.
    """
    # The prompt of a step ends with the answer so far, whose turn the step continues.
    begins = [message.content for message in pair.prompt[-1:] if message.role == "assistant" and pair.separator]
    prompt = render_begun(tokenizer, pair.prompt) if begins else render(tokenizer, pair.prompt, answer_next=True)
    asked = pair.prompt[: len(pair.prompt) - len(begins)]
    # A step that ends with the separator is followed by others; the last one gets the end of the turn.
    sides = []
    for side in (pair.chosen, pair.rejected):
        if pair.separator is None:
            sides.append(render(tokenizer, [*pair.prompt, *side]))
            continue
        text = "".join([*begins, side[-1].content])
        turns = [*asked, Message(role="assistant", content=text)]
        continues = text.endswith(pair.separator)
        sides.append(render_begun(tokenizer, turns) if continues else render(tokenizer, turns))
    start = min(common_prefix(prompt, side) for side in sides)
    return {"prompt_ids": prompt[:start], "chosen_ids": sides[0][start:], "rejected_ids": sides[1][start:]}


def render_begun(tokenizer: Any, messages: list[Message]) -> list[int]:
    """Token ids of a conversation whose last message is unfinished: no end of turn follows it."""
    turns = [message.model_dump() for message in messages]
    ids: list[int] = tokenizer.apply_chat_template(turns, continue_final_message=True, tokenize=True, return_dict=False)
    return ids
