"""A round's pairs by its recipe's method, from its rollouts alone: the phase `pairs` and the auditor share it."""

from collections.abc import Sequence

from orchestrator.methods import constitutional, dno, self_rewarding, spin
from orchestrator.methods.self_rewarding import OUTCOMES
from selfreward.config import Recipe
from selfreward.contracts import PreferencePair, Rollout


def build_pairs(recipe: Recipe, rollouts: Sequence[Rollout]) -> tuple[list[PreferencePair], dict[str, int]]:
    """The actor pairs of a round, and how many rollouts ended in each of `OUTCOMES`."""
    if recipe.method == "spin":
        pairs, counts = spin.build_pairs(rollouts)
    elif recipe.method == "dno":
        pairs, counts = dno.build_pairs(rollouts, recipe.pairs)
    elif recipe.method == "constitutional":
        pairs, counts = constitutional.build_pairs(rollouts, recipe.constitution)
    else:
        pairs, counts = self_rewarding.build_pairs(rollouts, recipe.pairs, recipe.seed)
    return pairs, dict.fromkeys(OUTCOMES, 0) | counts
