"""Votes become a judgment: the mean of the valid ones, or no score at all."""

from collections import Counter
from collections.abc import Sequence
from math import sqrt

from selfreward.contracts import Judgment, Vote, VoteStatus

_REMEDY: dict[VoteStatus, str] = {
    "truncated": "raise max_tokens",
    "unparsed": "the judge did not end with its score line; see the votes' text",
    "out_of_range": "the judge left the rubric's scale; see the votes' text",
    "refused": "the judge declined; see the votes' text",
    "error": "the engine failed; see the votes' text",
}


def aggregate(index: int, item_id: str | None, votes: list[Vote], min_valid_votes: int) -> Judgment:
    """The judgment of item `index` (whose position is its id unless it has one).

    Fewer valid votes than `min_valid_votes` (or than were cast, if that is less) is `unscored`: an invalid vote is
    never counted as a number. `failure_kind` is then the most frequent failure.
    """
    scores = [vote.score for vote in votes if vote.score is not None]
    name = str(index) if item_id is None else item_id
    if len(scores) < min(min_valid_votes, len(votes)):
        kind, reason = _failure(votes, min_valid_votes)
        return Judgment(
            id=name,
            index=index,
            status="unscored",
            votes=votes,
            valid_votes=len(scores),
            failure_kind=kind,
            failure_reason=reason,
        )
    mean = sum(scores) / len(scores)
    return Judgment(
        id=name,
        index=index,
        score=mean,
        status="ok" if len(scores) == len(votes) else "partial",
        votes=votes,
        stdev=sqrt(sum((score - mean) ** 2 for score in scores) / len(scores)),
        valid_votes=len(scores),
    )


def _failure(votes: Sequence[Vote], min_valid_votes: int) -> tuple[VoteStatus, str]:
    counts = Counter(vote.status for vote in votes if vote.status != "ok")
    kind = max(counts, key=lambda status: (counts[status], status))
    needed = min(min_valid_votes, len(votes))
    listed = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    reason = f"{len(votes) - counts.total()} of {len(votes)} votes valid, {needed} needed ({listed}): {_REMEDY[kind]}"
    return kind, reason
