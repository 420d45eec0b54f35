"""What an evaluation tool shows beside a score: the judge's own explanation, and where the score comes from."""

from typing import Any

from selfreward.contracts.judging import Judgment


def explanation(judgment: Judgment) -> str | None:
    """The text of the valid vote nearest to the score; the reason of the failure where there is no score."""
    score = judgment.score
    if score is None:
        return judgment.failure_reason
    valid = [(abs(vote.score - score), vote.text) for vote in judgment.votes if vote.score is not None]
    return min(valid, key=lambda pair: pair[0], default=(0.0, None))[1]


def metadata(judgment: Judgment, rubric: str, version: str) -> dict[str, Any]:
    """The rubric's id, the judging version, the status, the score of each vote, and the kind of failure."""
    return {
        "rubric": rubric,
        "judge_version": version,
        "status": judgment.status,
        "votes": [vote.score for vote in judgment.votes],
        "failure_kind": judgment.failure_kind,
    }
