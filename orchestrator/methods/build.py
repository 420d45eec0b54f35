"""A round's pairs by its recipe's method, from its rollouts alone: the phase `pairs` and the auditor share it."""

from collections.abc import Sequence

from orchestrator.methods import dno, self_rewarding, spin, temporal
from orchestrator.methods.self_rewarding import OUTCOMES
from selfreward.config import Recipe
from selfreward.contracts import PreferencePair, Rollout


def build_pairs(
    recipe: Recipe, rollouts: Sequence[Rollout], foreseen: Sequence[Rollout] = ()
) -> tuple[list[PreferencePair], dict[str, int]]:
    """The actor pairs of a round, and how many rollouts ended in each of `OUTCOMES`.

    `foreseen` are the future model's answers to the same prompts, with method `temporal`.
    """
    if recipe.method == "spin":
        pairs, counts = spin.build_pairs(rollouts)
    elif recipe.method == "dno":
        pairs, counts = dno.build_pairs(rollouts, recipe.pairs)
    elif recipe.method == "temporal":
        pairs, counts = temporal.build_pairs(rollouts, foreseen, recipe.sampling.n, recipe.pairs, recipe.seed)
    else:
        pairs, counts = self_rewarding.build_pairs(rollouts, recipe.pairs, recipe.seed)
    return pairs, dict.fromkeys(OUTCOMES, 0) | counts
