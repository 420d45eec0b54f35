"""Pairs of direct Nash optimisation, with the golden vector of the paper's rule."""

from collections import Counter

import pytest

from selfreward.loop.methods.dno import build_pairs, prompts_with_teacher
from selfreward.recipe.rounds import Pairs
from tests.support.factories import cut_off, rollout

RULES = Pairs(min_chosen_score=5, margin=2, own_margin=1)
"""The paper's: a winner of 5 or 6, a gap of 2, or of 1 where the winner is the model's own."""


def test_golden_vector_of_the_paper() -> None:
    scores = {"student 5": 5, "student 4": 4, "student 6": 6, "student 3": 3, "student 2": 2, "teacher": 6}
    pairs, counts = build_pairs([rollout({text: [score] for text, score in scores.items()})], RULES)
    assert Counter(pair.chosen[0].content for pair in pairs) == {"teacher": 3, "student 5": 3, "student 6": 4}
    assert "student 5" not in {pair.rejected[0].content for pair in pairs if pair.chosen[0].content == "teacher"}
    assert ("student 6", "student 5") in {(pair.chosen[0].content, pair.rejected[0].content) for pair in pairs}
    assert all(pair.votes_chosen and pair.rubric for pair in pairs)
    assert counts == {"kept": 1, "tie": 0, "unscored": 0, "below_margin": 0, "filtered": 0, "truncated": 0}


@pytest.mark.parametrize(
    ("scores", "outcome"),
    [
        ({"a": [4], "b": [1], "teacher": [4]}, "filtered"),
        ({"a": [4], "b": [4], "teacher": [5]}, "below_margin"),
        ({"a": [5], "b": [5], "teacher": [5]}, "tie"),
        ({"a": [None], "b": [None], "teacher": [5]}, "unscored"),
        ({"a": [4], "b": [3], "teacher": [5]}, "kept"),
        ({"a": [5], "b": [4], "teacher": [None]}, "kept"),
    ],
)
def test_each_prompt_ends_in_one_way(scores: dict[str, list[float | None]], outcome: str) -> None:
    pairs, counts = build_pairs([rollout(scores)], RULES)
    assert [name for name, count in counts.items() if count] == [outcome]
    assert bool(pairs) == (outcome == "kept")


def test_an_own_answer_that_is_the_teachers_has_the_teachers_margin_and_pools_its_votes() -> None:
    (row,) = [rollout([("gold", [6.0]), ("own", [4.0]), ("gold", [4.0])])]
    assert build_pairs([row], RULES)[0] == []
    (pair,) = build_pairs([row], RULES.model_copy(update={"margin": 1}))[0]
    assert (pair.score_chosen, pair.votes_chosen) == (5.0, [6.0, 4.0])


def test_the_worst_a_rejected_answer_may_be_bounds_every_pair() -> None:
    row = rollout({"a": [4], "b": [2], "teacher": [6]})
    pairs, _ = build_pairs([row], RULES.model_copy(update={"max_rejected_score": 3}))
    assert [pair.rejected[0].content for pair in pairs] == ["b"]


def test_prompts_come_with_the_teachers_answer() -> None:
    row = {"prompt_id": "prompts-00000", "prompt": [{"role": "user", "content": "q"}], "response": "gold"}
    assert prompts_with_teacher([row]) == [
        {"prompt_id": "prompts-00000", "prompt": row["prompt"], "responses": [{"text": "gold"}]}
    ]


def test_an_answer_that_ended_at_the_token_limit_is_not_chosen() -> None:
    rules = Pairs(margin=1)
    row = cut_off(rollout({"a": [6], "b": [2], "teacher": [4]}), "a")
    (pair,) = build_pairs([row], rules)[0]
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("teacher", "b")
    pairs, counts = build_pairs([cut_off(row, "a", "teacher")], rules)
    assert (pairs, counts["truncated"]) == ([], 1)
    assert len(build_pairs([row], rules.model_copy(update={"chosen_truncated": True}))[0]) == 3
