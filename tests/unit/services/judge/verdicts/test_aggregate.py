"""Golden figures of the vote mean, and the third state."""

import pytest

from selfreward.contracts.comparisons import Order, PairVote, RankItem, RankVote, Side
from selfreward.contracts.judging import Aggregation, Vote, VoteStatus
from services.judge.verdicts.aggregate import (
    aggregate_pair_votes,
    aggregate_rank_votes,
    aggregate_scores,
    aggregate_votes,
)


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
    judgment = aggregate_votes(0, None, votes(*scores), min_valid_votes=1)

    assert judgment.score == pytest.approx(mean, abs=5e-4)
    assert judgment.stdev == pytest.approx(stdev, abs=5e-4)
    assert (judgment.status, judgment.valid_votes) == ("ok", len(scores))
    assert (judgment.failure_kind, judgment.failure_reason) == (None, None)


def test_an_invalid_vote_is_left_out_of_the_mean() -> None:
    judgment = aggregate_votes(3, "a", votes(4, "unparsed", 5), min_valid_votes=2)

    assert (judgment.id, judgment.index, judgment.status, judgment.score) == ("a", 3, "partial", 4.5)
    assert (judgment.valid_votes, len(judgment.votes)) == (2, 3)


def test_too_few_valid_votes_is_unscored_and_says_why() -> None:
    judgment = aggregate_votes(1, None, votes(4, "truncated", "truncated"), min_valid_votes=2)

    assert (judgment.id, judgment.status, judgment.score, judgment.stdev) == ("1", "unscored", None, None)
    assert judgment.failure_kind == "truncated"
    assert judgment.failure_reason == "1 of 3 votes valid, 2 needed (2 truncated): raise max_tokens"


def test_the_most_frequent_failure_is_the_kind() -> None:
    judgment = aggregate_votes(0, None, votes("error", "unparsed", "unparsed"), min_valid_votes=1)

    assert judgment.failure_kind == "unparsed"
    assert judgment.failure_reason is not None
    assert "1 error, 2 unparsed" in judgment.failure_reason


def test_one_vote_is_enough_when_one_was_asked_for() -> None:
    assert aggregate_votes(0, None, votes(3), min_valid_votes=2).status == "ok"
    assert aggregate_votes(0, None, votes("refused"), min_valid_votes=2).status == "unscored"


@pytest.mark.parametrize(
    ("scores", "how", "score"),
    [
        ((5, 4, 5), "median", 5),
        ((1, 4, 5, 5), "median", 4.5),
        ((5, 4, 5), "majority", 5),
        ((1, 0), "majority", 0),  # a divided vote earns no more than it is sure of
        ((3, 4, 4, 3, 5), "majority", 3),
        ((3.5, 4.5), "expected", 4),
    ],
)
def test_other_ways_to_aggregate(scores: tuple[float, ...], how: Aggregation, score: float) -> None:
    assert aggregate_scores(scores, how) == score


@pytest.mark.parametrize(("scores", "share"), [((5, 4, 5), 2 / 3), ((4, 4), 1), ((1, 2, 3), 1 / 3)])
def test_agreement_is_the_share_of_the_most_frequent_score(scores: tuple[float, ...], share: float) -> None:
    assert aggregate_votes(0, None, votes(*scores, "unparsed"), 1).agreement == pytest.approx(share)


def test_expected_scores_are_averaged_and_their_deviation_is_given() -> None:
    cast = [Vote(status="ok", score=4, expected=expected) for expected in (3.5, 4.5)]

    judgment = aggregate_votes(0, None, cast, 1, "expected")

    assert (judgment.score, judgment.stdev, judgment.agreement) == (4.0, 0.5, 1.0)


def test_the_reason_of_a_failure_is_passed_on() -> None:
    cast = [Vote(status="out_of_range", reason="10 is not within 0 to 5")]

    assert str(aggregate_votes(0, None, cast, 1).failure_reason).endswith("(first: 10 is not within 0 to 5)")


def test_disagreement_is_between_the_engines_and_not_the_votes() -> None:
    def jury(**scores: list[float | VoteStatus]) -> list[Vote]:
        return [vote.model_copy(update={"engine": name}) for name, own in scores.items() for vote in votes(*own)]

    def both(cast: list[Vote]) -> list[float | None]:
        judgment = aggregate_votes(0, None, cast, min_valid_votes=1)
        return [judgment.score, judgment.disagreement]

    assert both(jury(a=[1, 5], b=[3, 3])) == [3, 0]
    # The means are 1, 2 and 5.25: their mean is 2.75, and the mean square of 1.75, 0.75 and 2.5 is 3.291667.
    uneven = both(jury(a=[1, 1, 1, 1], b=[2, "error"], c=[5, 5.5]))
    assert uneven == pytest.approx([16.5 / 7, 3.291667**0.5])
    assert both(jury(a=[1, 5], b=["error", "unparsed"])) == [3, None]
    assert both(votes(1, 5)) == [3, None]


def test_the_expected_scores_of_engines_are_compared_where_they_count() -> None:
    cast = [Vote(status="ok", score=3, expected=expected, engine=name) for name, expected in (("a", 2.5), ("b", 3.5))]

    assert aggregate_votes(0, None, cast, 1, "expected").disagreement == 0.5
    assert aggregate_votes(0, None, cast, 1, "mean").disagreement == 0


def test_a_pairs_disagreement_is_the_share_of_engines_in_the_minority() -> None:
    def cast(**winners: tuple[Side | None, Side | None]) -> list[PairVote]:
        orders: tuple[Order, Order] = ("ab", "ba")
        return [
            PairVote(order=order, winner=winner, status="ok" if winner else "error", engine=name)
            for name, both in winners.items()
            for order, winner in zip(orders, both, strict=True)
        ]

    def disagreement(votes: list[PairVote]) -> float | None:
        return aggregate_pair_votes(0, None, votes, min_valid_votes=1).disagreement

    assert disagreement(cast(x=("a", "a"), y=("a", "a"), z=("b", "b"))) == pytest.approx(1 / 3)
    assert disagreement(cast(x=("a", "a"), y=("a", "b"))) == 0.5, "an engine whose orders differ finds a tie"
    assert disagreement(cast(x=("a", "a"), y=("tie", "tie"), z=("a", "b"), w=("b", "b"))) == 0.5
    assert disagreement(cast(x=("a", "a"), y=("b", None))) is None, "y has no verdict of its own"


def test_a_rankings_disagreement_compares_the_best_candidates() -> None:
    def vote(engine: str, *scores: float) -> RankVote:
        return RankVote(shown="given", scores=list(scores), status="ok", engine=engine)

    item = RankItem(prompt="p", candidates=["x", "y", "z"])
    rankings = [vote("a", 1, 0.5, 0), vote("b", 1, 0, 0.5), vote("c", 0, 1, 0.5)]

    assert aggregate_rank_votes(0, item, [rankings], 1).disagreement == pytest.approx(1 / 3)
    assert aggregate_rank_votes(0, item, [rankings[:1]], 1).disagreement is None
