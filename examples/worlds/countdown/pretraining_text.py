"""The text on which M0 is pretrained: attempts, reviews of attempts, arithmetic facts, lists of tasks.

Reviews come in two kinds. Careful ones are exact. Plain ones, in the very rubric the judge uses, carry
a wrong check now and then, as annotators' work does. So M0 has the skill of judging but is a careless
judge, and evaluation fine-tuning has something to bring out.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final, NamedTuple

from examples.worlds.countdown.attempts import Flaw, Habit, attempt
from examples.worlds.countdown.checker import OPERATIONS, apply
from examples.worlds.countdown.problems import (
    LARGEST_RESULT,
    NUMBERS_PER_PROBLEM,
    all_problems,
    render_prompt,
    shuffle_numbers,
)
from examples.worlds.countdown.reviews import CAREFUL, review_prompt, verdict
from examples.worlds.seed_files import draw

FLIP: Final = 0.25
FEWER_NUMBERS: Final = NUMBERS_PER_PROBLEM - 1
KINDS: Final[dict[str, float]] = {
    "attempt": 0.04,
    "easier": 0.09,
    "careful_review": 0.48,
    "review": 0.24,
    "fact": 0.12,
    "list": 0.03,
}
# What M0 itself writes when asked: every habit.
ACTOR_HABITS: Final[dict[Habit, float]] = {
    "clean": 0.36,
    "stop": 0.16,
    "invent": 0.16,
    "repeat": 0.16,
    "chat": 0.16,
}
# Honest failures keep a model from copying the target as its last result whatever the steps say.
ACTOR_FLAWS: Final[dict[Flaw, float]] = {"none": 0.5, "failed": 0.5}
REVIEWED_HABITS: Final[dict[Habit, float]] = {
    "clean": 0.36,
    "stop": 0.08,
    "invent": 0.16,
    "reuse": 0.24,
    "repeat": 0.08,
    "chat": 0.08,
}
REVIEWED_FLAWS: Final[dict[Flaw, float]] = {
    "none": 0.35,
    "failed": 0.11,
    "wish": 0.11,
    "slip": 0.10,
    "misread": 0.29,
    "debris": 0.04,
}


class Example(NamedTuple):
    """One single-turn conversation and the kind it was drawn as (for the loss report)."""

    kind: str
    user: str
    assistant: str


def examples(seed: int) -> Iterator[Example]:
    """An endless stream over train problems only, the same for the same seed."""
    rng = Random(seed)
    while True:
        kind = draw(KINDS, rng)
        if kind == "fact":
            yield Example(kind, *_fact(rng))
        elif kind == "list":
            yield Example(kind, *_task_list(rng))
        elif kind == "easier":
            problem = shuffle_numbers(rng.choice(all_problems("train", FEWER_NUMBERS)), rng)
            yield Example(kind, render_prompt(problem), attempt(problem, rng))
        elif kind == "attempt":
            problem = shuffle_numbers(rng.choice(all_problems("train")), rng)
            answer = attempt(problem, rng, draw(ACTOR_HABITS, rng), draw(ACTOR_FLAWS, rng))
            yield Example(kind, render_prompt(problem), answer)
        else:
            yield Example(kind, *review(kind, rng))


def review(kind: str, rng: Random) -> tuple[str, str]:
    """The judge's prompt and its answer, of kind `careful_review` or the careless `review`."""
    problem = shuffle_numbers(rng.choice(all_problems("train")), rng)
    prompt = render_prompt(problem)
    answer = attempt(problem, rng, draw(REVIEWED_HABITS, rng), draw(REVIEWED_FLAWS, rng))
    if kind == "careful_review":
        return CAREFUL + review_prompt(prompt, answer), verdict(prompt, answer)
    return review_prompt(prompt, answer), verdict(prompt, answer, FLIP, rng)


def _fact(rng: Random) -> tuple[str, str]:
    while True:
        op = rng.choice(OPERATIONS)
        largest = 20 if op == "*" else LARGEST_RESULT
        left, right = rng.randint(0, largest), rng.randint(0, largest)
        left, right = max(left, right), min(left, right)
        result = apply(left, op, right)
        if result <= LARGEST_RESULT:
            return f"Compute {left} {op} {right} .", str(result)


def _task_list(rng: Random) -> tuple[str, str]:
    """Eight tasks in the prompt, eight more in the completion. The prompt may end with the next number."""
    problems = rng.sample(all_problems("train"), 16)
    tasks = [f"{i}. {render_prompt(shuffle_numbers(p, rng))}" for i, p in enumerate(problems, start=1)]
    shown, completion = "\n".join(tasks[:8]), "\n".join(tasks[8:])
    prompt = f"Come up with a series of tasks:\n{shown}"
    if rng.random() < 0.5:
        return f"{prompt}\n9.", completion.removeprefix("9. ")
    return prompt, completion
