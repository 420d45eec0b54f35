"""Problems, solutions, splits and the attempts made from them."""

from random import Random

import pytest

from examples.worlds.countdown.attempts import attempt
from examples.worlds.countdown.checker import Problem, Step, criteria, parse_prompt, solved
from examples.worlds.countdown.problems import (
    Split,
    all_problems,
    render_prompt,
    render_steps,
    shuffle_numbers,
    solve,
    split_of,
)

SPLITS: tuple[Split, ...] = ("train", "eft_eval", "heldout")


def test_the_solver_finds_every_solution_of_a_small_problem() -> None:
    solutions = {render_steps(solution) for solution in solve(Problem((7, 3, 12), 33))}
    assert solutions == {"7 * 3 = 21 ; 21 + 12 = 33"}
    assert len(solve(Problem((1, 2, 3), 6))) == 6
    assert solve(Problem((1, 1, 1), 50)) == []


def test_solutions_are_right_and_put_the_larger_operand_first() -> None:
    rng = Random(0)
    for problem in rng.sample(all_problems("train"), 200):
        for solution in solve(problem):
            assert solved(render_prompt(problem), render_steps(solution))
            assert all(step.left >= step.right for step in solution)


def test_splits_share_no_problem_and_heldout_is_large_enough() -> None:
    sets = {split: set(all_problems(split)) for split in SPLITS}
    assert sum(map(len, sets.values())) == len(set.union(*sets.values()))
    assert len(sets["heldout"]) >= 1000
    assert len(sets["eft_eval"]) >= 200


def test_the_order_of_the_numbers_does_not_change_the_split() -> None:
    rng = Random(1)
    for problem in all_problems("heldout")[:50]:
        assert split_of(shuffle_numbers(problem, rng)) == "heldout"


def test_a_prompt_reads_back_as_its_problem() -> None:
    problem = Problem((7, 3, 12), 33)
    assert render_prompt(problem) == "Use 7 3 12 to make 33 ."
    assert parse_prompt(render_prompt(problem)) == problem


def test_each_habit_fails_the_criterion_it_is_named_for() -> None:
    rng = Random(2)
    prompt, problem = "Use 7 3 12 to make 33 .", Problem((7, 3, 12), 33)
    assert solved(prompt, attempt(problem, rng))
    assert not criteria(prompt, attempt(problem, rng, "stop"))["all"]
    assert not criteria(prompt, attempt(problem, rng, "repeat"))["numbers"]
    assert not criteria(prompt, attempt(problem, rng, "chat"))["format"]
    assert not criteria(prompt, attempt(problem, rng, "clean", "failed"))["target"]
    for _ in range(20):
        assert not criteria(prompt, attempt(problem, rng, "clean", "slip"))["steps"]
        assert criteria(prompt, attempt(problem, rng, "invent"))["target"]
        assert not criteria(prompt, attempt(problem, rng, "reuse"))["numbers"]


def test_an_attempt_at_an_impossible_problem_says_so() -> None:
    with pytest.raises(ValueError, match="no solution"):
        attempt(Problem((1, 1, 1), 50), Random(0))


def test_a_step_knows_whether_it_is_right() -> None:
    assert Step(7, "*", 3, 21).correct
    assert not Step(7, "-", 3, 3).correct
