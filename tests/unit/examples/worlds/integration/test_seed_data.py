"""Problems, their levels and splits, and reviews whose tally follows from their lines."""

import re
from random import Random

import pytest

from examples.worlds.integration.attempts import HABITS, Habit, attempt
from examples.worlds.integration.checker import points
from examples.worlds.integration.problems import answer_text, draw, draw_from, split_of, text_of
from examples.worlds.integration.reviews import RUBRICS, review, review_prompt
from examples.worlds.integration.seed_data import ANSWERS, REVIEWS, build
from selfreward.contracts.judging import JudgeItem
from services.judge.rubrics.rubric import load_rubric

CLEAN: Habit = "clean"


def test_a_level_has_what_the_one_below_has_not() -> None:
    rng = Random(1)
    texts = {level: [draw(rng, {level: 1.0}).prompt for _ in range(200)] for level in (1, 2, 3)}
    assert not any(re.search(r"sin|cos|exp|/x", text) for text in texts[1])
    assert all(re.search(r"(sin|cos|exp)\(x\)|/x", text) for text in texts[2])
    assert not any(re.search(r"\dx\)|x\*exp", text) for text in texts[2])
    assert all(re.search(r"\(\dx\)|x\*exp", text) for text in texts[3])


def test_the_world_is_large() -> None:
    """Of 3,000 problems drawn twice few are the same: by the birthday bound there are far more than 100,000."""
    first, second = ({draw(Random(f"{seed} {number}")).prompt for number in range(3000)} for seed in "ab")
    assert len(first & second) < 90


def test_the_split_does_not_depend_on_the_order_of_the_terms() -> None:
    rng = Random(2)
    for split in ("ift", "prompts", "eft", "eft_eval", "heldout"):
        for problem in draw_from(split, 20, rng):
            turned = type(problem)(problem.terms[::-1], problem.answer[::-1])
            assert split_of(problem) == split_of(turned) == split


@pytest.mark.parametrize("habit", [habit for habit in HABITS if habit != "clean"])
def test_a_habit_costs_a_point_and_a_clean_answer_none(habit: Habit) -> None:
    rng = Random(habit)
    for _ in range(60):
        problem = draw(rng)
        clean, flawed = (sum(points(problem.prompt, attempt(problem, name, rng)).values()) for name in (CLEAN, habit))
        assert clean == 5 > flawed >= 1


def test_the_tally_counts_the_points() -> None:
    rng = Random(3)
    for habit in list(HABITS) * 10:
        problem = draw(rng)
        answer = attempt(problem, habit, rng)
        has = points(problem.prompt, answer)
        written = review(problem.prompt, answer)
        counts = [int(number) for number in re.findall(r"(?:form|C|function|sign|number) ([0-5])", written)]
        assert counts == [sum(list(has.values())[: place + 1]) for place in range(5)]
        assert written.endswith(f"\nScore: {counts[-1]}")
        faults = set(re.findall(r" (function|sign|number)(?=[ ;](?!\d))", written.partition("; form")[0] + ";"))
        assert ({"sign", "number"} & faults) == {name for name in ("sign", "number") if not has[name]}


def test_a_review_says_what_is_missing_and_that_there_is_nothing() -> None:
    prompt = "Find the antiderivative of 4x + 2cos(x)."
    assert review(prompt, "2x^2 + C").startswith("2x^2 -> 4x for 4x ok; missing 2cos(x); form 1 C 2 function 2")
    assert review(prompt, "no idea").startswith("none; missing 4x 2cos(x); form 0 C 0")


def test_the_demonstrated_question_is_the_one_that_the_judge_asks() -> None:
    rubric = load_rubric(RUBRICS / "antiderivative")
    prompt, answer = "Find the antiderivative of 4x.", "2x^2 + C"
    assert rubric.prompt(JudgeItem(prompt=prompt, response=answer)) == review_prompt(prompt, answer)


def test_demonstrations_are_clean_and_reviews_are_of_other_problems() -> None:
    rows = build(1)["ift"]
    answers = {row["prompt"]: row["response"] for row in rows if row["prompt"].startswith("Find")}
    assert (len(answers), len(rows)) == (ANSWERS, ANSWERS + REVIEWS)
    assert all(all(points(prompt, answer).values()) for prompt, answer in answers.items())
    reviewed = {re.search(r"Problem: (.*)\n", row["prompt"])[1] for row in rows if row["prompt"] not in answers}  # type: ignore[index]
    assert not reviewed & set(answers)


def test_texts() -> None:
    problem = draw(Random(7))
    assert answer_text(problem.answer) == text_of(problem.answer) + " + C"
