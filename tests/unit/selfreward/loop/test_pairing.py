"""Preference pairs by the self-rewarding rule, with the golden vectors of the paper's notes."""

import pytest

from selfreward.loop.load import RunRecipe
from selfreward.loop.methods.self_rewarding import SelfRewarding
from selfreward.loop.pairing import best_over_worst, candidates, truncated_texts
from selfreward.recipe.rounds import Pairs
from tests.support.factories import cut_off, rollout

RECIPE = {"name": "r", "model": "m", "data": {"ift": "i", "eft": "e", "prompts": "p", "heldout": "h"}}


def test_golden_vector_of_the_paper() -> None:
    pairs, counts = best_over_worst(
        [rollout({"A": [5, 4, 5], "B": [3, 4, 3], "C": [4, 4, 4], "D": [2, 3, 2]})], Pairs(), 0
    )
    (pair,) = pairs
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("A", "D")
    assert pair.score_chosen == pytest.approx(14 / 3)
    assert pair.score_rejected == pytest.approx(7 / 3)
    assert pair.votes_chosen == [5, 4, 5]
    assert counts == {"kept": 1, "tie": 0, "unscored": 0, "below_margin": 0, "filtered": 0, "truncated": 0}


def test_equal_scores_give_no_pair() -> None:
    pairs, counts = best_over_worst([rollout({text: [4, 4, 4] for text in "ABCD"})], Pairs(), 0)
    assert pairs == []
    assert counts["tie"] == 1


def test_unscored_answers_are_dropped_and_never_a_zero() -> None:
    pairs, counts = best_over_worst([rollout({"A": [5, 5, 5], "B": [None, None, None], "C": [3, None, 3]})], Pairs(), 0)
    assert pairs[0].rejected[0].content == "C"
    assert pairs[0].votes_rejected == [3, None, 3]
    assert counts["kept"] == 1


def test_fewer_than_two_scored_answers_count_as_unscored() -> None:
    rows = [rollout({"A": [5, 5, 5], "B": [None] * 3}), rollout({"A": [None] * 3, "B": [None] * 3})]
    _, counts = best_over_worst(rows, Pairs(), 0)
    assert counts == {"kept": 0, "tie": 0, "unscored": 2, "below_margin": 0, "filtered": 0, "truncated": 0}


def test_margin_is_the_smallest_gap_kept() -> None:
    rows = [rollout({"A": [4, 4, 4], "B": [3, 3, 3]}, "p0"), rollout({"A": [4, 4, 4], "B": [4, 4, 3]}, "p1")]
    pairs, counts = best_over_worst(rows, Pairs(margin=1.0), 0)
    assert [pair.prompt_id for pair in pairs] == ["p0"]
    assert counts["below_margin"] == 1


def test_equal_texts_pool_their_votes() -> None:
    row = rollout([("A", [5.0, 5.0]), ("A", [1.0, 1.0]), ("B", [2.0, 2.0])])
    assert [(candidate.text, candidate.score, candidate.votes) for candidate in candidates(row)] == [
        ("A", 3.0, (5.0, 5.0, 1.0, 1.0)),
        ("B", 2.0, (2.0, 2.0)),
    ]
    only_one_text = rollout([("A", [5.0]), ("A", [1.0])])
    assert best_over_worst([only_one_text], Pairs(), 0)[1]["tie"] == 1


def test_a_blank_answer_is_never_trained_on() -> None:
    (pair,), _ = best_over_worst([rollout({"A": [5], "B": [3], " ": [0]})], Pairs(), 0)
    assert pair.rejected[0].content == "B"


def test_ties_at_the_top_are_broken_by_the_seed_and_not_by_position() -> None:
    rows = [rollout({"A": [5], "B": [5], "C": [1], "D": [1]}, f"p{number}") for number in range(64)]
    pairs, _ = best_over_worst(rows, Pairs(), 1)
    assert {pair.chosen[0].content for pair in pairs} == {"A", "B"}
    assert {pair.rejected[0].content for pair in pairs} == {"C", "D"}
    assert best_over_worst(list(reversed(rows)), Pairs(), 1)[0] == list(reversed(pairs))
    assert best_over_worst(rows, Pairs(), 2)[0] != pairs


def test_scores_that_a_pair_needs_filter_prompts_and_count_them() -> None:
    rows = [
        rollout({"A": [5, 5], "B": [2, 2]}, "kept"),
        rollout({"A": [4, 5], "B": [2, 2]}, "no answer good enough"),
        rollout({"A": [5, 5], "B": [4, 4]}, "no answer bad enough"),
        rollout({"A": [4, 4], "B": [4, 4]}, "a tie first of all"),
    ]
    pairs, counts = best_over_worst(rows, Pairs(min_chosen_score=5, max_rejected_score=3), 0)
    assert [pair.prompt_id for pair in pairs] == ["kept"]
    assert counts == {"kept": 1, "tie": 1, "unscored": 0, "below_margin": 0, "filtered": 2, "truncated": 0}


