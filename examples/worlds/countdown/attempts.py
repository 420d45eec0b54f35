"""What people and models write when they attempt a problem: solutions, habits, slips, failed searches.

The flaws are habits rather than noise. A low sampling temperature hides random slips, so there would
be nothing for preference learning to remove; a habit keeps its share of the samples until it is
unlearned.
"""

from __future__ import annotations

from random import Random
from typing import Final, Literal

from examples.worlds.countdown.checker import OPERATIONS, Problem, Step, apply
from examples.worlds.countdown.problems import (
    LARGEST_RESULT,
    Solution,
    draw_steps,
    endings,
    legal_steps,
    pool_after,
    render_steps,
)

Habit = Literal["clean", "stop", "invent", "reuse", "repeat", "chat"]
Flaw = Literal["none", "failed", "wish", "slip", "misread", "debris"]

CHAT_TAILS: Final = (
    "I hope this helps !",
    "let me know if you need more .",
    "that is the answer .",
    "thank you for the task !",
)


def attempt(problem: Problem, rng: Random, habit: Habit = "clean", flaw: Flaw = "none") -> str:
    """An answer with one habit and one flaw; raises ValueError for a problem with no solution."""
    steps = _missed(problem, rng) if flaw in ("failed", "wish") else _solution(problem, rng)
    if flaw == "slip":
        steps = _slip(steps, problem, rng)
    if flaw == "misread":
        steps = _misread(steps, rng)
    if flaw == "wish":
        last = steps[-1]
        steps = (*steps[:-1], Step(last.left, last.op, last.right, problem.target))
    text = _with_habit(steps, problem, habit, rng)
    return _debris(text, rng) if flaw == "debris" else text


def _pool(problem: Problem) -> tuple[int, ...]:
    return tuple(sorted(problem.numbers))


def _solution(problem: Problem, rng: Random) -> Solution:
    return draw_steps(_pool(problem), rng, problem.target)


def _missed(problem: Problem, rng: Random) -> Solution:
    """True steps over all numbers that end elsewhere than at the target."""
    while True:
        steps = draw_steps(_pool(problem), rng)
        if steps[-1].result != problem.target:
            return steps


def _slip(steps: Solution, problem: Problem, rng: Random) -> Solution:
    """One wrong result. The later steps are worked out from it, or the last one is wished for."""
    place, wished = rng.randrange(len(steps)), rng.random() < 0.5
    claimed: dict[int, int] = {}
    slipped = []
    for number, step in enumerate(steps):
        operands = [claimed.pop(x, x) for x in (step.left, step.right)]
        left, right = max(operands), min(operands)
        result = apply(left, step.op, right)
        if number == place:
            result = _nearby(step.result, rng)
        elif number > place and number == len(steps) - 1 and wished:
            result = problem.target
        elif result > LARGEST_RESULT:
            result = step.result
        if result != step.result:
            claimed[step.result] = result
        slipped.append(Step(left, step.op, right, result))
    return tuple(slipped)


def _misread(steps: Solution, rng: Random) -> Solution:
    """One given number taken for another one nearby; what follows is worked out from it as far as results allow."""
    place = rng.randrange(len(steps))
    results = {step.result for step in steps[:place]}
    given = [side for side in ("left", "right") if getattr(steps[place], side) not in results]
    if not given:
        return steps
    number = getattr(steps[place], rng.choice(given))
    wrong = {number: max(1, _nearby(number, rng))}
    read = []
    for order, step in enumerate(steps):
        left, right = (wrong.pop(x, x) if order >= place else x for x in (step.left, step.right))
        # A difference below 0 is taken for the one above, which is wrong arithmetic.
        result = abs(apply(left, step.op, right))
        if result > LARGEST_RESULT:
            result = step.result
        if result != step.result:
            wrong[step.result] = result
        read.append(Step(left, step.op, right, result))
    return tuple(read)


def _nearby(value: int, rng: Random) -> int:
    candidates = [value + d for d in (-10, -3, -2, -1, 1, 2, 3, 10)]
    return rng.choice([c for c in candidates if 0 <= c <= LARGEST_RESULT])


def _with_habit(steps: Solution, problem: Problem, habit: Habit, rng: Random) -> str:
    if habit == "stop":
        return render_steps(steps[: rng.randint(1, len(steps) - 1)])
    if habit == "invent":
        return render_steps(_invented(problem, rng))
    if habit == "reuse":
        return render_steps(_reused(problem, rng))
    if habit == "repeat":
        return render_steps((*steps, steps[-1]))
    if habit == "chat":
        return f"{render_steps(steps)} ; {rng.choice(CHAT_TAILS)}"
    return render_steps(steps)


def _invented(problem: Problem, rng: Random) -> Solution:
    """One or more steps of one's own, then whatever number leads from the last result to the target."""
    steps = _missed(problem, rng)
    steps = steps[: rng.randint(1, len(steps) - 1)]
    low, high = sorted((steps[-1].result, problem.target))
    if high == problem.target:
        return (*steps, Step(steps[-1].result, "+", high - low, problem.target))
    return (*steps, Step(steps[-1].result, "-", high - low, problem.target))


def _reused(problem: Problem, rng: Random) -> Solution:
    """Steps of which one takes a number again that is used up, or one number twice; they end at the target where that
    is possible.

    The subtlest way to break the rules: every number in it stands in the task or is a result.
    """
    # The steps before, more often many than few, and the numbers that they have used up.
    steps = draw_steps(_pool(problem), rng)
    steps = steps[: max(rng.randint(1, len(steps) - 1) for _ in range(2))]
    pool = _pool(problem)
    for step in steps:
        pool = pool_after(pool, step)
    spent = {number for step in steps for number in (step.left, step.right)} - set(pool)
    # The step that takes one of them again: the last one, or followed by as many legal ones as the answer then needs.
    once = {number for number in pool if pool.count(number) == 1}
    taken_again = [(number, other) for number in sorted(spent) for other in pool] + [
        (number, number) for number in once
    ]
    again = [(step, other) for number, other in taken_again for step in legal_steps((number, other))]
    if not again:
        return _invented(problem, rng)
    if rng.random() < 0.7:
        hits = [step for step, _ in again if step.result == problem.target]
        return (*steps, rng.choice(hits or [step for step, _ in again]))
    rests = [tuple(sorted([*_without(pool, other), step.result])) for step, other in again]
    places = [place for place, rest in enumerate(rests) if problem.target in endings(rest)]
    place = rng.choice(places or range(len(again)))
    return (*steps, again[place][0], *draw_steps(rests[place], rng, problem.target if places else None))


def _without(pool: tuple[int, ...], number: int) -> list[int]:
    """The pool without one occurrence of a number."""
    rest = list(pool)
    rest.remove(number)
    return rest


def _debris(text: str, rng: Random) -> str:
    """The text with one word lost, doubled or replaced, as a model under training writes it."""
    words = text.split()
    at = rng.randrange(len(words))
    kind = rng.random()
    if kind < 0.3:
        words[at : at + 1] = []
    elif kind < 0.5:
        words.insert(at, words[at])
    elif kind < 0.7:
        words = words[: rng.randrange(1, len(words) + 1)]
    elif words[at].isdigit():
        words[at] = str(rng.randint(0, 30))
    else:
        words[at] = rng.choice([*OPERATIONS, "=", ";", "."])
    return " ".join(words)
