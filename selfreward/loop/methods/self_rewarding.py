"""Self-rewarding language models (Yuan et al. 2024, 2401.10020): its hooks are the defaults of all methods.

The model answers each prompt n times and judges each answer with k votes; DPO trains on the best answer over the worst.
With `loop.train_on = "positives"` a round is SFT of M0 on the seed data and the chosen answers instead.
"""

from typing import Any

from selfreward.contracts.optimisation import Optimisation
from selfreward.contracts.rollouts import PreferencePair
from selfreward.loop import paths
from selfreward.loop.methods.base import Method
from selfreward.loop.rows import sft_row
from selfreward.recipe.recipe import Recipe


class SelfRewarding(Method):
    """Prefers the best-scored answer over the worst."""

    name = "self_rewarding"

    def check_training(self, recipe: Recipe) -> None:
        """With `loop.train_on = "positives"` no pairs are trained on."""
        if recipe.loop.train_on == "positives" and recipe.pairs.judge_pairs:
            raise ValueError("pairs.judge_pairs is for DPO: leave it out with loop.train_on='positives'")

    def hyperparameters(self, recipe: Recipe, stage: str) -> Optimisation:
        """Those of SFT where only the chosen answers train."""
        positives = self.kind(recipe, stage) == "round" and recipe.loop.train_on == "positives"
        return recipe.sft if positives else super().hyperparameters(recipe, stage)

    def positives(
        self, run: str, recipe: Recipe, stage: str, actor: list[PreferencePair]
    ) -> tuple[str, list[dict[str, Any]]] | None:
        """SFT rows of the chosen answers, with `loop.train_on = "positives"`."""
        if recipe.loop.train_on != "positives":
            return None
        return paths.positives(run, stage), [sft_row(pair.prompt, pair.chosen[-1].content) for pair in actor]

    def round_training(self, run: str, recipe: Recipe, stage: str, judge: str) -> dict[str, Any]:
        """DPO, or SFT on the seed data and the chosen answers."""
        if recipe.loop.train_on != "positives":
            return super().round_training(run, recipe, stage, judge)
        seed = [paths.data(run, "ift"), *([paths.data(run, "eft")] if recipe.loop.use_eft else [])]
        return {"method": "sft", "sft": recipe.sft, "datasets": [*seed, paths.positives(run, stage)]}
