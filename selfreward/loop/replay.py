"""Pairs of earlier rounds that train a round again, so that what they taught is not forgotten.

SPIN takes all of the round before (2401.01335), DNO 30 % of the round before and 15 % of the one before
that (2404.03715): `loop.replay`.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from selfreward.contracts.judging import PreferencePair, content_key
from selfreward.loop import plan
from selfreward.recipe.recipe import Recipe


def replay(recipe: Recipe, stage: str, rows: Mapping[str, Sequence[dict[str, Any]]]) -> list[PreferencePair]:
    """The pairs that `stage` takes from earlier rounds, given their `PreferencePair` rows by stage.

    Actor pairs only: judge pairs are drawn anew in every round. The draw depends on the seed, the stage and the rows.
    """
    found: list[PreferencePair] = []
    for earlier, share in plan.replays(recipe, stage):
        actor = [pair for row in rows[earlier] if (pair := PreferencePair.model_validate(row)).kind == "actor"]
        rng = random.Random(content_key(recipe.seed, stage, earlier))  # noqa: S311 - guards no secret
        found += [actor[place] for place in sorted(rng.sample(range(len(actor)), int(share * len(actor))))]
    return found
