"""Reviews of answers in the judge's rubric, as M0's pretraining text carries them.

The rubric text is the file that the judge service loads, so that pretraining and judging agree word
for word.
"""

from __future__ import annotations

from random import Random
from typing import Final

from examples.worlds.countdown.checker import Problem, Step, apply, criteria, parse_prompt, parse_steps
from selfreward.loop.constitution import fill

RUBRIC: Final = "Review . One point each : format numbers all steps target . Task : {prompt} Answer : {response}"
CAREFUL: Final = "Careful "
MOST_STEPS: Final = 4


def review_prompt(prompt: str, response: str) -> str:
    """The filled rubric: what the judge reads."""
    return fill(RUBRIC, prompt=prompt, response=response)


def verdict(prompt: str, response: str, flip: float = 0.0, rng: Random | None = None) -> str:
    """What an annotator writes who gets each check wrong with probability ``flip``, independently.

    What a check needs stands before it, so that the judge can work step by step: the numbers at hand after each step,
    or `no` where a step takes what is not there; the true result of each step; the last claimed result. ``format yes
    numbers 12 21 ; 33 yes all yes steps 21 33 yes result 33 target 33 yes Score: 5``. The score is the number of checks
    that say yes. With ``flip`` above 0 a generator must be given.
    """
    checks = criteria(prompt, response)
    if flip > 0:
        if rng is None:
            raise ValueError("careless verdicts need a random generator")
        checks = {name: met != (rng.random() < flip) for name, met in checks.items()}
    problem = parse_prompt(prompt)
    steps, _ = parse_steps(response)
    at_hand = " ; ".join(_at_hand(problem, steps[:MOST_STEPS])) or "none"
    true = " ".join(_number(apply(s.left, s.op, s.right)) for s in steps[:MOST_STEPS]) or "none"
    last = str(steps[-1].result) if steps else "none"
    says = {name: "yes" if met else "no" for name, met in checks.items()}
    return (
        f"format {says['format']} numbers {at_hand} {says['numbers']} all {says['all']} "
        f"steps {true} {says['steps']} "
        f"result {last} target {problem.target} {says['target']} "
        f"Score: {sum(checks.values())}"
    )


def _at_hand(problem: Problem, steps: list[Step]) -> list[str]:
    """The numbers at hand after each step; `no` for the first that takes what is not there, which ends the list."""
    pool = list(problem.numbers)
    at_hand: list[str] = []
    for step in steps:
        for operand in (step.left, step.right):
            if operand not in pool:
                return [*at_hand, "no"]
            pool.remove(operand)
        pool.append(step.result)
        at_hand.append(" ".join(map(str, pool)))
    return at_hand


def _number(value: int) -> str:
    """A result as a word of the vocabulary, which has no numbers outside 0 to 99."""
    return str(value) if 0 <= value <= 99 else "big"
