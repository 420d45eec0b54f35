"""A round's pairs by its recipe's method, from its artifacts alone: the phase `pairs` and the auditor share it."""

from collections.abc import Sequence

from selfreward.contracts.rollouts import PreferencePair, ResponseLogprobs, Rollout
from selfreward.loop import plan
from selfreward.loop.methods import constitutional, cream, dno, implicit, process, scir, self_rewarding, spin, temporal
from selfreward.loop.pairing import OUTCOMES
from selfreward.recipe.recipe import Recipe


def build_pairs(
    recipe: Recipe,
    rollouts: Sequence[Rollout],
    logprobs: Sequence[ResponseLogprobs] = (),
    foreseen: Sequence[Rollout] = (),
) -> tuple[list[PreferencePair], dict[str, int]]:
    """The actor pairs of a round, and how many rollouts ended in each of `OUTCOMES`.

    `logprobs` are of the rollouts' answers, where the method needs them. ValueError when there are two for one answer.
    `foreseen` are the future model's answers to the same prompts, with method `temporal`.
    """
    if recipe.method in ("cream", "scir"):
        pairs, counts = _by_implicit_rewards(recipe, rollouts, logprobs)
    elif recipe.method == "spin":
        pairs, counts = spin.build_pairs(rollouts)
    elif recipe.method == "dno":
        pairs, counts = dno.build_pairs(rollouts, recipe.pairs)
    elif recipe.method == "temporal":
        pairs, counts = temporal.build_pairs(rollouts, foreseen, recipe.sampling.n, recipe.pairs, recipe.seed)
    elif recipe.method == "constitutional":
        pairs, counts = constitutional.build_pairs(rollouts, recipe.constitution)
    elif recipe.method == "process":
        pairs, counts = process.build_pairs(rollouts, recipe.process.separator)
    else:
        pairs, counts = self_rewarding.build_pairs(rollouts, recipe.pairs, recipe.seed)
    return pairs, dict.fromkeys(OUTCOMES, 0) | counts


def _by_implicit_rewards(
    recipe: Recipe, rollouts: Sequence[Rollout], logprobs: Sequence[ResponseLogprobs]
) -> tuple[list[PreferencePair], dict[str, int]]:
    if not rollouts:
        return [], {}
    scorers = plan.scorers(rollouts[0].run, rollouts[0].stage)
    rows = implicit.by_place(logprobs)
    if recipe.method == "cream":
        return cream.build_pairs(rollouts, rows, scorers, recipe.cream)
    return scir.build_pairs(rollouts, rows, scorers, recipe.scir)


def monitors(
    recipe: Recipe, rollouts: Sequence[Rollout], logprobs: Sequence[ResponseLogprobs]
) -> dict[str, float | None]:
    """Figures of a round whose answers the models have scored or found step by step; none of any other."""
    if recipe.method == "process":
        return process.monitors(rollouts, recipe.process.separator)
    if not rollouts or not plan.scored(recipe):
        return {}
    scorers = plan.scorers(rollouts[0].run, rollouts[0].stage)
    rows = implicit.by_place(logprobs)
    found = implicit.monitors(rollouts, rows, scorers)
    if recipe.method == "scir":
        return found | scir.monitors(rollouts, rows, scorers, recipe.scir)
    return found | (implicit.judge_agreement(rollouts, rows, scorers) if plan.judged(recipe) else {})
