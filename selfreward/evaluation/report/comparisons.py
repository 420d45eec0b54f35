"""Win, tie and loss of one model against another on the same prompts (Yuan et al. 2024, section 3.1.2).

A comparator sees each two answers in both orders. It decides only when it says the same both times; a comparator that
goes by the position calls a tie.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from selfreward.evaluation.bootstrap import Ratio, ratio


class Answer(NamedTuple):
    """An answer and, where an independent evaluation gave one, its score."""

    text: str
    score: float | None = None


Comparator = Callable[[str, Answer, Answer], int]
"""`compare(prompt, first, second)`: above 0 when the first is better, below 0 when the second is, 0 for a tie."""


class Contest(NamedTuple):
    """Shares of comparisons that the first model wins, ties and loses, and wins minus losses."""

    win: Ratio
    tie: Ratio
    lose: Ratio
    win_minus_lose: Ratio


def verdict(compare: Comparator, prompt: str, a: Answer, b: Answer) -> int:
    """1 when `a` is better in both orders, -1 when `b` is, 0 otherwise."""
    first, second = compare(prompt, a, b), compare(prompt, b, a)
    return (first > 0 > second) - (first < 0 < second)


def contest(
    compare: Comparator, prompts: Sequence[str], a: Sequence[Sequence[Answer]], b: Sequence[Sequence[Answer]]
) -> Contest:
    """Compare the k-th answer of one model with the k-th of the other, for every prompt and k.

    `a` and `b` hold each model's answers to each of `prompts`; surplus answers of one model are left out.
    """
    verdicts = [
        [verdict(compare, prompt, x, y) for x, y in zip(mine, theirs, strict=False)]
        for prompt, mine, theirs in zip(prompts, a, b, strict=True)
    ]
    sizes = [len(row) for row in verdicts]
    wins, losses = ([row.count(sign) for row in verdicts] for sign in (1, -1))
    return Contest(
        win=ratio(wins, sizes),
        tie=ratio([row.count(0) for row in verdicts], sizes),
        lose=ratio(losses, sizes),
        win_minus_lose=ratio([sum(row) for row in verdicts], sizes),
    )


def by_score(_: str, first: Answer, second: Answer) -> int:
    """The comparator of an independent evaluation that scores single answers; an answer without score ties."""
    if first.score is None or second.score is None:
        return 0
    return (first.score > second.score) - (first.score < second.score)
