"""The training jobs of a run, derived from its recipe alone: the same recipe gives the same jobs."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from selfreward.contracts.base import Message, content_key
from selfreward.contracts.reinforcement import JobVerdicts
from selfreward.contracts.rollouts import PreferencePair
from selfreward.contracts.training import TrainJob
from selfreward.loop import paths, plan
from selfreward.recipe.recipe import Recipe


def train_job(run: str, recipe: Recipe, stage: str, canary: list[Message], judge: str = "") -> TrainJob:
    """The training job of a stage; the same recipe gives the same job id. `judge`: the version that rewards answers."""
    made = plan.kind(recipe, stage)
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
    if made == "base":
        alone = {"world_size": 1, "sharding": "none"}
        return TrainJob.model_validate({**common, "method": "publish", "init_from": recipe.model, **alone})
    start = {"init_from": paths.weights(run, plan.parent(recipe, stage))}
    if made == "sft":
        hyper = {"method": "sft", "sft": recipe.baseline_sft, "datasets": [paths.data(run, "ift")]}
    elif made == "eft":
        hyper = {"method": "sft", "sft": recipe.sft, "datasets": [paths.data(run, "ift"), paths.data(run, "eft")]}
    elif made == "revised":
        hyper = {"method": "sft", "sft": recipe.sft, "datasets": [paths.data(run, "ift"), paths.revisions(run)]}
    elif recipe.method == "self_improving":
        hyper = {"method": "rl", "rl": recipe.rl, "datasets": [paths.questions(run, stage)]}
        hyper["verdicts"] = _verdicts(run, recipe, stage, judge)
    elif recipe.loop.train_on == "positives":
        seed = [paths.data(run, "ift"), *([paths.data(run, "eft")] if recipe.loop.use_eft else [])]
        hyper = {"method": "sft", "sft": recipe.sft, "datasets": [*seed, paths.positives(run, stage)]}
    else:
        again = [paths.replay(run, stage)] if plan.replays(recipe, stage) else []
        hyper = {"method": "dpo", "dpo": recipe.dpo, "datasets": [paths.pairs(run, stage), *again]}
        if recipe.method == "scir" and recipe.scir.mode == "consistency":
            hyper["consistency"] = recipe.scir.consistency
    return TrainJob.model_validate({**common, **start, **hyper})


def score_job(run: str, recipe: Recipe, stage: str, canary: list[Message]) -> TrainJob:
    """The job that scores a round's answers; the same recipe gives the same job id."""
    by = plan.scorers(run, stage)
    return TrainJob(
        id=f"{run}-{stage}-score".lower(),
        run=run,
        stage=stage,
        method="logprobs",
        init_from=by.policy,
        checkpoints=list(dict.fromkeys((by.policy, by.previous, by.reference))),
        datasets=[f"runs/{run}/rollouts/{stage}.jsonl"],
        output=paths.logprobs(run, stage),
        canary=canary,
        seed=recipe.seed,
        recipe_hash=recipe.hash,
    )


def _verdicts(run: str, recipe: Recipe, stage: str, judge: str) -> JobVerdicts:
    return JobVerdicts.model_validate(
        {
            **recipe.judging.model_dump(exclude={"annotator"}),
            **recipe.verdicts.model_dump(include={"answer_format", "correct_from"}),
            "policy": judge,
            "samples": paths.samples(run, stage),
        }
    )


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
