"""Exact judgment of a Countdown answer: the stand-in for human annotators and for the evaluation.

An answer is a list of steps, ``7 * 3 = 21 ; 21 + 12 = 33``. Five criteria give one point each, so that
an answer which is partly right is worth more than one which is not right at all:

1. format:  every segment between semicolons is a step ``a op b = c``;
2. numbers: every operand is a given number or an earlier result, each used up by its use;
3. all:     every given number occurs among the operands, and legal steps leave nothing but the last result;
4. steps:   the arithmetic of every step is right;
5. target:  the last step's result is the target.

Nothing in the loop imports this module: the loop knows only what its own judge says.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

OPERATIONS: Final = ("+", "-", "*")
CRITERIA: Final = ("format", "numbers", "all", "steps", "target")
SEPARATOR: Final = " ; "

_STEP = re.compile(r"(\d{1,2}) ([-+*]) (\d{1,2}) = (\d{1,2})", re.ASCII)
_PROMPT = re.compile(r"Use ([^.]+?) to make (\S+) \.", re.ASCII)


@dataclass(frozen=True)
class Problem:
    """Given numbers (1-99, at least two, in the order stated) and the target (0-99)."""

    numbers: tuple[int, ...]
    target: int


@dataclass(frozen=True)
class Step:
    """One claimed calculation ``left op right = result``; the claim may be false."""

    left: int
    op: str
    right: int
    result: int

    @property
    def correct(self) -> bool:
        """Whether the claimed result is the true one."""
        return apply(self.left, self.op, self.right) == self.result


def apply(left: int, op: str, right: int) -> int:
    """The value of ``left op right``; raises ValueError for an unknown operation."""
    if op == "+":
        return left + right
    if op == "-":
        return left - right
    if op == "*":
        return left * right
    raise ValueError(f"unknown operation {op!r}, expected one of {' '.join(OPERATIONS)}")


def parse_prompt(prompt: str) -> Problem:
    """The problem that ``Use 7 3 12 to make 33 .`` states; raises ValueError naming what is wrong."""
    match = _PROMPT.fullmatch(prompt.strip())
    if match is None:
        raise ValueError(f"not of the form 'Use <numbers> to make <target> .': {prompt!r}")
    words, target = match[1].split(), match[2]
    for word in [*words, target]:
        if re.fullmatch(r"\d{1,2}", word, re.ASCII) is None:
            raise ValueError(f"{word!r} is not a number from 0 to 99 in {prompt!r}")
    numbers = tuple(int(word) for word in words)
    if len(numbers) < 2:
        raise ValueError(f"needs at least two numbers, got {len(numbers)}: {prompt!r}")
    if 0 in numbers:
        raise ValueError(f"given numbers start at 1, got 0: {prompt!r}")
    return Problem(numbers, int(target))


def parse_steps(answer: str) -> tuple[list[Step], bool]:
    """The well-formed steps in order, and whether the whole answer consists of such steps."""
    segments = answer.strip().split(SEPARATOR)
    matches = [_STEP.fullmatch(segment) for segment in segments]
    steps = [Step(int(m[1]), m[2], int(m[3]), int(m[4])) for m in matches if m is not None]
    return steps, len(steps) == len(segments)


def criteria(prompt: str, answer: str) -> dict[str, bool]:
    """Which of the five criteria the answer meets; all are False without one well-formed step.

    A malformed segment costs the format point; the other criteria look at the well-formed steps.
    """
    problem = parse_prompt(prompt)
    steps, well_formed = parse_steps(answer)
    if not steps:
        return dict.fromkeys(CRITERIA, False)
    # Take the operands of each step from the pool, and add its result.
    pool = Counter(problem.numbers)
    used: Counter[int] = Counter()
    legal = True
    for step in steps:
        for operand in (step.left, step.right):
            used[operand] += 1
            legal = legal and pool[operand] > 0
            pool[operand] -= 1
        pool[step.result] += 1
    # The criteria in the order of CRITERIA.
    verdicts = (
        well_formed,
        legal,
        # A result that equals a given number does not stand for it.
        Counter(problem.numbers) <= used and (not legal or pool.total() == 1),
        all(step.correct for step in steps),
        steps[-1].result == problem.target,
    )
    return dict(zip(CRITERIA, verdicts, strict=True))


def score(prompt: str, answer: str) -> int:
    """The number of criteria met, 0 to 5."""
    return sum(criteria(prompt, answer).values())


def solved(prompt: str, answer: str) -> bool:
    """Whether the answer meets all five criteria, which together prove that it solves the problem."""
    return score(prompt, answer) == len(CRITERIA)
