"""The plan of a run, derived from its recipe alone: stages, their phases, their training jobs.

Stages: M0 (the base model, published), SFT (IFT only: writes the EFT judgments and is the comparison), M1 (SFT of M0 on
IFT and EFT), M2, M3, ... (the rounds: DPO on pairs of the recipe's method, or SFT of M0 on IFT, EFT and the chosen
answers). Without EFT, M1 is the SFT baseline itself.
"""

from typing import Literal

from selfreward.config import Recipe, Retention
from selfreward.contracts import Message
from selfreward.training import TrainJob

Kind = Literal["base", "sft", "eft", "round"]

_SERVED = ("train", "publish", "reload")
_DATA = ("prompts", "rollouts", "pairs")
_WATCHED = ("evaluate", "watch_model")


def stages(recipe: Recipe) -> list[str]:
    """Names of the run's stages in order."""
    baseline = ["SFT"] if recipe.loop.use_eft else []
    return ["M0", *baseline, *(f"M{number}" for number in range(1, recipe.loop.iterations + 2))]


def kind(recipe: Recipe, stage: str) -> Kind:
    """How a stage's model is made."""
    if stage == "M0":
        return "base"
    if stage == "SFT":
        return "sft"
    if stage == "M1":
        return "eft" if recipe.loop.use_eft else "sft"
    return "round"


def phases(recipe: Recipe, stage: str) -> tuple[str, ...]:
    """A stage's phases in order. Self-instruct prompts are written while the base model is served: it stays fixed.

    The SFT baseline is not watched: it has not learned to judge, and its judgments count only where people agree.
    """
    made = kind(recipe, stage)
    # Last, since only then is it known which model is the best, and the stage's rollouts have been read.
    retained = ("retain",) if recipe.retention != Retention() else ()
    written = ("prompts",) if recipe.prompts.source == "self_instruct" and recipe.loop.iterations else ()
    if adopted(recipe, stage):
        return ("adopt", *(written if made == "base" else ()))
    if made == "base":
        # It has learned neither role, so there is nothing to evaluate; generators load it while the baseline trains.
        return ("train", "publish", *written)
    if made == "sft":
        return (*_SERVED, *(_WATCHED + retained if stage == "M1" else _WATCHED[:1]))
    if made == "eft":
        return (*_DATA[1:], *_SERVED, *_WATCHED, *retained)
    return (*_DATA, *(("watch_pairs",) if judged(recipe) else ()), *_SERVED, *_WATCHED, *retained)


def adopted(recipe: Recipe, stage: str) -> bool:
    """Whether a stage's model is another run's: `loop.start_from` has all of them up to M1."""
    return recipe.loop.start_from is not None and stage in ("M0", "SFT", "M1")


def judged(recipe: Recipe) -> bool:
    """Whether the answers of a round are judged."""
    return recipe.method != "spin"


def answers(recipe: Recipe) -> int:
    """Answers of a round's rollout: the sampled ones, and after them the given one where the method has one."""
    return recipe.sampling.n + (recipe.method != "self_rewarding")


def replays(recipe: Recipe, stage: str) -> list[tuple[str, float]]:
    """The earlier rounds whose pairs train a round again, newest first, each with the share of them."""
    number = int(stage.removeprefix("M"))
    return [(f"M{number - back}", share) for back, share in enumerate(recipe.loop.replay, 1) if number - back >= 2]


def round_index(stage: str) -> int:
    """0 for M2, 1 for M3, ...: which slice of the prompts a DPO round takes."""
    return int(stage.removeprefix("M")) - 2


def weights(run: str, stage: str) -> str:
    """Artifact name of a stage's checkpoint."""
    return f"runs/{run}/weights/{stage}"


def data(run: str, name: str) -> str:
    """Artifact name of a JSON Lines file of the run's data."""
    return f"runs/{run}/data/{name}.jsonl"


def pairs(run: str, stage: str) -> str:
    """Artifact name of the pairs that train a stage."""
    return f"runs/{run}/pairs/{stage}.jsonl"


def replay(run: str, stage: str) -> str:
    """Artifact name of the earlier rounds' pairs that train a stage again."""
    return data(run, f"replay-{stage}")


def positives(run: str, stage: str) -> str:
    """Artifact name of the chosen answers that train a stage where nothing is learned from the rejected ones."""
    return data(run, f"positives-{stage}")


def failures(run: str, stage: str, phase: str) -> str:
    """Artifact name of the prompts of a phase that were given up, each with the last error."""
    return f"runs/{run}/failures/{stage}-{phase}.jsonl"


def parent(recipe: Recipe, stage: str) -> str:
    """The stage whose weights training starts from (papers: section 1.7 of 2401.10020 starts from the previous)."""
    made = kind(recipe, stage)
    if made in ("sft", "eft") or recipe.loop.train_on == "positives":
        return "M0"
    if recipe.loop.init_from == "anchor":
        return "M1"
    return f"M{int(stage.removeprefix('M')) - 1}"


def train_job(run: str, recipe: Recipe, stage: str, canary: list[Message]) -> TrainJob:
    """The training job of a stage; the same recipe gives the same job id."""
    made = kind(recipe, stage)
    common = {
        "id": f"{run}-{stage}".lower(),
        "run": run,
        "stage": stage,
        "output": weights(run, stage),
        "canary": canary,
        "seed": recipe.seed,
        "world_size": recipe.trainer.world_size,
        "recipe_hash": recipe.hash,
    }
    if made == "base":
        return TrainJob.model_validate({**common, "method": "publish", "init_from": recipe.model, "world_size": 1})
    start = {"init_from": weights(run, parent(recipe, stage))}
    if made == "sft":
        hyper = {"method": "sft", "sft": recipe.baseline_sft, "datasets": [data(run, "ift")]}
    elif made == "eft":
        hyper = {"method": "sft", "sft": recipe.sft, "datasets": [data(run, "ift"), data(run, "eft")]}
    elif recipe.loop.train_on == "positives":
        seed = [data(run, "ift"), *([data(run, "eft")] if recipe.loop.use_eft else [])]
        hyper = {"method": "sft", "sft": recipe.sft, "datasets": [*seed, positives(run, stage)]}
    else:
        again = [replay(run, stage)] if replays(recipe, stage) else []
        hyper = {"method": "dpo", "dpo": recipe.dpo, "datasets": [pairs(run, stage), *again]}
    return TrainJob.model_validate({**common, **start, **hyper})