def test_positives_are_the_chosen_answers_in_the_trainers_shape() -> None:
    pairs, _ = best_over_worst([rollout({"A": [5], "B": [1]})], Pairs(), 0)
    run_recipe = RunRecipe.model_validate({**RECIPE, "loop": {"train_on": "positives"}})
    assert SelfRewarding().positives("r", run_recipe, "M2", pairs) == (
        "runs/r/data/positives-M2.jsonl",
        [{"prompt": [{"role": "user", "content": "question"}], "completion": [{"role": "assistant", "content": "A"}]}],
    )
    assert SelfRewarding().positives("r", RunRecipe.model_validate(RECIPE), "M2", pairs) is None


ANSWERS = [(5.0, 1900), (4.2, 1500), (3.5, 1200), (2.5, 2400), (2.0, 1800)]
"""Score and length of each answer in Meta-Rewarding's example; the tiers of rho = 0.32 are 4.04 to 5 and 2 to 2.96."""


@pytest.mark.parametrize(("rho", "chosen", "rejected"), [(0.32, 4.2, 2.5), (0.1, 5.0, 2.0), (0.0, 5.0, 2.0)])
def test_golden_vector_of_length_control(rho: float, chosen: float, rejected: float) -> None:
    row = rollout([(str(number) * length, [score]) for number, (score, length) in enumerate(ANSWERS)])
    ((pair,), _) = best_over_worst([row], Pairs(length_control=rho), 0)
    assert (pair.score_chosen, pair.score_rejected) == (chosen, rejected)


def test_each_round_has_its_own_rho() -> None:
    row = rollout([(str(number) * length, [score]) for number, (score, length) in enumerate(ANSWERS)])
    rules = Pairs(length_control=[0.0, 0.32])
    chosen = [best_over_worst([row.model_copy(update={"stage": stage})], rules, 0)[0][0] for stage in ("M2", "M3")]
    assert [(pair.score_chosen, pair.score_rejected) for pair in chosen] == [(5.0, 2.0), (4.2, 2.5)]


def test_margin_and_filters_are_of_the_answers_that_length_control_takes() -> None:
    row = rollout([("long and best", [5]), ("good", [4]), ("bad", [2]), ("worst", [1])])
    assert best_over_worst([row], Pairs(length_control=0.3, margin=3), 0)[1]["kept"] == 1
    assert best_over_worst([row], Pairs(length_control=0.3, margin=3.5), 0)[1]["below_margin"] == 1
    assert best_over_worst([row], Pairs(length_control=0.3, min_chosen_score=5), 0)[1]["filtered"] == 1


def test_an_answer_that_ended_at_the_token_limit_is_not_chosen_and_may_be_rejected() -> None:
    row = cut_off(rollout({"long": [5], "good": [4], "bad": [2], "long and bad": [1]}), "long", "long and bad")
    ((pair,), counts) = best_over_worst([row], Pairs(), 0)
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("good", "long and bad")
    assert counts["kept"] == 1
    ((allowed,), _) = best_over_worst([row], Pairs(chosen_truncated=True), 0)
    assert (allowed.chosen[0].content, allowed.rejected[0].content) == ("long", "long and bad")


def test_a_prompt_where_only_such_answers_are_better_counts_as_truncated() -> None:
    rows = [
        cut_off(rollout({"long": [5], "bad": [2], "bad too": [2]}), "long"),
        cut_off(rollout({"long": [5], "long too": [2]}), "long", "long too"),
        cut_off(rollout({"long": [5], "long too": [5]}), "long", "long too"),
    ]
    pairs, counts = best_over_worst(rows, Pairs(), 0)
    assert pairs == []
    assert counts == {"kept": 0, "tie": 1, "unscored": 0, "below_margin": 0, "filtered": 0, "truncated": 2}


def test_length_control_takes_the_shortest_of_the_answers_that_may_be_chosen() -> None:
    row = cut_off(rollout({"best": [5], "almost as good": [4.8], "cut": [4.9], "worst": [1]}), "cut")
    ((pair,), _) = best_over_worst([row], Pairs(length_control=0.1), 0)
    assert pair.chosen[0].content == "best"


def test_a_text_that_once_ended_by_itself_is_whole() -> None:
    row, ends = rollout(["a", "a", "b", "b"]), ["length", "stop", "length", "length"]
    ended = [one.model_copy(update={"finish_reason": end}) for one, end in zip(row.responses, ends, strict=True)]
    assert truncated_texts(ended) == {"b"}
