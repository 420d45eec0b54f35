"""Votes become a judgment: the valid ones in one number, or no score at all."""

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from statistics import median
from typing import Protocol

from selfreward.contracts.judging import Aggregation, Judgment, Vote, VoteStatus

_REMEDY: dict[VoteStatus, str] = {
    "truncated": "raise max_tokens",
    "unparsed": "the judge did not end with its verdict; see the votes' text",
    "out_of_range": "the judge left the rubric's scale; see the votes' text",
    "refused": "the judge declined; see the votes' text",
    "error": "the engine failed; see the votes' reason",
}


class Ballot(Protocol):
    """A vote of any kind."""

    @property
    def status(self) -> VoteStatus:
        """What became of it."""

    @property
    def reason(self) -> str | None:
        """What is wrong with it."""


def aggregate(
    index: int, item_id: str | None, votes: list[Vote], min_valid_votes: int, how: Aggregation = "mean"
) -> Judgment:
    """The judgment of item `index` (whose position is its id unless it has one).

    Fewer valid votes than `min_valid_votes` (or than were cast, if that is less) is `unscored`: an invalid vote is
    never counted as a number. `failure_kind` is then the most frequent failure.
    """
    valid = [vote for vote in votes if vote.score is not None]
    name = str(index) if item_id is None else item_id
    if len(valid) < min(min_valid_votes, len(votes)):
        kind, reason = failure(votes, min_valid_votes)
        return Judgment(
            id=name,
            index=index,
            status="unscored",
            votes=votes,
            valid_votes=len(valid),
            failure_kind=kind,
            failure_reason=reason,
        )
    cast = [vote.score for vote in valid if vote.score is not None]
    scores = [vote.expected for vote in valid if vote.expected is not None] if how == "expected" else cast
    return Judgment(
        id=name,
        index=index,
        score=one_number(scores, how),
        status="ok" if len(valid) == len(votes) else "partial",
        votes=votes,
        stdev=deviation(scores),
        agreement=agreement(cast),
        valid_votes=len(valid),
    )


def one_number(scores: Sequence[float], how: Aggregation) -> float:
    """Mean (of expected scores too), median, or the most frequent score; of equally frequent ones the lowest, so that
    a divided vote earns no more than it is sure of."""
    if how == "median":
        return median(scores)
    if how == "majority":
        counts = Counter(scores)
        return min(score for score, count in counts.items() if count == max(counts.values()))
    return sum(scores) / len(scores)


def deviation(scores: Sequence[float]) -> float:
    """Population standard deviation."""
    mean = sum(scores) / len(scores)
    return sqrt(sum((score - mean) ** 2 for score in scores) / len(scores))


def agreement(values: Sequence[object]) -> float:
    """Share (0 to 1) of the values that equal the most frequent one."""
    return max(Counter(values).values()) / len(values)


def failure(votes: Sequence[Ballot], min_valid_votes: int) -> tuple[VoteStatus, str]:
    """The most frequent failure, and in words how many votes were valid, what the others were, and what to do."""
    counts = Counter(vote.status for vote in votes if vote.status != "ok")
    kind = max(counts, key=lambda status: (counts[status], status))
    needed = min(min_valid_votes, len(votes))
    listed = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    why = next((vote.reason for vote in votes if vote.status == kind and vote.reason), None)
    first = f" (first: {why})" if why else ""
    reason = f"{len(votes) - counts.total()} of {len(votes)} votes valid, {needed} needed ({listed}): {_REMEDY[kind]}"
    return kind, reason + first
