"""Problems in levels with their antiderivatives, and the split that keeps evaluation problems unseen.

Level 1 has polynomials, level 2 also sin, cos, exp and 1/x, level 3 also a scaled argument, as in cos(3x), and
x exp(x), which is integrated by parts. A problem of a level has at least one term that the level below does not have.
A hash of the problem decides its split, so every program that draws problems agrees on the held-out ones.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from random import Random
from typing import Final, Literal

MOST_COEFFICIENT: Final = 9
MOST_EXPONENT: Final = 6
MOST_SCALE: Final = 5
LEVELS: Final = {1: 0.5, 2: 0.35, 3: 0.15}
TERMS: Final = {2: 0.3, 3: 0.45, 4: 0.25}
"""Shares of the problems by level and by number of terms."""
PROMPT: Final = "Find the antiderivative of {}."

Split = Literal["ift", "prompts", "eft", "eft_eval", "heldout"]
_SHARES: Final[dict[Split, int]] = {"ift": 20, "prompts": 50, "eft": 10, "eft_eval": 5, "heldout": 15}
Function = Literal["", "sin", "cos", "exp", "ln"]


@dataclass(frozen=True)
class Part:
    """A term ``c x^n g(kx)`` of a sum, of a problem or of its antiderivative; `shifted` writes ``(x - 1)`` for x."""

    coefficient: int
    power: int = 0
    function: Function = ""
    scale: int = 1
    shifted: bool = False

    def __str__(self) -> str:
        """The term without a sign."""
        number = abs(self.coefficient)
        if self.power == -1:
            return f"{number}/x"
        x = "" if self.power == 0 else "x" if self.power == 1 else f"x^{self.power}"
        if not self.function:
            return f"{number if number > 1 or not x else ''}{x}"
        function = f"{self.function}({self.scale if self.scale > 1 else ''}x)"
        before = "(x - 1)" if self.shifted else f"{x}*" if x else ""
        return f"{number if number > 1 else ''}{before}{function}"


@dataclass(frozen=True)
class Problem:
    """The terms of a problem, and those of its antiderivative, one for each."""

    terms: tuple[Part, ...]
    answer: tuple[Part, ...]

    @property
    def prompt(self) -> str:
        """The task as the model reads it."""
        return PROMPT.format(text_of(self.terms))


def text_of(terms: tuple[Part, ...] | list[Part]) -> str:
    """A sum as text: ``12x^3 - 6cos(3x) + 5/x``."""
    pieces = []
    for index, term in enumerate(terms):
        negative = term.coefficient < 0
        sign = ("-" if negative else "") if index == 0 else (" - " if negative else " + ")
        pieces.append(f"{sign}{term}")
    return "".join(pieces)


def answer_text(terms: tuple[Part, ...] | list[Part]) -> str:
    """An antiderivative as text, with the constant."""
    return f"{text_of(terms)} + C"


def draw(rng: Random, levels: dict[int, float] = LEVELS) -> Problem:
    """A problem of a level drawn by its share. Polynomial terms stand first, by falling powers."""
    level = rng.choices(list(levels), list(levels.values()))[0]
    size = rng.choices(list(TERMS), list(TERMS.values()))[0]
    drawn: dict[object, tuple[Part, Part]] = {}
    while len(drawn) < size:
        term, answer = _term(level if not drawn else rng.randint(1, level), rng)
        drawn.setdefault(replace(term, coefficient=1), (term, answer))
    ordered = sorted(drawn.values(), key=lambda pair: (bool(pair[0].function), -pair[0].power, str(pair[0])))
    return Problem(tuple(term for term, _ in ordered), tuple(answer for _, answer in ordered))


def split_of(problem: Problem) -> Split:
    """The split that a problem belongs to, whatever the order of its terms."""
    signed = sorted(text_of([term]) for term in problem.terms)
    percent = int.from_bytes(hashlib.sha256(" ".join(signed).encode()).digest()[:4], "big") % 100
    for split, share in _SHARES.items():
        if percent < share:
            return split
        percent -= share
    raise AssertionError("the shares sum to 100")


def draw_from(split: Split, count: int, rng: Random, levels: dict[int, float] = LEVELS) -> list[Problem]:
    """Different problems of a split."""
    found: dict[str, Problem] = {}
    while len(found) < count:
        problem = draw(rng, levels)
        if split_of(problem) == split:
            found.setdefault(problem.prompt, problem)
    return list(found.values())


def _term(level: int, rng: Random) -> tuple[Part, Part]:
    """A term of a level and its antiderivative."""
    c = rng.choice((1, 1, -1)) * rng.randint(1, MOST_COEFFICIENT)
    if level == 1:
        n = rng.randint(1, MOST_EXPONENT)
        return Part(c * n, n - 1), Part(c, n)
    if level == 3 and rng.random() < 0.25:
        return Part(c, 1, "exp"), Part(c, function="exp", shifted=True)
    k = rng.randint(2, MOST_SCALE) if level == 3 else 1
    kinds: tuple[Function, ...] = ("sin", "cos", "exp", "ln") if level == 2 else ("sin", "cos", "exp")
    answer = Part(c, function=rng.choice(kinds), scale=k)
    if answer.function == "sin":
        return Part(c * k, function="cos", scale=k), answer
    if answer.function == "cos":
        return Part(-c * k, function="sin", scale=k), answer
    if answer.function == "exp":
        return Part(c * k, function="exp", scale=k), answer
    return Part(c, -1), answer
