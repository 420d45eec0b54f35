"""The phase `retain`: delete weights and rollouts that a run no longer needs, by its recipe's `[retention]`.

Manifests are kept. The phase is idempotent: the run and the served models determine what is removed, a model is marked
before its files are deleted, and deleting missing files has no effect.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

from orchestrator.phases.serving import served_artifacts
from orchestrator.phases.watching import best_judge
from orchestrator.runs.context import RunContext
from orchestrator.runs.state import load_all
from selfreward.client.http import ServiceError
from selfreward.loop import paths
from selfreward.loop.methods import method_of
from selfreward.loop.record import ModelRecord, RunState
from selfreward.loop.stages import scorers
from selfreward.recipe.recipe import Recipe
from selfreward.redis.announcements import current
from selfreward.server.disk import MIB


def models_to_keep(recipe: Recipe, models: Sequence[str], trained: Sequence[str]) -> set[str]:
    """Models whose weights are always kept: the base, the anchor, the newest, and those that later stages need.

    `models` are the run's, oldest first. `trained` are the stages that are trained.
    """
    method = method_of(recipe)
    coming = [stage for stage in method.stages(recipe) if stage not in trained and method.kind(recipe, stage) != "base"]
    anchor = {"M1"} if method.needs_m1(recipe) else set[str]()
    newest = models[-(recipe.retention.keep_checkpoints or len(models)) :]
    scoring = {
        artifact.rpartition("/")[2]
        for stage in coming
        if method.scores(recipe) and method.kind(recipe, stage) == "round"
        for artifact in astuple(scorers("", stage))
    }
    return {"M0", *anchor, *newest, *scoring, *(method.parent(recipe, stage) for stage in coming)} & set(models)


async def retain(context: RunContext) -> None:
    """Remove old weights and rollouts, report which, and list all removed ones in `runs/<run>/retention.json`."""
    policy = context.recipe.retention
    messages = []
    if policy.keep_checkpoints is not None:
        messages.append(await _remove_weights(context))
    if policy.keep_rollouts is not None:
        messages.append(await _remove_rollouts(context, policy.keep_rollouts))
    await context.progress(1, 1, "; ".join(messages))


async def _remove_weights(context: RunContext) -> str:
    models = context.state.models
    try:
        in_use = await served_artifacts(context)
    except (OSError, ServiceError) as error:
        # A replica that does not answer may serve any weights. The next stage removes these too.
        return f"no weights are removed while a generator does not answer: {error}"
    trained = [entry.stage for entry in context.state.journal if entry.phase == "train"]
    keep = models_to_keep(context.recipe, [model.name for model in models], trained)
    keep |= {model.name for model in models if model.artifact in in_use | await _used_artifacts(context)}
    best = await best_judge(context)
    keep |= {best[0].name} if best else set()
    expired = [model for model in models if model.name not in keep]
    await context.update(models=[_mark(model, model in expired) for model in models])
    store, freed = context.services.store, 0
    for model in expired:
        context.lease.check_clock()
        reason = f"retention.keep_checkpoints = {context.recipe.retention.keep_checkpoints} of run {context.run}"
        freed += await asyncio.to_thread(store.remove_weights, model.artifact, reason)
    removed = [model.name for model in context.state.models if model.removed]
    await _record_removal(context, "weights", removed)
    return f"weights removed of {', '.join(removed) or 'no model'} ({freed // MIB} MiB freed)"


def _mark(model: ModelRecord, removed: bool) -> ModelRecord:
    return model.model_copy(update={"removed": True}) if removed else model


async def _used_artifacts(context: RunContext) -> set[str]:
    """Artifacts that are announced, or from which another unfinished run starts."""
    store, used = context.services.store, set[str]()
    announced = await current(context.services.redis)
    if announced is not None:
        used.add(announced.artifact)
    bases = _bases(await load_all(context.services.redis))
    return used | {model.artifact for model in context.state.models if Path(store.path(model.artifact)) in bases}


def _bases(runs: Sequence[RunState]) -> set[Path]:
    """Base model folders of runs that have not published their base model yet."""
    return {Path(state.recipe.model).resolve() for state in runs if not state.models}


async def _remove_rollouts(context: RunContext, keep: int) -> str:
    store, run = context.services.store, context.run
    finished = [stage for stage in context.method.stages(context.recipe) if context.state.finished(stage, "rollouts")]
    removed = finished[:-keep]
    for stage in removed:
        context.lease.check_clock()
        await asyncio.to_thread(store.delete, paths.rollouts(run, stage))
        await asyncio.to_thread(store.delete, paths.meta(run, stage))
    await _record_removal(context, "rollouts", removed)
    return f"rollouts removed of {', '.join(removed) or 'no stage'}"


async def _record_removal(context: RunContext, what: str, removed: list[str]) -> None:
    name = paths.retention(context.run)
    store = context.services.store
    record = store.read_json(name) if store.exists(name) else {}
    await context.write_json(name, {**record, what: removed})
