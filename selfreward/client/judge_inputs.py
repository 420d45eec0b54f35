"""What a caller may give the judge's clients: answers, pairs, judgments and candidates, and how to judge them."""

import itertools
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

from selfreward.client.conversations import conversation
from selfreward.contracts.comparisons import MetaItem, PairItem, RankItem
from selfreward.contracts.judging import JudgeItem, Message

Item = TypeVar("Item")

MAX_ITEMS = 1024
Turns = str | Sequence[Message] | Sequence[Mapping[str, Any]]
"""A text, or chat messages."""
Judgeable = JudgeItem | tuple[Turns, Turns]
"""An item, or simply (prompt, response)."""
Comparable = PairItem | tuple[Turns, Turns, Turns]
"""An item, or simply (prompt, a, b)."""
MetaJudgeable = MetaItem | tuple[Turns, Turns, str, str]
"""An item, or simply (prompt, response, judgement_a, judgement_b)."""
Rankable = RankItem | tuple[Turns, Sequence[Turns]]
"""An item, or simply (prompt, candidates)."""


class JudgeOptions(TypedDict, total=False):
    """How to judge; what is left out is the judge's default (`additive5`, 3 votes, the rubric's sampling).

    `policy` pins the judging version (`policy@3`). `seed` makes the votes repeatable.
    """

    rubric: str
    votes: int
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    policy: str | None
    seed: int | None


class PairwiseOptions(TypedDict, total=False):
    """How to compare or rank; what is left out is the judge's default. `swap` false shows one order only."""

    rubric: str
    votes: int
    swap: bool
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    policy: str | None
    seed: int | None


def as_item(value: Judgeable) -> JudgeItem:
    """An item of what a caller may give. Raises ValueError naming the field that cannot be judged."""
    if isinstance(value, JudgeItem):
        return value
    prompt, response = value
    return JudgeItem(prompt=conversation(prompt, "prompt"), response=conversation(response, "response"))


def as_pair(value: Comparable) -> PairItem:
    """The same for two answers to a prompt."""
    if isinstance(value, PairItem):
        return value
    prompt, a, b = value
    return PairItem(prompt=conversation(prompt, "prompt"), a=conversation(a, "a"), b=conversation(b, "b"))


def as_meta(value: MetaJudgeable) -> MetaItem:
    """The same for two judgments of an answer."""
    if isinstance(value, MetaItem):
        return value
    prompt, response, judgement_a, judgement_b = value
    return MetaItem(
        prompt=conversation(prompt, "prompt"),
        response=conversation(response, "response"),
        judgement_a=judgement_a,
        judgement_b=judgement_b,
    )


def as_ranking(value: Rankable) -> RankItem:
    """The same for candidate answers to a prompt."""
    if isinstance(value, RankItem):
        return value
    prompt, candidates = value
    return RankItem(
        prompt=conversation(prompt, "prompt"),
        candidates=[conversation(candidate, f"candidates[{place}]") for place, candidate in enumerate(candidates)],
    )


def numbered(batch: Iterable[Judgeable], start: int) -> list[JudgeItem]:
    """Items of a stream's batch; one without an id gets its place in the stream.

    Votes under a seed depend on the id, so they come out the same however the stream is cut into batches.
    """
    items = map(as_item, batch)
    return [
        item if item.id is not None else item.model_copy(update={"id": str(index)})
        for index, item in enumerate(items, start)
    ]


def one_batch(items: Iterable[Item], remedy: str = "send several requests", most: int = MAX_ITEMS) -> list[Item]:
    """The items of one request. ValueError with the remedy when they are none or too many."""
    batch = list(items)
    if not 1 <= len(batch) <= most:
        raise ValueError(f"items has {len(batch)} entries, 1 to {most} are allowed: {remedy}")
    return batch


async def batches(items: AsyncIterable[Judgeable] | Iterable[Judgeable], size: int) -> AsyncIterator[list[Judgeable]]:
    """The items, `size` at a time, read no further than that."""
    if not isinstance(items, AsyncIterable):
        iterator = iter(items)
        while batch := list(itertools.islice(iterator, size)):
            yield batch
        return
    batch = []
    async for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
