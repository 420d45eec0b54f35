"""Reviews of answers in the judge's rubric, as M0's pretraining text carries them.

The rubric text is the file that the judge service loads, so that pretraining and judging agree word
for word.
"""

from __future__ import annotations

import re
from random import Random
from typing import Final

from examples.worlds.countdown.checker import Problem, Step, apply, criteria, parse_prompt, parse_steps

RUBRIC: Final = "Review . One point each : format numbers all steps target . Task : {prompt} Answer : {response}"
CAREFUL: Final = "Careful "
MOST_STEPS: Final = 3


def review_prompt(prompt: str, response: str) -> str:
    """The filled rubric: what the judge reads."""
    texts = {"{prompt}": prompt, "{response}": response}
    return re.sub(r"\{(?:prompt|response)\}", lambda match: texts[match[0]], RUBRIC)


def verdict(prompt: str, response: str, flip: float = 0.0, rng: Random | None = None) -> str:
    """What an annotator writes who gets each check wrong with probability ``flip``, independently.

    What a check needs stands before it, so that the judge can work step by step: the numbers that the
    first step leaves over, the true result of each step, the last claimed result. ``format yes numbers
    12 yes all yes steps 21 34 no result 33 target 33 yes Score: 4``. The score is the number of checks
    that say yes. With ``flip`` above 0 a generator must be given.
    """
    checks = criteria(prompt, response)
    if flip > 0:
        if rng is None:
            raise ValueError("careless verdicts need a random generator")
        checks = {name: met != (rng.random() < flip) for name, met in checks.items()}
    problem = parse_prompt(prompt)
    steps, _ = parse_steps(response)
    left = " ".join(_left(problem, steps)) or "none"
    true = " ".join(_number(apply(s.left, s.op, s.right)) for s in steps[:MOST_STEPS]) or "none"
    last = str(steps[-1].result) if steps else "none"
    says = {name: "yes" if met else "no" for name, met in checks.items()}
    return (
        f"format {says['format']} numbers {left} {says['numbers']} all {says['all']} "
        f"steps {true} {says['steps']} "
        f"result {last} target {problem.target} {says['target']} "
        f"Score: {sum(checks.values())}"
    )


def _left(problem: Problem, steps: list[Step]) -> list[str]:
    """The given numbers that the first step does not use, in their order."""
    left = list(problem.numbers)
    for operand in [number for step in steps[:1] for number in (step.left, step.right)]:
        if operand in left:
            left.remove(operand)
    return [str(number) for number in left]


def _number(value: int) -> str:
    """A result as a word of the vocabulary, which has no numbers outside 0 to 99."""
    return str(value) if 0 <= value <= 99 else "big"
