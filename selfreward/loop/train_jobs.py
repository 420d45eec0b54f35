"""Training jobs and the data that several methods train on: the same recipe gives the same jobs."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from selfreward.contracts.base import Message, content_key
from selfreward.contracts.rollouts import PreferencePair
from selfreward.contracts.training import TrainJob
from selfreward.loop import paths
from selfreward.loop.stages import replays
from selfreward.recipe.recipe import Recipe


def make_job(run: str, recipe: Recipe, stage: str, canary: list[Message], **rest: Any) -> TrainJob:
    """The job that makes a stage's checkpoint. `rest` says how: `method`, `init_from`, `datasets`, hyperparameters."""
    common = {
        "id": f"{run}-{stage}".lower(),
        "run": run,
        "stage": stage,
        "output": paths.weights(run, stage),
        "canary": canary,
        "seed": recipe.seed,
        "world_size": recipe.trainer.world_size,
        "sharding": recipe.trainer.sharding,
        "recipe_hash": recipe.hash,
    }
    return TrainJob.model_validate(common | rest)


def publish_job(run: str, recipe: Recipe, stage: str, canary: list[Message]) -> TrainJob:
    """The job that publishes the base model as it is."""
    how = {"method": "publish", "init_from": recipe.model, "world_size": 1, "sharding": "none"}
    return make_job(run, recipe, stage, canary, **how)


def logprobs_job(
    run: str, recipe: Recipe, stage: str, canary: list[Message], checkpoints: Sequence[str], datasets: Sequence[str]
) -> TrainJob:
    """The job that writes what each of `checkpoints` (the first is the policy) gives each answer of `datasets`."""
    return TrainJob(
        id=f"{run}-{stage}-score".lower(),
        run=run,
        stage=stage,
        method="logprobs",
        init_from=checkpoints[0],
        checkpoints=list(dict.fromkeys(checkpoints)),
        datasets=list(datasets),
        output=paths.logprobs(run, stage),
        canary=canary,
        seed=recipe.seed,
        recipe_hash=recipe.hash,
    )


def replay(recipe: Recipe, stage: str, rows: Mapping[str, Sequence[dict[str, Any]]]) -> list[PreferencePair]:
    """The pairs that `stage` takes from earlier rounds, given their `PreferencePair` rows by stage.

    They train a round again, so that what they taught is not forgotten (`loop.replay`): SPIN takes all of the round
    before (2401.01335), DNO 30 % of the round before and 15 % of the one before that (2404.03715).
    Actor pairs only: judge pairs are drawn anew in every round. The draw depends on the seed, the stage and the rows.
    """
    replayed: list[PreferencePair] = []
    for earlier, share in replays(recipe, stage):
        actor = [pair for row in rows[earlier] if (pair := PreferencePair.model_validate(row)).kind == "actor"]
        rng = random.Random(content_key(recipe.seed, stage, earlier))  # noqa: S311 - guards no secret
        replayed += [actor[place] for place in sorted(rng.sample(range(len(actor)), int(share * len(actor))))]
    return replayed
