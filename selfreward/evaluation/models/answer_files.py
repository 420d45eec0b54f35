"""Answers of a model from a file: as a run writes them (`runs/<run>/evaluation/<model>/samples.jsonl`, `greedy.jsonl`),
or plain rows of `{"prompt", "response"}`, where TRL's `completion` stands for the response too.

Answers of two files are matched by the text of their prompt, so that either may come from anywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selfreward.contracts.base import Message, as_messages, content_key, explain
from selfreward.contracts.rollouts import Rollout
from selfreward.files.rows import Fields, RowError, read_rows, to_item

_SHOWN_PROBLEMS = 10


@dataclass(frozen=True)
class Answers:
    """A model's answers by prompt: `prompts` and `texts` have the same keys, `texts` at least one answer for each."""

    prompts: dict[str, list[Message]]
    texts: dict[str, list[str]]


@dataclass(frozen=True)
class Duel:
    """Two answers to one prompt. `group` counts the prompts: its duels are not independent of each other."""

    group: int
    prompt: list[Message]
    a: str
    b: str


def load_answers(path: Path) -> Answers:
    """All answers of a `.jsonl` or `.parquet` file. Raises RowError listing the first problems."""
    answers, problems = Answers({}, {}), []
    for index, row in enumerate(read_rows(path)):
        try:
            prompt, texts = _rollout(row.values) if "responses" in row.values else _plain(row.values, index)
        except ValueError as error:
            problems.append(f"{path}, {row.place}: {error}")
            if len(problems) == _SHOWN_PROBLEMS:
                break
            continue
        key = content_key([[turn.role, turn.content.strip()] for turn in prompt])
        answers.prompts[key] = prompt
        answers.texts.setdefault(key, []).extend(texts)
    if problems:
        raise RowError("\n".join(problems))
    if not answers.prompts:
        raise RowError(f"{path} has no rows: give a file with answers")
    return answers


def duels(a: Answers, b: Answers) -> list[Duel]:
    """The k-th answers of both to each prompt that both have; surplus answers and prompts are left out.

    In the order of `a`'s prompts. RowError when they have no prompt in common.
    """
    shared = [key for key in a.prompts if key in b.prompts]
    if not shared:
        raise RowError("the two files have no prompt in common: give answers of both models to the same prompts")
    return [
        Duel(group, a.prompts[key], mine, theirs)
        for group, key in enumerate(shared)
        for mine, theirs in zip(a.texts[key], b.texts[key], strict=False)
    ]


def _rollout(values: Mapping[str, Any]) -> tuple[list[Message], list[str]]:
    try:
        rollout = Rollout.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"has `responses` but is no row that a run wrote:\n{explain(error)}") from error
    return rollout.prompt, [response.text for response in rollout.responses]


def _plain(values: dict[str, Any], index: int) -> tuple[list[Message], list[str]]:
    item = to_item(values, Fields(), index)
    answer = item.response if isinstance(item.response, str) else item.response[-1].content
    return as_messages(item.prompt), [answer]
