"""Figures about answers and votes that need no gold order: length, checker scores, parse failures, score spread."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from selfreward.contracts.judging import Vote
from selfreward.contracts.rollouts import Rollout
from selfreward.evaluation.bootstrap import Ratio, mean, ratio


def pooled(values: Sequence[Sequence[float]]) -> Ratio:
    """The mean over all answers of all prompts, as a ratio of per-prompt sums."""
    return ratio([sum(row) for row in values], [len(row) for row in values])


def any_of(values: Sequence[Sequence[bool]]) -> Ratio:
    """The share of prompts of which at least one answer is true (best of n by an oracle)."""
    return mean([float(any(row)) if row else np.nan for row in values])


def characters(rollouts: Sequence[Rollout]) -> Ratio:
    """Mean answer length in characters, the unit of the papers' length figures."""
    return pooled([[len(response.text) for response in rollout.responses] for rollout in rollouts])


def tokens(rollouts: Sequence[Rollout]) -> Ratio:
    """Mean answer length in completion tokens."""
    return pooled([[response.tokens for response in rollout.responses] for rollout in rollouts])


def truncated(rollouts: Sequence[Rollout]) -> Ratio:
    """The share of answers that ended at the token limit, of those whose end the engine told."""
    ends = [[response.finish_reason for response in rollout.responses] for rollout in rollouts]
    return pooled([[float(end == "length") for end in row if end is not None] for row in ends])


def votes_of(rollout: Rollout) -> list[Vote]:
    """All votes of a rollout, in the order of its answers."""
    return [vote for judgment in rollout.judgments for vote in judgment.votes]


def parse_failures(rollouts: Sequence[Rollout]) -> Ratio:
    """The share of votes that gave no number: truncated, unparsed, out of range, refused or failed."""
    failed = [sum(vote.status != "ok" for vote in votes_of(rollout)) for rollout in rollouts]
    return ratio(failed, [len(votes_of(rollout)) for rollout in rollouts])


def unscored(rollouts: Sequence[Rollout]) -> Ratio:
    """The share of judged answers that ended without a score."""
    missing = [sum(judgment.score is None for judgment in rollout.judgments) for rollout in rollouts]
    return ratio(missing, [len(rollout.judgments) for rollout in rollouts])


def own_scores(rollouts: Sequence[Rollout]) -> Ratio:
    """The mean score that the model gives its own answers: not a measure of quality, but it shows inflation."""
    return pooled([[j.score for j in rollout.judgments if j.score is not None] for rollout in rollouts])


def share_at_top(rollouts: Sequence[Rollout], top_score: float) -> Ratio:
    """The share of valid votes at the top of the scale."""
    scores = [[vote.score for vote in votes_of(rollout) if vote.score is not None] for rollout in rollouts]
    return pooled([[float(score >= top_score) for score in row] for row in scores])


def histogram(scores: Iterable[float], top_score: int = 5) -> list[int]:
    """Counts of scores 0..top_score, each rounded half up to a whole number."""
    counts = Counter(int(np.floor(score + 0.5)) for score in scores)
    return [counts[score] for score in range(top_score + 1)]


def entropy(counts: Sequence[int]) -> float:
    """Entropy in bits of a histogram: 0 when all scores are equal, log2(6) = 2.58 when 0..5 are equally common."""
    shares = np.array([count for count in counts if count], dtype=np.float64)
    shares /= shares.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


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
