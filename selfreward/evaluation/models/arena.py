"""Arena-Hard's score from five-way verdicts: two games with swapped places, and a clear win that counts three times.

Li et al. 2024 (2406.11939) fit a Bradley-Terry model to these games; what is here is what their program computes since:
a slight win is one win, a clear one three, a tie half, and the score is the mean over all of these. 100 bootstrap
resamples give the 5 to 95 % interval. What is resampled are prompts, with both games of each.
"""

from collections.abc import Sequence

from selfreward.contracts.comparisons import PairVerdict, PairVote
from selfreward.evaluation.bootstrap import Bootstrap, Interval, Ratio, ratio

CLEAR_WIN = 3
BOOTSTRAP = Bootstrap(resamples=100, level=0.9)
_POINTS = {"a": 1.0, "b": 0.0, "tie": 0.5}


def arena_score(verdicts: Sequence[PairVerdict | None], groups: Sequence[int]) -> Interval:
    """The score of model a, 0 to 1, with its interval over prompts.

    `groups` names each verdict's prompt. None stands for two equal answers, which tie in both games; a game without a
    readable verdict does not count.
    """
    return BOOTSTRAP.interval(arena_ratio(verdicts, groups))


def arena_ratio(verdicts: Sequence[PairVerdict | None], groups: Sequence[int]) -> Ratio:
    """Points won and points played for, by prompt."""
    prompts = max(groups, default=-1) + 1
    won, played = [0.0] * prompts, [0.0] * prompts
    for verdict, group in zip(verdicts, groups, strict=True):
        games = [(0.5, 1)] * 2 if verdict is None else [game(vote) for vote in verdict.votes if vote.winner is not None]
        for points, weight in games:
            won[group] += points * weight
            played[group] += weight
    return ratio(won, played)


def game(vote: PairVote) -> tuple[float, int]:
    """Points of model a in one game, and how many times it counts. ValueError for a vote without a winner."""
    if vote.winner is None:
        raise ValueError(f"a vote of status {vote.status!r} decides no game")
    return _POINTS[vote.winner], CLEAR_WIN if vote.clearly else 1
