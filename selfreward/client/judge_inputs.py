"""What callers may pass to the judge's clients: answers, pairs, judgments or candidates, and the options of judging."""

import itertools
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

from selfreward.contracts.base import Message
from selfreward.contracts.comparisons import MetaItem, PairItem, RankItem
from selfreward.contracts.conversations import Conversation, conversation
from selfreward.contracts.judging import JudgeItem

Item = TypeVar("Item")

MAX_ITEMS = 1024
"""Items in one request."""
Turns = str | Sequence[Message] | Sequence[Mapping[str, Any]] | Mapping[str, Any] | None
"""A text, or chat messages of any form that `conversation` takes."""
Judgeable = JudgeItem | tuple[Turns, Turns]
"""An item, or a tuple (prompt, response)."""
Comparable = PairItem | tuple[Turns, Turns, Turns]
"""An item, or a tuple (prompt, a, b)."""
MetaJudgeable = MetaItem | tuple[Turns, Turns, str, str]
"""An item, or a tuple (prompt, response, judgment_a, judgment_b)."""
Rankable = RankItem | tuple[Turns, Sequence[Turns]]
"""An item, or a tuple (prompt, candidates)."""


class JudgeOptions(TypedDict, total=False):
    """How to judge. The judge's defaults are `additive5`, 3 votes and the rubric's sampling.

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
    """How to compare or rank. Missing options have the judge's defaults. `swap=False` shows one order only."""

    rubric: str
    votes: int
    swap: bool
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    policy: str | None
    seed: int | None


def as_item(value: Judgeable) -> JudgeItem:
    """Convert a caller's input to an item. Raises ValueError naming the field that cannot be judged."""
    if isinstance(value, JudgeItem):
        return value
    prompt, response = value
    return JudgeItem(prompt=conversation(prompt, "prompt"), response=conversation(response, "response"))


def as_pair(value: Comparable) -> PairItem:
    """Convert two answers to a prompt. Raises as `as_item` does."""
    if isinstance(value, PairItem):
        return value
    prompt, a, b = value
    return PairItem(prompt=conversation(prompt, "prompt"), a=conversation(a, "a"), b=conversation(b, "b"))


def as_meta(value: MetaJudgeable) -> MetaItem:
    """Convert two judgments of an answer. Raises as `as_item` does."""
    if isinstance(value, MetaItem):
        return value
    prompt, response, judgment_a, judgment_b = value
    return MetaItem(
        prompt=conversation(prompt, "prompt"),
        response=conversation(response, "response"),
        judgment_a=judgment_a,
        judgment_b=judgment_b,
    )


def as_ranking(value: Rankable) -> RankItem:
    """Convert candidate answers to a prompt. Raises as `as_item` does."""
    if isinstance(value, RankItem):
        return value
    prompt, candidates = value
    return RankItem(
        prompt=conversation(prompt, "prompt"),
        candidates=[conversation(candidate, f"candidates[{place}]") for place, candidate in enumerate(candidates)],
    )


def number_items(batch: Iterable[Judgeable], start: int) -> list[JudgeItem]:
    """Convert a batch of a stream to items. The id of an item without one is its position in the stream.

    Votes under a seed depend on the id, so they do not depend on how the stream is cut into batches.
    """
    items = map(as_item, batch)
    return [
        item if item.id is not None else item.model_copy(update={"id": str(index)})
        for index, item in enumerate(items, start)
    ]


def one_batch(items: Iterable[Item], remedy: str = "send several requests", most: int = MAX_ITEMS) -> list[Item]:
    """The items of one request as a list. Raises ValueError with the remedy unless there are 1 to `most`."""
    batch = list(items)
    if not 1 <= len(batch) <= most:
        raise ValueError(f"items has {len(batch)} entries, 1 to {most} are allowed: {remedy}")
    return batch


async def batches(items: AsyncIterable[Judgeable] | Iterable[Judgeable], size: int) -> AsyncIterator[list[Judgeable]]:
    """Yield the items in lists of `size`. Reads no item beyond the list that it yields."""
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


def split_last(messages: object, field: str) -> tuple[Conversation, Conversation]:
    """Split a conversation into the turns before the last one, and that one, which is judged.

    Raises ValueError unless the last of at least two messages is the assistant's, and as `conversation` does.
    """
    turns = messages if isinstance(messages, Sequence) and not isinstance(messages, str) else []
    last = turns[-1] if len(turns) > 1 else None
    role = last.get("role") if isinstance(last, Mapping) else getattr(last, "role", None)
    if role != "assistant":
        raise ValueError(f"{field}: the last of at least two messages must be the assistant's: it is what is judged")
    return conversation(turns[:-1], field), conversation(turns[-1:], f"{field}[{len(turns) - 1}:]")
