"""Answers as people write them: clean ones, slips, and the faults of those who have not understood a rule."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Final, Literal

from examples.worlds.integration.problems import Part, Problem, answer_text, text_of

Habit = Literal["clean", "slip", "sign", "undivided", "unraised", "swapped", "dropped", "no_c", "chat"]
HABITS: Final[dict[Habit, float]] = {
    "clean": 0.34,
    "slip": 0.20,
    "sign": 0.16,
    "undivided": 0.06,
    "unraised": 0.06,
    "swapped": 0.06,
    "dropped": 0.04,
    "no_c": 0.04,
    "chat": 0.04,
}
_CHATS: Final = ("The answer is {}.", "Sure! {}", "{} I hope this helps.")
_SWAPPED: Final[dict[str, Literal["sin", "cos"]]] = {"sin": "cos", "cos": "sin"}


def attempt(problem: Problem, habit: Habit, rng: Random) -> str:
    """An answer with a habit; a slip where the problem gives no occasion for the habit."""
    terms = list(problem.answer)
    if habit == "no_c":
        return text_of(terms)
    if habit == "chat":
        return rng.choice(_CHATS).format(answer_text(terms))
    if habit == "dropped":
        del terms[rng.randrange(len(terms))]
        return answer_text(terms)
    if habit != "clean":
        place = rng.randrange(len(terms))
        terms[place] = _wrong(problem.terms[place], terms[place], habit, rng)
    return answer_text(terms)


def _wrong(term: Part, right: Part, habit: Habit, rng: Random) -> Part:
    """The term of an answer with a fault."""
    if habit == "sign":
        return replace(right, coefficient=-right.coefficient)
    if habit == "undivided" and abs(right.coefficient) != abs(term.coefficient):
        return replace(right, coefficient=term.coefficient)
    if habit == "unraised" and not right.function and right.power > 1:
        return replace(right, power=right.power - 1)
    if habit == "swapped" and right.function in _SWAPPED:
        return replace(right, function=_SWAPPED[right.function])
    number = abs(right.coefficient)
    other = rng.choice([value for value in range(max(1, number - 2), number + 3) if value != number])
    return replace(right, coefficient=other if right.coefficient > 0 else -other)
