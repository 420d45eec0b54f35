"""Adoption: start a run from the models of another run up to M1 (`loop.start_from`), instead of training them again.

The run gets its own copies: the checkpoints, with the manifests of the run that trained them, M1's evaluation, and the
data that trained M1 to judge. So every later phase finds its inputs, and the other run may be deleted.
"""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

from orchestrator.phases.serving import announce_model
from orchestrator.runs.context import RunContext
from selfreward.loop import paths
from selfreward.loop.load import RunRecipe
from selfreward.loop.methods import method_of
from selfreward.loop.seed.read import SeedData, snapshot
from selfreward.loop.stages import is_adopted
from selfreward.loop.tasks import EVALUATION_SETS
from selfreward.recipe.recipe import Recipe, RecipeError
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import MANIFEST_NAME, WeightsManifest, verify_folder


async def adopt(context: RunContext) -> None:
    """Copy a stage of the other run and announce its model as this run's."""
    run, recipe, stage = context.run, context.recipe, context.state.stage
    source, store = str(recipe.loop.start_from), context.services.store
    digest = await asyncio.to_thread(copy_model, store, source, run, stage)
    for original, copy in zip(files_of(source, stage), files_of(run, stage), strict=True):
        if store.exists(original):
            content = await asyncio.to_thread(store.read_bytes, original)
            await asyncio.to_thread(store.write_bytes, copy, content, context.lease.check_clock)
    announced = await announce_model(context, stage, paths.weights(run, stage), digest)
    await context.update(models=[*context.other_models, announced])
    await context.progress(1, 1, f"{announced.policy_version} from {source}")


def copy_model(store: ArtifactStore, source: str, run: str, stage: str) -> str:
    """Publish a copy of another run's checkpoint. Returns the digest, which is the same for both."""
    folder = store.fetch(paths.weights(source, stage))
    manifest, _ = verify_folder(folder)

    def fill(target: Path) -> None:
        for name in manifest.files:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, target / name)

    def describe(_: Path) -> WeightsManifest:
        return manifest

    return store.publish(paths.weights(run, stage), fill, describe)[1]


def files_of(run: str, stage: str) -> list[str]:
    """Artifacts of a stage beside its weights: its evaluation and, for M1, its data.

    The labels of an independent checker are not copied.
    """
    names = [paths.evaluation(run, stage, part) for part in EVALUATION_SETS]
    names.append(paths.failures(run, stage, "evaluate"))
    if stage == "M1":
        training_data = [paths.data(run, name) for name in ("eft", "judge_pairs")]
        names += [*training_data, paths.rollouts(run, stage), paths.eft_record(run)]
    return names


def check_start(store: ArtifactStore, recipe: Recipe, seed: SeedData) -> None:
    """Raises RecipeError unless the run in `loop.start_from` has an M1 that this recipe can start from.

    The base model, the held-out prompts and the evaluation settings must be the same, since M1's figures are copied.
    """
    source = recipe.loop.start_from
    if source is None:
        return
    # The run exists and has an evaluated M1.
    key = f"loop.start_from = {source!r}"
    if not store.exists(paths.record(source)):
        raise RecipeError(f"{key}: there is no such run in this artifact store; `selfreward status` lists the runs")
    record = store.read_json(paths.record(source))
    if not any(
        (entry["stage"], entry["phase"]) in (("M1", "evaluate"), ("M1", "adopt")) for entry in record["journal"]
    ):
        raise RecipeError(f"{key}: that run has no evaluated M1 yet; wait for it, or give a run that has one")
    # Its models are there.
    models = {model["name"]: model for model in record["models"]}
    for stage in (stage for stage in method_of(recipe).stages(recipe) if is_adopted(recipe, stage)):
        if stage not in models:
            raise RecipeError(f"{key}: that run has no {stage}; set loop.use_eft=false as it does, or give another run")
        if models[stage].get("removed") or not store.exists(f"{paths.weights(source, stage)}/{MANIFEST_NAME}"):
            raise RecipeError(f"{key}: the weights of its {stage} were removed; give a run that has kept them")
    # Its evaluation has the same settings and the same rows.
    source_settings = evaluation_settings(RunRecipe.model_validate(record["recipe"]))
    for name, value in evaluation_settings(recipe).items():
        if source_settings[name] != value:
            raise RecipeError(
                f"{key}: its {name} is {source_settings[name]!r}, this recipe's {value!r}: make them equal"
            )
    rows = snapshot(seed)
    for name in ("heldout", "eft_eval"):
        stored = [json.dumps(row, sort_keys=True) for row in store.read_jsonl(paths.data(source, name))]
        if stored != [json.dumps(row, sort_keys=True) for row in rows[name]()]:
            raise RecipeError(f"{key}: data.{name} has other rows than that run's; give the same file")


def evaluation_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings on which a model's evaluation depends, by key of the recipe."""
    plans = recipe.evaluation
    sampling = recipe.evaluation_sampling
    return {
        "model": recipe.model,
        "evaluation.prompts": plans.prompts,
        "evaluation.samples": plans.samples,
        "evaluation.judged_prompts": plans.judged_prompts,
        "evaluation.temperature": sampling.temperature,
        "evaluation.top_p": sampling.top_p,
        "sampling.max_tokens": sampling.max_tokens,
        "evaluation.judging": recipe.evaluation_judging.model_dump(),
    }
