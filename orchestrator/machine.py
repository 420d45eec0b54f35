"""The state machine of a run: stage after stage, phase after phase, each noted in the journal when it is done.

What the journal has is never done again; what it lacks is done from the start of that phase, whose effects are
idempotent. So the holder of the lease may die anywhere and another goes on.
"""

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import RedisError

from orchestrator import metrics
from orchestrator.phases import adoption, evaluation, pairs, prompts, retention, serving, training, watching
from orchestrator.phases.ask_workers import ask_workers
from orchestrator.phases.disk import with_room
from orchestrator.runs import events
from orchestrator.runs.context import RunContext
from orchestrator.runs.errors import RunFailed, RunStopped
from orchestrator.runs.lease import LeaseLost
from orchestrator.runs.results import Results
from orchestrator.runs.state import ask_to_stop
from selfreward.client.http import ServiceError
from selfreward.loop import paths
from selfreward.loop.record import Transition, now, seconds_since
from selfreward.server.disk import is_full
from selfreward.store.artifacts import ArtifactStore

PHASES: dict[str, Callable[[RunContext], Awaitable[None]]] = {
    "prompts": prompts.prompts,
    "score": training.score,
    "pairs": pairs.pairs,
    "watch_pairs": watching.watch_pairs,
    "train": training.train,
    "publish": serving.publish,
    "reload": serving.reload,
    "evaluate": evaluation.evaluate,
    "watch_model": watching.watch_model,
    "retain": retention.retain,
    "adopt": adoption.adopt,
}
"""The phases by name. Every other phase of a method asks the workers (`ask_workers`): `rollouts` and the like."""
_log = logging.getLogger(__name__)


async def advance(context: RunContext) -> None:
    """Take a run to its end, one of `state.ENDED`. Raises LeaseLost and RedisError: then nothing can be said.

    Any other error ends the run as failed with its message, and the run can be resumed: trying for ever would hide it.
    """
    # A phase that a dead leader had begun goes on; one that somebody had stopped begins anew.
    begun = context.state.phase_started_at if context.state.state == "running" else None
    await context.update(
        state="running",
        message="",
        halted_by=[],
        started_at=context.state.started_at or now(),
        phase_started_at=begun,
    )
    _log.info("run goes on", extra={"run": context.run, "finished_phases": len(context.state.journal)})
    try:
        for stage in context.method.stages(context.recipe):
            for phase in context.method.phases(context.recipe, stage):
                if context.state.finished(stage, phase):
                    # A leader may have died between the journal and this.
                    await Results(context.services.redis, context.run, stage, phase).clear()
                else:
                    await context.check()
                    await _perform(context, stage, phase)
            await with_room(context, functools.partial(_write_iteration, context, stage), ahead=False)
    except RunStopped:
        await _end(context, "stopped", "stopped on request; `resume` continues it")
    except watching.RunHalted as halted:
        # State first: a successor that finds the run here, with no stop asked for, decides again from the artifacts.
        ended = {"state": halted.state, "message": str(halted), "halted_by": [alarm.key for alarm in halted.alarms]}
        await context.update(**ended, told=False)
        await ask_to_stop(context.services.redis, context.run)
        await _end(context, halted.state, str(halted))
    except (LeaseLost, RedisError):
        raise
    except Exception as error:
        _log.exception("run failed", extra={"run": context.run})
        message = str(error) if isinstance(error, (RunFailed, ServiceError)) else f"{type(error).__name__}: {error}"
        # State first, here too: a replica that has lost its lease gets no further, and stops nobody's run.
        await context.update(state="failed", message=message, told=False)
        await ask_to_stop(context.services.redis, context.run)
        await _end(context, "failed", message)
    else:
        await _end(context, "done", f"{len(context.state.models)} models")


async def tell(context: RunContext) -> None:
    """Write how the run ended to `run.json` and to its events. Done again where a leader died before it was through."""
    state = context.state
    try:
        await write_record(context)
    except OSError as error:
        if not is_full(error):
            raise
        # The record in Redis says how the run ended; the file has everything up to the last finished phase.
        _log.warning("run.json lacks the end of the run", extra={"run": context.run, "error": str(error)})
    await events.emit(context.services.redis, context.run, message=state.message, state=state.state)
    await context.update(told=True)


async def write_record(context: RunContext) -> None:
    """Write `run.json`: the recipe, the models and the journal, for whoever reads the artifacts without Redis."""
    state = context.state
    stages = context.method.stages(context.recipe)
    record = {
        **state.model_dump(mode="json"),
        "models": [model.model_dump() for model in state.models if model.policy_version],
        "seconds": {stage: state.seconds(stage) for stage in stages},
    }
    await context.write_json(paths.record(context.run), record)


async def _perform(context: RunContext, stage: str, phase: str) -> None:
    begun = context.state.phase_started_at if (context.state.stage, context.state.phase) == (stage, phase) else None
    started = begun or now()
    await context.update(stage=stage, phase=phase, phase_started_at=started)
    await with_room(context, lambda: PHASES.get(phase, ask_workers)(context), ahead=phase != "retain")
    seconds = round(seconds_since(started), 3)
    entry = Transition(stage=stage, phase=phase, seconds=seconds, finished_at=now())
    await context.update(journal=[*context.state.journal, entry])
    await Results(context.services.redis, context.run, stage, phase).clear()
    await with_room(context, lambda: write_record(context), ahead=False)
    metrics.PHASE_SECONDS.labels(phase).observe(seconds)
    _log.info("phase done", extra={"run": context.run, "stage": stage, "phase": phase, "seconds": seconds})


async def _end(context: RunContext, state: str, message: str) -> None:
    await context.update(state=state, message=message, blocked="", finished_at=now(), told=False)
    await tell(context)


async def _write_iteration(context: RunContext, stage: str) -> None:
    """Add the durations to a DPO round's record, once its last phase is done."""
    name = paths.iteration(context.run, stage)
    store: ArtifactStore = context.services.store
    if not store.exists(name):
        return
    seconds = context.state.seconds(stage)
    record: dict[str, Any] = store.read_json(name)
    record["seconds"] = {
        "rollout": seconds.get("rollouts", 0.0),
        "train": seconds.get("train", 0.0),
        "reload": seconds.get("publish", 0.0) + seconds.get("reload", 0.0),
        "evaluate": seconds.get("evaluate", 0.0),
    }
    await context.write_json(name, record)
