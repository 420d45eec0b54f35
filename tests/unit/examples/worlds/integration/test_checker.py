"""The checker decides exactly, whatever the answer looks like, and in bounded time whatever the text is."""

import time
from random import Random

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.worlds import seed_files
from examples.worlds.integration.attempts import HABITS, attempt
from examples.worlds.integration.checker import POINTS, points, problem_of
from examples.worlds.integration.grammar import MOST_CHARACTERS, NoExpression, X, parse
from examples.worlds.integration.problems import answer_text, draw

PROMPT = "Find the antiderivative of 12x^3 - 6cos(3x) + 5/x."
RIGHT = "3x^4 - 2sin(3x) + 5ln(x) + C"


def missing(answer: str, prompt: str = PROMPT) -> list[str]:
    return [name for name, has in points(prompt, answer).items() if not has]


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT,
        "5ln|x| - 2sin(3x) + 3x^4 + C",
        "3x^4-2sin(3x)+5ln(x)+C",
        "C + 3*x^4 + 5*ln(x) - 2*sin(3x)",
        "(3/1)x^4 - 4/2sin(3x) + 5ln(2x) + 7 + C",
        "2x^4 + x^4 + 2sin(-3x) + 5ln(x) + C",
        " " + RIGHT + "\n",
    ],
)
def test_right_answers_in_other_forms(answer: str) -> None:
    assert missing(answer) == []


@pytest.mark.parametrize(
    ("answer", "lacks"),
    [
        ("3x^4 - 2sin(3x) + 5ln(x)", ["C"]),
        ("3x^4 - 2sin(3x) + 5ln(x) + C + C", ["C"]),
        ("The answer is 3x^4 - 2sin(3x) + 5ln(x) + C.", ["form"]),
        ("3x^4 + 2sin(3x) + 5ln(x) + C", ["sign"]),
        ("4x^4 - 2sin(3x) + 5ln(x) + C", ["number"]),
        ("4x^4 + 2sin(3x) + 5ln(x) + C", ["sign", "number"]),
        ("3x^4 - 2cos(3x) + 5ln(x) + C", ["function"]),
        ("3x^4 - 2sin(3x) + C", ["function"]),
        ("3x^4 - 2sin(3x) + 5ln(x) + x + C", ["function"]),
        ("I do not know.", list(POINTS)),
        ("", list(POINTS)),
    ],
)
def test_what_a_wrong_answer_lacks(answer: str, lacks: list[str]) -> None:
    assert missing(answer) == lacks


def test_parts() -> None:
    prompt = "Find the antiderivative of 3x*exp(x)."
    assert missing("3(x - 1)exp(x) + C", prompt) == []
    assert missing("3x*exp(x) - 3exp(x) + C", prompt) == []
    assert missing("3x*exp(x) + C", prompt) == ["function"]


def test_the_verdict_is_that_of_the_whole_derivative() -> None:
    rng = Random(5)
    for _ in range(80):
        problem = draw(rng)
        assert missing(answer_text(problem.answer), problem.prompt) == []
        answer = attempt(problem, seed_files.draw(HABITS, rng), rng)
        lacks = missing(answer, problem.prompt)
        if lacks and "form" in lacks:
            continue
        terms = parse(answer)
        derivative = sympy.diff(sum(term.value for term in terms if term.value is not None), X)
        gap = sympy.simplify(derivative - sum(term.value for term in problem_of(problem.prompt)))
        has_c = sum(term.value is None for term in terms) == 1
        assert (lacks == []) == (gap == 0 and has_c), (problem.prompt, answer)


HOSTILE = [
    "__import__('os').system('true')",
    "9" * 10_000,
    "(" * 5_000,
    "x^" * 60 + "9",
    "9^9^9^9",
    "x^99999",
    "(x + 1)" * 25,
    "sin(x)" * 30,
    "((x))",
    "1/0",
    "x/(x - 1)",
    "1/" * 90 + "x",
    "x" * MOST_CHARACTERS,
    "x" * 1_000_000,
    "3x + " * 100_000,
    "²x + ３x",
    "\x00\ud800",
    "sin(0x)",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: f"{text[:12]!a}-{len(text)}")
def test_hostile_text_is_read_in_bounded_time_and_solves_nothing(text: str) -> None:
    started = time.process_time()
    assert missing(text) != []
    assert time.process_time() - started < 2


@given(st.text(alphabet="0123456789x^()+-*/|C sincoexpl", max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        terms = parse(text)
    except NoExpression:
        return
    assert terms
    points(PROMPT, text)


OUTSIDE = ["", "Use 7 3 12 to make 33 .", "Find the antiderivative of x + C.", f"{PROMPT} Why?"]


@pytest.mark.parametrize("prompt", OUTSIDE)
def test_a_prompt_outside_this_world_is_an_error(prompt: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        points(prompt, RIGHT)
