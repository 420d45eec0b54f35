"""The cost of a stage in tokens. Quotas and `selfreward plan` both count by it."""

from collections.abc import Iterable
from typing import NamedTuple


class Cost(NamedTuple):
    """The most that a stage takes: prompts that the policy reads and texts that the judge reads, and tokens.

    `answered` and `judged` are tokens of answers and of judgments. `sampled`: answers that the trainer samples, which
    are not in `answered`.
    """

    prompts: int = 0
    answered: int = 0
    texts: int = 0
    judged: int = 0
    sampled: int = 0


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of the costs."""
    return Cost(*map(sum, zip(Cost(), *costs, strict=True)))
