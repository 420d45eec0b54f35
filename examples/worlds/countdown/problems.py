"""Countdown problems, their solutions, and the split that keeps evaluation problems unseen.

A problem's identity is its multiset of numbers and its target: the order in which a prompt states the
numbers does not make a new problem. A hash of the identity decides the split, so every program that
draws problems agrees on the held-out ones without a shared list.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Mapping
from functools import cache
from random import Random
from typing import Final, Literal

from examples.worlds.countdown.checker import OPERATIONS, Problem, Step, apply

LARGEST_NUMBER: Final = 60
LARGEST_TARGET: Final = 60
LARGEST_RESULT: Final = 60
NUMBERS_PER_PROBLEM: Final = 3
Split = Literal["train", "eft_eval", "heldout"]
Solution = tuple[Step, ...]


def split_of(problem: Problem) -> Split:
    """The split a problem belongs to: 75 % train, 5 % eft_eval, 20 % heldout."""
    identity = f"{sorted(problem.numbers)} {problem.target}".encode()
    percent = int.from_bytes(hashlib.sha256(identity).digest()[:4], "big") % 100
    if percent < 75:
        return "train"
    return "eft_eval" if percent < 80 else "heldout"


def render_prompt(problem: Problem) -> str:
    """The task as the model reads it, for example ``Use 7 3 12 to make 33 .``"""
    return f"Use {' '.join(map(str, problem.numbers))} to make {problem.target} ."


def render_steps(steps: Solution) -> str:
    """The answer as the model writes it, for example ``7 * 3 = 21 ; 21 + 12 = 33``."""
    return " ; ".join(f"{s.left} {s.op} {s.right} = {s.result}" for s in steps)


@cache
def legal_steps(pool: tuple[int, ...]) -> tuple[Step, ...]:
    """Every true step from a pool, larger operand first, with a result from 0 to the largest allowed."""
    steps = set()
    for first, second in itertools.combinations(pool, 2):
        large, small = max(first, second), min(first, second)
        for op in OPERATIONS:
            result = apply(large, op, small)
            if result <= LARGEST_RESULT:
                steps.add(Step(large, op, small, result))
    return tuple(sorted(steps, key=lambda s: (s.op, s.left, s.right)))


def pool_after(pool: tuple[int, ...], step: Step) -> tuple[int, ...]:
    """The sorted pool after a step has used up its operands. Raises ValueError if the pool lacks one."""
    rest = list(pool)
    rest.remove(step.left)
    rest.remove(step.right)
    return tuple(sorted([*rest, step.result]))


@cache
def endings(pool: tuple[int, ...]) -> Mapping[int, int]:
    """The numbers to which a sorted pool can be reduced, and in how many ways each."""
    if len(pool) == 1:
        return {pool[0]: 1}
    ways: Counter[int] = Counter()
    for step in legal_steps(pool):
        ways.update(endings(pool_after(pool, step)))
    return dict(ways)


def draw_steps(pool: tuple[int, ...], rng: Random, target: int | None = None) -> Solution:
    """One of the ways to reduce a sorted pool to one number, to `target` where it is given; all are equally likely.

    ValueError if there is none.
    """
    steps: list[Step] = []
    while len(pool) > 1:
        options = legal_steps(pool)
        after = [endings(pool_after(pool, step)) for step in options]
        weights = [sum(ways.values()) if target is None else ways.get(target, 0) for ways in after]
        if not any(weights):
            raise ValueError(f"no way from {pool} to {target}")
        steps.append(rng.choices(options, weights)[0])
        pool = pool_after(pool, steps[-1])
    return tuple(steps)


@cache
def all_problems(split: Split, count: int = NUMBERS_PER_PROBLEM) -> tuple[Problem, ...]:
    """Every solvable problem of a split with `count` numbers, the numbers sorted, in a fixed order.

    Numbers that can only be reduced to one result ask nothing, so they make no problem.
    """
    problems = []
    for numbers in itertools.combinations_with_replacement(range(1, LARGEST_NUMBER + 1), count):
        results = sorted(endings(numbers))
        for target in results if len(results) > 1 else ():
            problem = Problem(numbers, target)
            if 1 <= target <= LARGEST_TARGET and split_of(problem) == split:
                problems.append(problem)
    return tuple(problems)


def shuffle_numbers(problem: Problem, rng: Random) -> Problem:
    """The same problem with its numbers stated in a random order."""
    return Problem(tuple(rng.sample(problem.numbers, len(problem.numbers))), problem.target)
