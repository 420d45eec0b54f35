"""Exact judgment of an antiderivative, by differentiating it with sympy: the stand-in for human annotators.

The answer to ``Find the antiderivative of 12x^3 - 6cos(3x).`` is ``3x^4 - 2sin(3x) + C``. Five points, which together
say that the derivative of the answer is the problem:

1. form:     the answer is one expression and nothing else;
2. C:        it has the constant of integration once;
3. function: its derivative has the problem's functions and powers of x, all of them and no others;
4. sign:     and they have the problem's signs;
5. number:   and the problem's coefficients, apart from the sign.

Where the expression is surrounded by other text, the longest one is looked at, and only `form` is missing. Nothing in
the loop imports this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import sympy

from examples.worlds.integration.grammar import MOST_CHARACTERS, NoExpression, Term, X, parse

POINTS: Final = ("form", "C", "function", "sign", "number")
FAULTS: Final = POINTS[2:]
_BEFORE, _AFTER = "Find the antiderivative of ", "."

Coefficients = Mapping[Any, Any]
"""Rational coefficients by what they multiply: x^n g(kx)."""

_ATOM = r"(?:[0-9]*\(x - 1\)exp\(x\)|[0-9]*(?:sin|cos|exp|ln)\([0-9]*x\)|[0-9]*x(?:\^[0-9]+)?|[0-9]+)"
_EMBEDDED = re.compile(rf"-?{_ATOM}(?: [+-] {_ATOM})*(?: \+ C\b)?")


@dataclass(frozen=True)
class Line:
    """A term of the answer, its derivative, what of the problem it answers, and which of `FAULTS` it has."""

    term: str
    derivative: Coefficients
    wanted: Coefficients
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Look:
    """All that an annotator sees: the terms of the answer, what of the problem is missing, and the points."""

    lines: tuple[Line, ...]
    missing: tuple[str, ...]
    points: Mapping[str, bool]


def problem_of(prompt: str) -> list[Term]:
    """The terms of the problem that a prompt states. Raises ValueError if it states none."""
    text = prompt.strip()
    if not (text.startswith(_BEFORE) and text.endswith(_AFTER)):
        raise ValueError(f"not of the form '{_BEFORE}...{_AFTER}': {prompt[:80]!r}")
    terms = parse(text.removeprefix(_BEFORE).removesuffix(_AFTER))
    if any(term.value is None for term in terms):
        raise ValueError(f"a problem has no C: {prompt[:80]!r}")
    return terms


@lru_cache(maxsize=8192)
def look(prompt: str, answer: str) -> Look:
    """What an annotator sees in an answer. Raises ValueError if the prompt states no problem."""
    problem = problem_of(prompt)
    want = _total([_coefficients(term.value) for term in problem])
    # The whole answer, or the longest expression in it.
    terms, whole = _terms_of(answer)
    derivatives = [(term.text, _coefficients(sympy.diff(term.value, X))) for term in terms if term.value is not None]
    got = _total([derivative for _, derivative in derivatives])
    # Terms one by one: the derivative's functions are looked up in the problem.
    lines = tuple(
        Line(text, derivative, {basis: want[basis] for basis in derivative if basis in want}, faults)
        for text, derivative in derivatives
        if derivative
        for faults in (_faults(derivative, got, want),)
    )
    missing = tuple(term.text for term in problem if not set(_coefficients(term.value)) & set(got))
    common = set(got) & set(want)
    verdicts = (
        whole,
        sum(term.value is None for term in terms) == 1,
        set(got) == set(want),
        bool(common) and all((got[name] < 0) == (want[name] < 0) for name in common),
        bool(common) and all(abs(got[name]) == abs(want[name]) for name in common),
    )
    return Look(lines, missing, dict(zip(POINTS, verdicts, strict=True)))


def points(prompt: str, answer: str) -> dict[str, bool]:
    """Which of the five points an answer has. Raises ValueError if the prompt states no problem."""
    return dict(look(prompt, answer).points)


def _terms_of(answer: str) -> tuple[list[Term], bool]:
    """The terms of an answer, and whether it has nothing else. No terms if there is no expression in it."""
    text = answer.strip()
    try:
        return parse(text), True
    except NoExpression:
        found = max(_EMBEDDED.findall(text[: 5 * MOST_CHARACTERS]), key=len, default="")
    try:
        return (parse(found) if found else []), False
    except NoExpression:
        return [], False


@lru_cache(maxsize=65536)
def _coefficients(value: Any) -> Coefficients:
    """Rational coefficients of an expression by what they multiply."""
    expanded = sympy.expand(value).as_coefficients_dict()
    return {basis: number for basis, number in expanded.items() if number != 0}


def _total(parts: list[Coefficients]) -> dict[Any, Any]:
    total: dict[Any, Any] = {}
    for part in parts:
        for basis, number in part.items():
            total[basis] = total.get(basis, 0) + number
    return {basis: number for basis, number in total.items() if number != 0}


def _faults(derivative: Coefficients, got: Coefficients, want: Coefficients) -> tuple[str, ...]:
    """What is wrong with a term, where the terms of the answer with the same functions are taken together."""
    known = [basis for basis in derivative if basis in got and basis in want]
    faults = (
        any(basis in got and basis not in want for basis in derivative),
        any((got[basis] < 0) != (want[basis] < 0) for basis in known),
        any(abs(got[basis]) != abs(want[basis]) for basis in known),
    )
    return tuple(name for name, has in zip(FAULTS, faults, strict=True) if has)
