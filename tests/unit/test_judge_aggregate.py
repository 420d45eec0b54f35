"""Golden figures of the vote mean, and the third state."""

import pytest

from selfreward.contracts import Vote, VoteStatus
from services.judge.aggregate import aggregate


def votes(*scores: float | VoteStatus) -> list[Vote]:
    return [
        Vote(status=score) if isinstance(score, str) else Vote(status="ok", score=score, text=f"Score: {score:g}")
        for score in scores
    ]


@pytest.mark.parametrize(
    ("scores", "mean", "stdev"),
    [
        ((5, 4, 5), 4.667, 0.4714),
        ((3, 4, 3), 3.333, 0.4714),
        ((4, 4, 4), 4.0, 0.0),
        ((2, 3, 2), 2.333, 0.4714),
        ((0, 5), 2.5, 2.5),
        ((4.5,), 4.5, 0.0),
    ],
)
def test_mean_and_population_deviation(scores: tuple[float, ...], mean: float, stdev: float) -> None:
    judgment = aggregate(0, None, votes(*scores), min_valid_votes=1)

    assert judgment.score == pytest.approx(mean, abs=5e-4)
    assert judgment.stdev == pytest.approx(stdev, abs=5e-4)
    assert (judgment.status, judgment.valid_votes) == ("ok", len(scores))
    assert (judgment.failure_kind, judgment.failure_reason) == (None, None)


def test_an_invalid_vote_is_left_out_of_the_mean() -> None:
    judgment = aggregate(3, "a", votes(4, "unparsed", 5), min_valid_votes=2)

    assert (judgment.id, judgment.index, judgment.status, judgment.score) == ("a", 3, "partial", 4.5)
    assert (judgment.valid_votes, len(judgment.votes)) == (2, 3)


def test_too_few_valid_votes_is_unscored_and_says_why() -> None:
    judgment = aggregate(1, None, votes(4, "truncated", "truncated"), min_valid_votes=2)

    assert (judgment.id, judgment.status, judgment.score, judgment.stdev) == ("1", "unscored", None, None)
    assert judgment.failure_kind == "truncated"
    assert judgment.failure_reason == "1 of 3 votes valid, 2 needed (2 truncated): raise max_tokens"


def test_the_most_frequent_failure_is_the_kind() -> None:
    judgment = aggregate(0, None, votes("error", "unparsed", "unparsed"), min_valid_votes=1)

    assert judgment.failure_kind == "unparsed"
    assert judgment.failure_reason is not None
    assert "1 error, 2 unparsed" in judgment.failure_reason


def test_one_vote_is_enough_when_one_was_asked_for() -> None:
    assert aggregate(0, None, votes(3), min_valid_votes=2).status == "ok"
    assert aggregate(0, None, votes("refused"), min_valid_votes=2).status == "unscored"
