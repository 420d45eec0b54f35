"""What people and models write when they attempt a problem: solutions, habits, slips, failed searches.

The flaws are habits rather than noise. A low sampling temperature hides random slips, so there would
be nothing for preference learning to remove; a habit keeps its share of the samples until it is
unlearned.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final, Literal, TypeVar

from examples.worlds.countdown.checker import OPERATIONS, Problem, Step, apply
from examples.worlds.countdown.problems import (
    LARGEST_RESULT,
    Solution,
    derivations,
    render_steps,
    solve,
)

T = TypeVar("T", bound=str)
Habit = Literal["clean", "stop", "invent", "reuse", "repeat", "chat"]
Flaw = Literal["none", "failed", "wish", "slip", "debris"]

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
    if flaw == "wish":
        last = steps[-1]
        steps = (*steps[:-1], Step(last.left, last.op, last.right, problem.target))
    text = _with_habit(steps, problem, habit, rng)
    return _debris(text, rng) if flaw == "debris" else text


def draw(shares: Mapping[T, float], rng: Random) -> T:
    """One key, drawn with probability proportional to its share."""
    return rng.choices(list(shares), list(shares.values()))[0]


def _solution(problem: Problem, rng: Random) -> Solution:
    solutions = solve(problem)
    if not solutions:
        raise ValueError(f"no solution: {problem}")
    return rng.choice(solutions)


def _missed(problem: Problem, rng: Random) -> Solution:
    """True steps over all numbers that end elsewhere than at the target."""
    misses = [d for d in derivations(tuple(sorted(problem.numbers))) if d[-1].result != problem.target]
    return rng.choice(misses)


def _slip(steps: Solution, problem: Problem, rng: Random) -> Solution:
    """One wrong result; after a wrong first result the rest is worked out from it, or wished for."""
    first, last = steps[0], steps[-1]
    if rng.random() < 0.5:
        wrong = _nearby(last.result, rng)
        return (*steps[:-1], Step(last.left, last.op, last.right, wrong))
    wrong = _nearby(first.result, rng)
    left, right = (wrong if x == first.result else x for x in (last.left, last.right))
    left, right = max(left, right), min(left, right)
    true = apply(left, last.op, right)
    result = problem.target if rng.random() < 0.5 or true > LARGEST_RESULT else true
    return (Step(first.left, first.op, first.right, wrong), Step(left, last.op, right, result))


def _nearby(value: int, rng: Random) -> int:
    candidates = [value + d for d in (-10, -3, -2, -1, 1, 2, 3, 10)]
    return rng.choice([c for c in candidates if 0 <= c <= LARGEST_RESULT])


def _with_habit(steps: Solution, problem: Problem, habit: Habit, rng: Random) -> str:
    if habit == "stop":
        return render_steps(steps[:1])
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
    """A step of one's own, then whatever number leads from its result to the target."""
    firsts = [d[0] for d in derivations(tuple(sorted(problem.numbers))) if d[-1].result != problem.target]
    first = rng.choice(firsts)
    low, high = sorted((first.result, problem.target))
    if high == problem.target:
        return (first, Step(first.result, "+", high - low, problem.target))
    return (first, Step(first.result, "-", high - low, problem.target))


def _reused(problem: Problem, rng: Random) -> Solution:
    """A second step that takes a number again which the first step has used up; at the target where that is possible.

    The subtlest way to break the rules: every number in it stands in the task or is a result.
    """
    solutions = []
    for first in {d[0] for d in derivations(tuple(sorted(problem.numbers)))}:
        left = list(problem.numbers)
        left.remove(first.left)
        left.remove(first.right)
        spent = {first.left, first.right} - {*left, first.result}
        for again in sorted(spent):
            for other in {first.result, *left}:
                high, low = max(again, other), min(again, other)
                solutions += [
                    (first, Step(high, op, low, result))
                    for op in OPERATIONS
                    if 0 <= (result := apply(high, op, low)) <= LARGEST_RESULT
                ]
    solutions.sort(key=str)
    hits = [steps for steps in solutions if steps[-1].result == problem.target]
    return rng.choice(hits or solutions) if solutions else _invented(problem, rng)


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
