"""Tokens: what a stage asks of the engine at most. Quotas and `selfreward plan` both count by this."""

from collections.abc import Iterable
from typing import NamedTuple


class Work(NamedTuple):
    """What a stage asks of the engine: prompts and texts to read, tokens to answer with, tokens of judgments.

    `sampled`: answers that the trainer samples itself, which are not in `answered`.
    """

    prompts: int = 0
    answered: int = 0
    texts: int = 0
    judged: int = 0
    sampled: int = 0


def total(works: Iterable[Work]) -> Work:
    """The sum of what several stages ask."""
    return Work(*map(sum, zip(Work(), *works, strict=True)))
