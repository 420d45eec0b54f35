"""Pairs of past, present and future answers (2508.06026), and the plan of a run that makes them."""

from typing import Any

import pytest

from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop.load import parse_recipe
from selfreward.loop.methods import method_of
from selfreward.loop.methods.temporal import build_pairs, prompts_with_past_answers
from selfreward.recipe.recipe import Recipe, RecipeError
from selfreward.recipe.rounds import Pairs
from tests.support.factories import cut_off, rollout


def recipe(**sections: Any) -> Recipe:
    data = {"ift": "i", "eft": "e", "prompts": "p", "heldout": "h"}
    return parse_recipe({"name": "r", "model": "m", "method": "temporal", "data": data, **sections}, "test")


def one(first: Rollout, future: list[Rollout], **rules: Any) -> tuple[str, str] | str:
    """(chosen, rejected) of a rollout whose first two answers are the model's own, or why there is none."""
    pairs, counts = build_pairs([first], future, 2, Pairs(**rules), 0)
    if not pairs:
        (why,) = [outcome for outcome, count in counts.items() if count]
        return why
    (pair,) = pairs
    assert isinstance(pair, PreferencePair)
    return pair.chosen[0].content, pair.rejected[0].content


Scores = dict[str, list[float | None]]
PRESENT: Scores = {"own good": [4], "own bad": [3], "past good": [5], "past bad": [1]}


def test_the_past_is_rejected_and_never_chosen() -> None:
    assert one(rollout(PRESENT), []) == ("own good", "past bad")


def test_the_past_is_not_rejected_where_the_present_is_worse() -> None:
    assert one(rollout({**PRESENT, "own bad": [0.5]}), []) == ("own good", "own bad")


def test_the_future_is_chosen_where_it_is_better_and_never_rejected() -> None:
    assert one(rollout(PRESENT), [rollout({"future": [5], "future bad": [0]})]) == ("future", "past bad")
    assert one(rollout(PRESENT), [rollout({"future": [4]})]) == ("own good", "past bad")


def test_the_future_of_another_prompt_does_not_count() -> None:
    assert one(rollout(PRESENT), [rollout({"future": [5]}, name="p1")]) == ("own good", "past bad")


def test_a_future_answer_that_is_known_keeps_its_first_score() -> None:
    assert one(rollout(PRESENT), [rollout({"past bad": [5], "own bad": [5]})]) == ("own good", "past bad")


def test_why_there_is_no_pair() -> None:
    alike: Scores = {text: [4] for text in PRESENT}
    assert one(rollout(alike), []) == "tie"
    assert one(rollout(alike), [rollout({"future": [5]})])[0] == "future"
    assert one(rollout({"own": [4], "own 2": [None]}), []) == "unscored"
    assert one(rollout(PRESENT), [], margin=4) == "below_margin"
    assert one(rollout(PRESENT), [], min_chosen_score=4.5) == "filtered"


def test_a_round_has_the_past_answers_of_its_own_prompts() -> None:
    rows = [{"prompt_id": "a", "prompt": []}, {"prompt_id": "lost", "prompt": []}]
    past = [{"prompt_id": "b", "responses": [{"text": "2"}]}, {"prompt_id": "a", "responses": [{"text": "1"}]}]
    assert prompts_with_past_answers(rows, past) == [{"prompt_id": "a", "prompt": [], "responses": [{"text": "1"}]}]


def test_each_model_is_foreseen_and_trained_from_the_one_before_it() -> None:
    run_recipe = recipe(loop={"iterations": 2})
    assert method_of(run_recipe).stages(run_recipe) == ["M0", "SFT", "M1", "F2", "M2", "F3", "M3"]
    assert [method_of(run_recipe).parent(run_recipe, stage) for stage in ("F2", "M2", "F3", "M3")] == [
        "M1",
        "M1",
        "M2",
        "M2",
    ]
    assert [method_of(run_recipe).actor(run_recipe, stage) for stage in ("F2", "M2", "F3", "M3")] == [
        "M1",
        "M1",
        "M2",
        "M2",
    ]
    assert "past" in method_of(run_recipe).phases(run_recipe, "F2")
    assert "past" not in method_of(run_recipe).phases(run_recipe, "F3")
    assert "evaluate" not in method_of(run_recipe).phases(run_recipe, "F3")
    assert method_of(run_recipe).phases(run_recipe, "M3")[:3] == ("foresee", "rollouts", "pairs")
    assert (method_of(run_recipe).answers(run_recipe, "F2"), method_of(run_recipe).answers(run_recipe, "M2")) == (8, 4)


def test_a_run_answers_three_times_and_judges_all_of_it() -> None:
    small = {"sampling": {"n": 2, "max_tokens": 10}, "judging": {"votes": 1, "max_tokens": 1}}
    run_recipe = recipe(**small, prompts={"per_iteration": 5}, loop={"iterations": 2, "use_eft": False})
    none = recipe(**small, prompts={"per_iteration": 5}, loop={"iterations": 0, "use_eft": False})
    base = run_recipe.evaluation.prompts * (run_recipe.evaluation.samples + 1) * 10
    answered = method_of(run_recipe).tokens(run_recipe, 0, 0) - base - 2 * 5 * 3 * 2 * 11
    assert answered == 3 * (method_of(none).tokens(none, 0, 0) - base)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"loop": {"init_from": "anchor"}}, "leave out loop.init_from"),
        ({"loop": {"replay": [0.5]}}, "leave out loop.replay"),
        ({"pairs": {"length_control": 0.1}}, "leave it out with method='temporal'"),
    ],
)
def test_what_the_method_does_not_read_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(**section)


def test_an_answer_that_ended_at_the_token_limit_is_not_chosen() -> None:
    present, future = rollout(PRESENT), rollout({"future": [5], "next": [4.5]})
    assert one(cut_off(present, "own good"), []) == ("own bad", "past bad")
    assert one(present, [cut_off(future, "future")]) == ("next", "past bad")
    assert one(cut_off(present, "own good", "own bad"), [future]) == ("future", "past bad")
    assert one(cut_off(present, "own good", "own bad"), []) == "truncated"
    assert one(cut_off(present, "own good"), [], chosen_truncated=True) == ("own good", "past bad")
