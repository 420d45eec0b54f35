"""Process-based self-rewarding: which steps are compared, who wins, and which pairs come of it."""

from typing import Literal

import pytest

from selfreward.contracts.rollouts import Match, Step
from selfreward.loop.methods import method_of
from selfreward.loop.methods.process import build_pairs, monitors
from selfreward.loop.methods.steps import (
    answer_text,
    best_and_worst,
    count_backtracks,
    extend,
    is_over,
    pairs_to_compare,
    usable_candidates,
    wins,
)
from tests.support.factories import recipe, rollout
from tests.support.steps import MORE, beats, first_shown, said


def test_each_whole_text_is_compared_once() -> None:
    candidates = [*said("a ;", "b", "a ;", " ;", "", "b"), *said("cut off", finish="length"), *said("c ;")]
    assert usable_candidates(candidates, MORE) == [0, 1, 7]
    assert pairs_to_compare(candidates, MORE) == [(0, 1), (0, 7), (1, 7)]


def test_the_score_of_a_candidate_is_how_many_it_beats() -> None:
    # b beats a and c; a beats c; of d and the others the judge says whatever stands first, which is no win.
    candidates = said("a ;", "b ;", "c ;", "d")
    matches = [*beats(1, 0), *beats(1, 2), *beats(0, 2), *(m for other in range(3) for m in first_shown(other, 3))]
    assert wins(candidates, matches, MORE) == {0: 1, 1: 2, 2: 0, 3: 0}
    outcomes = best_and_worst(candidates, matches, MORE)
    assert outcomes is not None
    assert (outcomes.best, outcomes.worst, outcomes.best_wins, outcomes.worst_wins) == (1, 2, 2, 0)


def test_one_order_alone_decides_nothing() -> None:
    unread = Match(first=1, second=0, outcome=0, status="unparsed")
    assert wins(said("a ;", "b ;"), [Match(first=0, second=1, outcome=1), unread], MORE) == {0: 0, 1: 0}


def test_pairs_are_single_steps_after_the_chosen_ones() -> None:
    first = Step(candidates=said("a ;", "b ;"), matches=beats(1, 0), chosen=1)
    tied = Step(candidates=said(" c ;", " d ;"), matches=first_shown(0, 1), chosen=0)
    last = Step(candidates=said(" e", " f ;", " e"), matches=beats(0, 1), chosen=0)
    pairs, counts = build_pairs([rollout([""], steps=[first, tied, last])], MORE)
    assert [[message.content for message in pair.prompt] for pair in pairs] == [
        ["question"],
        ["question", "b ; c ;"],
    ]
    assert [message.role for message in pairs[1].prompt] == ["user", "assistant"]
    assert [(pair.chosen[0].content, pair.rejected[0].content) for pair in pairs] == [("b ;", "a ;"), (" e", " f ;")]
    assert [(pair.score_chosen, pair.score_rejected, pair.separator) for pair in pairs] == [(1, 0, MORE)] * 2
    assert counts["kept"] == 1
    figures = monitors([rollout([""], steps=[first, tied, last])], MORE)
    assert figures["mean_steps"] == 3
    assert figures["paired_steps"] == pytest.approx(2 / 3)
    assert figures["invalid_vote_rate"] == 0


@pytest.mark.parametrize(("status", "outcome"), [("ok", "tie"), ("unparsed", "unscored")])
def test_a_search_without_a_winner_says_why(status: Literal["ok", "unparsed"], outcome: str) -> None:
    matches = [Match(first=a, second=b, outcome=0, status=status) for a, b in ((0, 1), (1, 0))]
    alone = Step(candidates=said(" c", " c"), chosen=0)
    pairs, counts = build_pairs(
        [rollout([""], steps=[Step(candidates=said("a ;", "b ;"), matches=matches, chosen=0), alone])], MORE
    )
    assert pairs == []
    assert {name for name, count in counts.items() if count} == {outcome}


def test_before_the_first_step_there_is_none_to_drop() -> None:
    alone, tied = said("a ;", "a ;"), said("b ;", "c ;")
    steps = extend([], alone, [], MORE, backtracks=2)
    steps = extend(steps, tied, first_shown(0, 1), MORE, backtracks=2)
    assert ([step.dropped for step in steps], count_backtracks(steps), answer_text(steps)) == ([True, True], 2, "")
    assert not is_over(steps, MORE, max_steps=1)
    steps = extend(steps, tied, first_shown(0, 1), MORE, backtracks=2)
    assert (steps[-1].dropped, answer_text(steps), is_over(steps, MORE, max_steps=1)) == (False, "b ;", True)


def test_a_search_ends_where_no_candidate_can_be_used_though_it_could_go_back() -> None:
    steps = extend(extend([], said("a ;", "b ;"), beats(0, 1), MORE, 9), said("", " ;"), [], MORE, 9)
    assert [(step.chosen, step.dropped) for step in steps] == [(0, False), (None, False)]
    assert is_over(steps, MORE, max_steps=9)


def test_what_a_round_may_cost_is_every_candidate_and_comparison_of_each_step() -> None:
    run_recipe = recipe(
        method="process",
        loop={"use_eft": False, "iterations": 1},
        sampling={"n": 3, "max_tokens": 8},
        process={"max_steps": 3, "judging": {"max_tokens": 32}},
    )
    unevaluated = run_recipe.model_copy(update={"evaluation": run_recipe.evaluation.model_copy(update={"prompts": 0})})
    # Three steps, and two more for each of the three times that a search may go back.
    per_prompt = 9 * (3 * 8 + 3 * 2 * 32)
    method = method_of(run_recipe)
    assert method.tokens(unevaluated, 0, 0) == per_prompt * run_recipe.prompts.per_iteration
    assert method.answers(run_recipe, "M2") == 1
    assert method.phases(run_recipe, "M2")[:4] == ("prompts", "rollouts", "pairs", "watch_pairs")
