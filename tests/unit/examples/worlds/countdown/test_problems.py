"""Problems, solutions, splits and the attempts made from them."""

from random import Random

import pytest

from examples.worlds.countdown.attempts import attempt
from examples.worlds.countdown.checker import Problem, Step, criteria, parse_prompt, solved
from examples.worlds.countdown.problems import (
    Split,
    all_problems,
    draw_steps,
    endings,
    render_prompt,
    render_steps,
    shuffle_numbers,
    split_of,
)

SPLITS: tuple[Split, ...] = ("train", "eft_eval", "heldout")


def test_every_way_to_the_target_is_counted_and_drawn() -> None:
    assert endings((3, 7, 12))[33] == 1
    assert endings((1, 2, 3))[6] == 6
    assert 50 not in endings((1, 1, 1))
    rng = Random(0)
    drawn = {render_steps(draw_steps((1, 2, 3), rng, 6)) for _ in range(200)}
    assert len(drawn) == 6
    assert {render_steps(draw_steps((3, 7, 12), rng, 33)) for _ in range(5)} == {"7 * 3 = 21 ; 21 + 12 = 33"}


def test_drawn_steps_are_right_and_put_the_larger_operand_first() -> None:
    rng = Random(0)
    for problem in rng.sample(all_problems("train"), 200):
        steps = draw_steps(problem.numbers, rng, problem.target)
        assert solved(render_prompt(problem), render_steps(steps))
        assert all(step.left >= step.right for step in steps)


def test_there_are_more_problems_than_a_run_could_ask() -> None:
    assert sum(len(all_problems(split)) for split in SPLITS) > 100_000


def test_splits_share_no_problem() -> None:
    sets = {split: set(all_problems(split)) for split in SPLITS}
    assert sum(map(len, sets.values())) == len(set.union(*sets.values()))


def test_the_order_of_the_numbers_does_not_change_the_split() -> None:
    rng = Random(1)
    for problem in all_problems("heldout")[:50]:
        assert split_of(shuffle_numbers(problem, rng)) == "heldout"


def test_a_prompt_reads_back_as_its_problem() -> None:
    problem = Problem((7, 3, 12), 33)
    assert render_prompt(problem) == "Use 7 3 12 to make 33 ."
    assert parse_prompt(render_prompt(problem)) == problem


@pytest.mark.parametrize("problem", [Problem((7, 3, 12), 33), Problem((7, 3, 12, 5), 38)])
def test_each_habit_fails_the_criterion_it_is_named_for(problem: Problem) -> None:
    rng, prompt = Random(2), render_prompt(problem)
    assert solved(prompt, attempt(problem, rng))
    assert not criteria(prompt, attempt(problem, rng, "repeat"))["numbers"]
    assert not criteria(prompt, attempt(problem, rng, "chat"))["format"]
    for _ in range(50):
        assert not criteria(prompt, attempt(problem, rng, "stop"))["all"]
        assert not criteria(prompt, attempt(problem, rng, "clean", "failed"))["target"]
        assert not criteria(prompt, attempt(problem, rng, "clean", "slip"))["steps"]
        assert criteria(prompt, attempt(problem, rng, "invent"))["target"]
        assert not criteria(prompt, attempt(problem, rng, "reuse"))["numbers"]


def test_an_attempt_at_an_impossible_problem_says_so() -> None:
    with pytest.raises(ValueError, match="no way"):
        attempt(Problem((1, 1, 1), 50), Random(0))


def test_a_step_knows_whether_it_is_right() -> None:
    assert Step(7, "*", 3, 21).correct
    assert not Step(7, "-", 3, 3).correct
