"""The part of an audit that looks at answers found step by step (method `process`)."""

from collections import Counter
from collections.abc import Iterator, Sequence

from orchestrator.audit.audit_violation import Violation
from orchestrator.worker.search import found_answer
from selfreward.contracts.rollouts import Rollout, Step
from selfreward.loop.methods.process import after, offered, over
from selfreward.recipe.recipe import Recipe


def check_steps(name: str, rollouts: Sequence[Rollout], version: str | None, recipe: Recipe) -> Iterator[Violation]:
    """Each search asked what it was to ask, went on with the best candidate or back, and ended where it had to."""
    wrong = sorted({str(rollout.judge_version) for rollout in rollouts} - {version})
    if wrong and recipe.judging.annotator == "policy":
        yield Violation("policy", name, f"compared by {wrong}, {version} was to compare")
    short = [row.prompt_id for row in rollouts if not all(_asked(step, recipe) for step in row.steps)]
    if short:
        yield Violation("accounting", name, f"not every two candidates in both orders at each step: {short[:3]}")
    astray = [row.prompt_id for row in rollouts if not _led(row, recipe)]
    if astray:
        yield Violation("accounting", name, f"not the steps that the comparisons lead to: {astray[:3]}")


def _asked(step: Step, recipe: Recipe) -> bool:
    rules = recipe.process
    orders = [order for a, b in offered(step.candidates, rules.separator) for order in ((a, b), (b, a))]
    shown = Counter((match.first, match.second) for match in step.matches)
    return len(step.candidates) == recipe.sampling.n and shown == dict.fromkeys(orders, rules.judging.votes)


def _led(rollout: Rollout, recipe: Recipe) -> bool:
    """Whether a search that samples what this one has sampled is this one, from its first step to its last."""
    rules, steps = recipe.process, list[Step]()
    for sampled in rollout.steps:
        if over(steps, rules.separator, rules.max_steps):
            return False
        steps = after(steps, sampled.candidates, sampled.matches, rules.separator, rules.backtracks)
    whole = over(steps, rules.separator, rules.max_steps)
    return whole and steps == rollout.steps and rollout.responses == [found_answer(steps, rules.separator)]
