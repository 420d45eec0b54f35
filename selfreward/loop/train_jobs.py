"""The training jobs of a run, derived from its recipe alone: the same recipe gives the same jobs."""

from selfreward.contracts.judging import Message
from selfreward.contracts.reinforcement import JobVerdicts
from selfreward.contracts.training import TrainJob
from selfreward.loop import plan
from selfreward.recipe.recipe import Recipe


def train_job(run: str, recipe: Recipe, stage: str, canary: list[Message], judge: str = "") -> TrainJob:
    """The training job of a stage; the same recipe gives the same job id. `judge`: the version that rewards answers."""
    made = plan.kind(recipe, stage)
    common = {
        "id": f"{run}-{stage}".lower(),
        "run": run,
        "stage": stage,
        "output": plan.weights(run, stage),
        "canary": canary,
        "seed": recipe.seed,
        "world_size": recipe.trainer.world_size,
        "sharding": recipe.trainer.sharding,
        "recipe_hash": recipe.hash,
    }
    if made == "base":
        alone = {"world_size": 1, "sharding": "none"}
        return TrainJob.model_validate({**common, "method": "publish", "init_from": recipe.model, **alone})
    start = {"init_from": plan.weights(run, plan.parent(recipe, stage))}
    if made == "sft":
        hyper = {"method": "sft", "sft": recipe.baseline_sft, "datasets": [plan.data(run, "ift")]}
    elif made == "eft":
        hyper = {"method": "sft", "sft": recipe.sft, "datasets": [plan.data(run, "ift"), plan.data(run, "eft")]}
    elif made == "revised":
        hyper = {"method": "sft", "sft": recipe.sft, "datasets": [plan.data(run, "ift"), plan.revisions(run)]}
    elif recipe.method == "self_improving":
        hyper = {"method": "rl", "rl": recipe.rl, "datasets": [plan.questions(run, stage)]}
        hyper["verdicts"] = _verdicts(run, recipe, stage, judge)
    elif recipe.loop.train_on == "positives":
        seed = [plan.data(run, "ift"), *([plan.data(run, "eft")] if recipe.loop.use_eft else [])]
        hyper = {"method": "sft", "sft": recipe.sft, "datasets": [*seed, plan.positives(run, stage)]}
    else:
        again = [plan.replay(run, stage)] if plan.replays(recipe, stage) else []
        hyper = {"method": "dpo", "dpo": recipe.dpo, "datasets": [plan.pairs(run, stage), *again]}
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
        output=plan.logprobs(run, stage),
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
            "samples": plan.samples(run, stage),
        }
    )
