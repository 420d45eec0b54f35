"""Self-play fine-tuning, SPIN (Chen et al. 2024, 2401.01335). No judge is asked.

The demonstration is chosen over the policy's own answer to the same prompt, so the loop can at best reach the quality
of the demonstrations. A rollout holds the sampled answers and, last, the demonstration.
"""

import random
from collections.abc import Iterable, Sequence
from typing import Any

from selfreward.contracts.base import content_key
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop import paths
from selfreward.loop.methods.base import Inputs, Method
from selfreward.loop.methods.plan import check_no_pair_rules
from selfreward.loop.pairing import unjudged_pair
from selfreward.loop.rows import IftRow, SeedError
from selfreward.recipe.recipe import Recipe


class Spin(Method):
    """Prefers the demonstration over each of the policy's own answers to its prompt."""

    name = "spin"
    takes_prompts = False
    fewest_answers = 1

    def check(self, recipe: Recipe) -> None:
        """There is no judge to train, and every prompt needs its demonstration."""
        if recipe.loop.use_eft:
            raise ValueError("loop.use_eft=true teaches a judge, and method='spin' has none: set loop.use_eft=false")
        if recipe.prompts.source != "file":
            raise ValueError("method='spin' needs an answer with each prompt: leave out prompts.source")
        super().check(recipe)

    def check_pairs(self, recipe: Recipe) -> None:
        """Answers have no scores."""
        check_no_pair_rules(recipe, "method='spin' has no scores: leave out the section `pairs`")

    def check_demonstrations(self, recipe: Recipe, ift: Sequence[IftRow]) -> None:
        """Each round takes its prompts from the demonstrations."""
        if recipe.prompts.per_iteration > len(ift):
            raise SeedError(
                f"prompts.per_iteration = {recipe.prompts.per_iteration}, but data.ift has {len(ift)} rows and "
                f"method = 'spin' takes its prompts from there: set prompts.per_iteration={len(ift)} or add rows"
            )

    def judges(self, recipe: Recipe) -> bool:
        """No judge is asked."""
        return False

    def answers(self, recipe: Recipe, stage: str) -> int:
        """The sampled answers and the demonstration."""
        return recipe.sampling.n + 1

    def inputs(self, run: str, recipe: Recipe, stage: str, phase: str) -> dict[str, str]:
        """The prompts come from the demonstrations."""
        return {"ift": paths.data(run, "ift")} if phase == "prompts" else super().inputs(run, recipe, stage, phase)

    def prompts(self, recipe: Recipe, stage: str, inputs: Inputs) -> list[dict[str, Any]]:
        """The same demonstrations in every round."""
        return prompts_with_demonstrations(inputs["ift"], recipe.prompts.per_iteration, recipe.seed)

    def pairs(
        self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> tuple[list[PreferencePair], dict[str, int]]:
        """The demonstration over each distinct answer."""
        return build_pairs(rollouts)

    def pairs_per_prompt(self, recipe: Recipe) -> float:
        """One for each answer."""
        return recipe.sampling.n


def prompts_with_demonstrations(ift: Sequence[dict[str, Any]], size: int, seed: int) -> list[dict[str, Any]]:
    """`size` IFT rows as prompts with their demonstrations; the same rows in every round, as in the paper.

    ValueError for fewer rows than `size`.
    """
    rng = random.Random(content_key(seed, "demonstrated prompts"))  # noqa: S311 - guards no secret
    return [
        {
            "prompt_id": f"ift-{number:05d}",
            "prompt": ift[number]["prompt"],
            "responses": [{"text": ift[number]["completion"][-1]["content"]}],
        }
        for number in sorted(rng.sample(range(len(ift)), size))
    ]


def build_pairs(rollouts: Iterable[Rollout]) -> tuple[list[PreferencePair], dict[str, int]]:
    """A pair for each distinct answer that is not the demonstration, and how many rollouts ended in which way.

    `tie`: every answer equals the demonstration. `unscored`: every answer is blank. Pairs have the scores 1 and 0, no
    votes and no judge.
    """
    pairs: list[PreferencePair] = []
    counts = {"kept": 0, "tie": 0, "unscored": 0}
    for rollout in rollouts:
        *sampled, demonstration = (response.text.strip() for response in rollout.responses)
        answers = [text for text in dict.fromkeys(sampled) if text]
        rejected = [text for text in answers if text != demonstration]
        counts["kept" if rejected else "tie" if answers else "unscored"] += 1
        pairs += [unjudged_pair(rollout, (demonstration, text)) for text in rejected]
    return pairs, counts
