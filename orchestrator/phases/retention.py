"""Delete what a run does not need any more, as its recipe's `[retention]` says. Every model's manifest is kept.

The phase may be begun again after a crash at any point: what is to go follows from the run and from what is served, a
model is marked before its files go, and deleting what is gone is nothing.
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


def needed(recipe: Recipe, models: Sequence[str], trained: Sequence[str]) -> set[str]:
    """Models whose weights stay whatever is served: the base, the anchor, the newest, and parents of coming stages.

    `models` are the run's, oldest first; `trained` the stages that need no training any more.
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
    """Remove old weights and rollouts, tell which, and list all that is gone in `runs/<run>/retention.json`."""
    policy = context.recipe.retention
    said = []
    if policy.keep_checkpoints is not None:
        said.append(await _weights(context))
    if policy.keep_rollouts is not None:
        said.append(await _rollouts(context, policy.keep_rollouts))
    await context.progress(1, 1, "; ".join(said))


async def _weights(context: RunContext) -> str:
    models = context.state.models
    try:
        in_use = await served_artifacts(context)
    except (OSError, ServiceError) as error:
        # A replica that does not answer may come back on any weights; the next stage removes these too.
        return f"no weights are removed while a generator does not answer: {error}"
    trained = [entry.stage for entry in context.state.journal if entry.phase == "train"]
    keep = needed(context.recipe, [model.name for model in models], trained)
    keep |= {model.name for model in models if model.artifact in in_use | await _wanted(context)}
    best = await best_judge(context)
    keep |= {best[0].name} if best else set()
    going = [model for model in models if model.name not in keep]
    await context.update(models=[_marked(model, model in going) for model in models])
    store, freed = context.services.store, 0
    for model in going:
        context.lease.check_clock()
        reason = f"retention.keep_checkpoints = {context.recipe.retention.keep_checkpoints} of run {context.run}"
        freed += await asyncio.to_thread(store.remove_weights, model.artifact, reason)
    gone = [model.name for model in context.state.models if model.removed]
    await _note(context, "weights", gone)
    return f"weights removed of {', '.join(gone) or 'no model'} ({freed // MIB} MiB freed)"


def _marked(model: ModelRecord, going: bool) -> ModelRecord:
    return model.model_copy(update={"removed": True}) if going else model


async def _wanted(context: RunContext) -> set[str]:
    """Artifacts that are announced, or that another unfinished run starts from."""
    store, found = context.services.store, set[str]()
    announced = await current(context.services.redis)
    if announced is not None:
        found.add(announced.artifact)
    bases = _bases(await load_all(context.services.redis))
    return found | {model.artifact for model in context.state.models if Path(store.path(model.artifact)) in bases}


def _bases(runs: Sequence[RunState]) -> set[Path]:
    """Folders from which runs still have to make their base model."""
    return {Path(state.recipe.model).resolve() for state in runs if not state.models}


async def _rollouts(context: RunContext, keep: int) -> str:
    store, run = context.services.store, context.run
    made = [stage for stage in context.method.stages(context.recipe) if context.state.finished(stage, "rollouts")]
    gone = made[:-keep]
    for stage in gone:
        context.lease.check_clock()
        await asyncio.to_thread(store.delete, paths.rollouts(run, stage))
        await asyncio.to_thread(store.delete, paths.meta(run, stage))
    await _note(context, "rollouts", gone)
    return f"rollouts removed of {', '.join(gone) or 'no stage'}"


async def _note(context: RunContext, what: str, gone: list[str]) -> None:
    name = paths.retention(context.run)
    store = context.services.store
    known = store.read_json(name) if store.exists(name) else {}
    await context.write_json(name, {**known, what: gone})
