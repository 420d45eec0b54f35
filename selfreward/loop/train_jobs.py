"""Training jobs and replayed pairs, which several methods share. The same recipe gives the same jobs."""

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
    """The job that makes a stage's checkpoint. `rest`: `method`, `init_from`, `datasets` and hyperparameters."""
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
    publishing = {"method": "publish", "init_from": recipe.model, "world_size": 1, "sharding": "none"}
    return make_job(run, recipe, stage, canary, **publishing)


def logprobs_job(
    run: str, recipe: Recipe, stage: str, canary: list[Message], checkpoints: Sequence[str], datasets: Sequence[str]
) -> TrainJob:
    """The job that computes log-probabilities of the answers in `datasets` under `checkpoints`; the policy is first."""
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
    """The pairs of earlier rounds that `stage` replays, from their `PreferencePair` rows by stage.

    Replay (`loop.replay`) counters forgetting: SPIN takes all pairs of the previous round (2401.01335), DNO 30 % of the
    previous round and 15 % of the round before it (2404.03715). Only actor pairs are replayed, since judge pairs are
    drawn again in every round. The draw depends on the seed, the stage and the rows.
    """
    replayed: list[PreferencePair] = []
    for earlier, share in replays(recipe, stage):
        actor = [pair for row in rows[earlier] if (pair := PreferencePair.model_validate(row)).kind == "actor"]
        rng = random.Random(content_key(recipe.seed, stage, earlier))  # noqa: S311 - guards no secret
        replayed += [actor[place] for place in sorted(rng.sample(range(len(actor)), int(share * len(actor))))]
    return replayed
