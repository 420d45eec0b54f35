"""Two judges in one model: which pairs they are shown, and which are kept."""

from typing import Literal

import pytest

from selfreward.contracts.rollouts import Match, Response
from selfreward.loop.methods.scir import ScirRules, build_pairs, monitors, pairwise_probability, pointwise_probability
from selfreward.loop.pairing import neighbours
from tests.support.factories import cut_off, judgment, rollout
from tests.support.implicit_rounds import BY, rows


def match(first: int, second: int, p_first: float | None, outcome: int = 1, status: str = "ok") -> Match:
    body = {"first": first, "second": second, "p_first": p_first, "outcome": outcome, "status": status}
    return Match.model_validate(body)


def both_orders(a: int, b: int, p_a: float) -> list[Match]:
    return [match(a, b, p_a), match(b, a, 1 - p_a)]


def test_distinct_answers_are_neighbours_two_by_two_in_their_order() -> None:
    texts = ["a", "b", "a", " ", "c", "d", "e"]
    assert neighbours([Response(text=text) for text in texts]) == [(0, 1), (4, 5)]


def test_both_orders_weigh_the_same() -> None:
    votes = [match(0, 1, 0.9), match(0, 1, 0.7), match(1, 0, 0.6)]
    assert pairwise_probability(votes, 0, 1) == pytest.approx((0.8 + 0.4) / 2)
    assert pairwise_probability(votes, 1, 0) == pytest.approx(0.4)
    assert pairwise_probability([match(0, 1, 0.9)], 0, 1) is None
    assert pairwise_probability([match(0, 1, 0.9), match(1, 0, None, 0, "unparsed")], 0, 1) is None


def test_votes_count_where_the_engine_gives_no_probability() -> None:
    votes = [match(0, 1, None, 1), match(0, 1, 0.6, 0), match(1, 0, None, -1)]
    assert pairwise_probability(votes, 0, 1) == pytest.approx((0.75 + 1.0) / 2)


def test_points_become_a_probability_by_pairs_of_votes() -> None:
    assert pointwise_probability(judgment([5, 4]), judgment([4, None, 3])) == pytest.approx(3.5 / 4)
    assert pointwise_probability(judgment([None]), judgment([3])) is None


TEXTS = ["a", "b", "c", "d"]
NOW = [2.0, 1.0, 1.0, 3.0]
"""The implicit reward prefers a to b and d to c."""


def test_pairs_are_kept_where_both_judges_agree() -> None:
    shown = rollout(TEXTS, matches=[*both_orders(0, 1, 0.8), *both_orders(2, 3, 0.7)])
    pairs, counts = build_pairs([shown], rows(NOW, NOW), BY, ScirRules())
    (pair,) = pairs
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("a", "b")
    assert (pair.score_chosen, pair.score_rejected) == pytest.approx((0.8, 0.2))
    assert pair.weight is None
    assert counts["kept"] == 1
    assert monitors([shown], rows(NOW, NOW), BY, ScirRules()) == {"agreement": 0.5, "invalid_vote_rate": 0.0}
    unread = rollout(TEXTS, matches=[match(0, 1, None, 0, "unparsed"), *both_orders(2, 3, 0.7)])
    figures = monitors([unread], rows(NOW, NOW), BY, ScirRules())
    assert figures == pytest.approx({"agreement": 0.0, "invalid_vote_rate": 1 / 3})


def test_for_consistency_all_pairs_are_kept_as_the_judge_prefers_with_its_probability() -> None:
    shown = rollout(TEXTS, matches=[*both_orders(0, 1, 0.8), *both_orders(2, 3, 0.7)])
    pairs, _ = build_pairs([shown], rows(NOW, NOW), BY, ScirRules(mode="consistency"))
    assert [(pair.chosen[0].content, pair.rejected[0].content) for pair in pairs] == [("a", "b"), ("c", "d")]
    assert [pair.weight for pair in pairs] == pytest.approx([0.8, 0.7])


def test_what_becomes_of_rollouts_without_a_pair() -> None:
    rollouts = [
        rollout(["a", "b"], "p0", matches=both_orders(0, 1, 0.2)),
        rollout(["a", "b"], "p1", matches=both_orders(0, 1, 0.5)),
        rollout(["a", "b"], "p2", matches=[match(0, 1, 0.9)]),
        rollout(["a", "b"], "p3", matches=both_orders(0, 1, 0.9)),
    ]
    known = {place: row for name in ("p0", "p1", "p2") for place, row in rows([2.0, 1.0], [2.0, 1.0], name).items()}
    pairs, counts = build_pairs(rollouts, known, BY, ScirRules())
    assert pairs == []
    assert counts == {"kept": 0, "tie": 1, "unscored": 2, "below_margin": 0, "filtered": 1, "truncated": 0}


def test_the_judge_that_gives_points_agrees_or_not_in_the_same_way() -> None:
    shown = rollout(["a", "b"]).model_copy(update={"judgments": [judgment([5, 5], 0), judgment([2, 3], 1)]})
    ((pair,), _) = build_pairs([shown], rows([2.0, 1.0], [0.0, 0.0]), BY, ScirRules(judge="pointwise"))
    assert (pair.chosen[0].content, pair.score_chosen) == ("a", 1.0)
    pairs, counts = build_pairs([shown], rows([1.0, 2.0], [0.0, 0.0]), BY, ScirRules(judge="pointwise"))
    assert (pairs, counts["filtered"]) == ([], 1)


@pytest.mark.parametrize("mode", ["filter", "consistency"])
def test_a_preferred_answer_that_ended_at_the_token_limit_gives_no_pair(mode: Literal["filter", "consistency"]) -> None:
    shown, known = rollout(["a", "b"], matches=both_orders(0, 1, 0.9)), rows([2.0, 1.0], [2.0, 1.0])
    rules = ScirRules(mode=mode)
    pairs, counts = build_pairs([cut_off(shown, "a")], known, BY, rules)
    assert (pairs, counts["truncated"]) == ([], 1)
    assert build_pairs([cut_off(shown, "b")], known, BY, rules)[1]["kept"] == 1
    assert build_pairs([cut_off(shown, "a")], known, BY, rules, chosen_truncated=True)[1]["kept"] == 1
