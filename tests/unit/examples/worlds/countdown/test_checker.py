"""The exact checker, against cases scored by hand."""

import pytest

from examples.worlds.countdown.checker import CRITERIA, Problem, criteria, parse_prompt, score, solved

PROMPT = "Use 7 3 12 to make 33 ."

GOLDEN = [
    # answer, criteria that fail
    ("7 * 3 = 21 ; 21 + 12 = 33", ""),
    ("3 * 7 = 21 ; 12 + 21 = 33", ""),
    ("7 * 3 = 22 ; 22 + 12 = 34", "steps target"),
    ("7 * 3 = 22 ; 21 + 12 = 33", "numbers steps"),
    ("12 - 7 = 5 ; 5 * 3 = 15", "target"),
    ("12 - 7 = 5 ; 5 * 3 = 33", "steps"),
    ("7 * 3 = 21", "all target"),
    ("12 + 7 = 19 ; 19 + 14 = 33", "numbers all"),
    ("7 * 3 = 21 ; 21 + 12 = 33 ; 21 + 12 = 33", "numbers"),
    ("7 * 3 = 21 ; 21 + 12 = 33 ; I hope this helps !", "format"),
    ("7 * 3 = 21 ; 21 + 12 = 33 .", "format all target"),
    ("7 * 3 = 21 ; 21 + 12 33", "format all target"),
    ("7 * 3 = 21; 21 + 12 = 33", "format numbers all steps target"),
    ("33", "format numbers all steps target"),
    ("", "format numbers all steps target"),
]


@pytest.mark.parametrize(("answer", "failed"), GOLDEN)
def test_criteria_match_the_hand_made_cases(answer: str, failed: str) -> None:
    got = " ".join(name for name, met in criteria(PROMPT, answer).items() if not met)
    assert got == failed
    assert score(PROMPT, answer) == len(CRITERIA) - len(failed.split())
    assert solved(PROMPT, answer) == (failed == "")


def test_a_number_given_twice_must_be_used_twice() -> None:
    prompt = "Use 5 5 2 to make 20 ."
    assert solved(prompt, "5 + 5 = 10 ; 10 * 2 = 20")
    assert not criteria(prompt, "5 * 2 = 10 ; 10 + 10 = 20")["numbers"]


def test_a_result_equal_to_a_given_number_does_not_stand_for_it() -> None:
    assert solved("Use 3 4 7 to make 49 .", "3 + 4 = 7 ; 7 * 7 = 49")
    assert not solved("Use 3 4 7 to make 7 .", "3 + 4 = 7")
    assert not criteria("Use 12 7 5 3 to make 15 .", "12 - 7 = 5 ; 5 * 3 = 15")["all"]


def test_a_prompt_states_numbers_and_target() -> None:
    assert parse_prompt(" Use 7 3 12 to make 33 . ") == Problem((7, 3, 12), 33)


@pytest.mark.parametrize(
    ("prompt", "wrong"),
    [
        ("make 33", "not of the form"),
        ("Use 7 3 12 to make 33", "not of the form"),
        ("Use 7 x 12 to make 33 .", "'x' is not a number"),
        ("Use 7 3 12 to make 333 .", "'333' is not a number"),
        ("Use 7 to make 7 .", "at least two numbers, got 1"),
        ("Use 0 3 to make 3 .", "start at 1"),
    ],
)
def test_a_prompt_that_is_not_a_problem_is_refused_by_reason(prompt: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        parse_prompt(prompt)
