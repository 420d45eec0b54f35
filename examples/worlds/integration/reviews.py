"""Reviews in the judge's rubric: the answer is differentiated term by term, and the points are counted up."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import sympy

from examples.worlds.integration.checker import Coefficients, look
from examples.worlds.integration.grammar import FUNCTIONS
from selfreward.loop.constitution import fill

RUBRICS: Final = Path(__file__).resolve().parent / "rubrics"
RUBRIC: Final = (RUBRICS / "antiderivative" / "template.txt").read_text().removesuffix("\n")
MOST_LINES: Final = 8


def review_prompt(prompt: str, response: str) -> str:
    """The filled rubric: what the judge reads."""
    return fill(RUBRIC, prompt=prompt, response=response)


def review(prompt: str, response: str) -> str:
    """What a careful annotator writes.

    ``3x^4 -> 12x^3 for 12x^3 ok; 2sin(3x) -> 6cos(3x) for -6cos(3x) sign; form 1 C 2 function 3 sign 3 number 4``, then
    ``Score: 4``. What the problem asks for stands beside each derivative: a small model that compared the two from
    memory passed half of the signs that were wrong. The number behind a point is the count of points so far, so the
    last one is the score.
    """
    seen = look(prompt, response)
    lines = [
        f"{line.term} -> {sum_text(line.derivative)} for {sum_text(line.wanted) or 'none'} "
        f"{' '.join(line.faults) or 'ok'}"
        for line in seen.lines
    ]
    lines = lines[:MOST_LINES] or ["none"]
    if seen.missing:
        lines.append(f"missing {' '.join(seen.missing)}")
    count, tally = 0, []
    for name, has in seen.points.items():
        count += has
        tally.append(f"{name} {count}")
    return f"{'; '.join(lines)}; {' '.join(tally)}\nScore: {count}"


def sum_text(coefficients: Coefficients) -> str:
    """A derivative in the notation of the problems: ``12x^3``, ``-6cos(3x)``, ``5/x``."""
    pieces: list[str] = []
    for basis, number in sorted(coefficients.items(), key=lambda item: str(item[0])):
        negative = number < 0
        sign = (" - " if negative else " + ") if pieces else ("-" if negative else "")
        pieces.append(sign + _term_text(basis, abs(number)))
    return "".join(pieces)


def _term_text(basis: Any, number: Any) -> str:
    """``number x^n g(kx)``."""
    power, function = 0, ""
    for factor in sympy.Mul.make_args(basis):
        base, exponent = factor.as_base_exp()
        if base.is_Symbol:
            power = int(exponent)
        elif factor != 1:
            # sympy's exp(2x) is a power of its own base.
            name = next(name for name, kind in FUNCTIONS.items() if factor.func is kind)
            scale = factor.args[0].as_coeff_Mul()[0]
            function = f"{name}({'' if scale == 1 else scale}x)"
    if power < 0:
        below = "x" if power == -1 else f"x^{-power}"
        return f"{number}{function}/{below}"
    x = "" if power == 0 else "x" if power == 1 else f"x^{power}"
    body = f"{x}*{function}" if x and function else x + function
    return body if body and number == 1 else f"{number}{body}"
