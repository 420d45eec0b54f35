"""The state machine of a run: its stages and their phases, in order. The journal lists the finished phases.

A finished phase is never repeated. An unfinished phase starts again from its beginning, and its effects are idempotent,
so the lease holder may crash anywhere and another replica continues.
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
"""Phases by name. All other phases of a method, such as `rollouts`, run tasks on the workers (`ask_workers`)."""
_log = logging.getLogger(__name__)


async def advance(context: RunContext) -> None:
    """Take a run to one of the states in `ENDED`. Raises LeaseLost and RedisError, when no state can be written.

    Any other error ends the run as failed, with its message. The run can be resumed; endless retries would hide the
    error.
    """
    # A phase of a dead leader keeps its start time; a phase of a run that was stopped starts again.
    phase_started = context.state.phase_started_at if context.state.state == "running" else None
    await context.update(
        state="running",
        message="",
        halted_by=[],
        started_at=context.state.started_at or now(),
        phase_started_at=phase_started,
    )
    _log.info("run continues", extra={"run": context.run, "finished_phases": len(context.state.journal)})
    # Every phase that the journal lacks, in order.
    try:
        for stage in context.method.stages(context.recipe):
            for phase in context.method.phases(context.recipe, stage):
                if context.state.finished(stage, phase):
                    # A leader may have crashed after the journal entry and before this.
                    await Results(context.services.redis, context.run, stage, phase).clear()
                else:
                    await context.check()
                    await _perform(context, stage, phase)
            await with_room(context, functools.partial(_write_iteration, context, stage), ahead=False)
    # How the run ended.
    except RunStopped:
        await _end(context, "stopped", "stopped on request; `resume` continues it")
    except watching.RunHalted as halted:
        # State first: if this leader crashes before the stop, its successor decides again from the artifacts.
        outcome = {"state": halted.state, "message": str(halted), "halted_by": [alarm.key for alarm in halted.alarms]}
        await context.update(**outcome, told=False)
        await ask_to_stop(context.services.redis, context.run)
        await _end(context, halted.state, str(halted))
    except (LeaseLost, RedisError):
        raise
    except Exception as error:
        _log.exception("run failed", extra={"run": context.run})
        message = str(error) if isinstance(error, (RunFailed, ServiceError)) else f"{type(error).__name__}: {error}"
        # State first, here too: a replica that has lost its lease fails here and stops no run.
        await context.update(state="failed", message=message, told=False)
        await ask_to_stop(context.services.redis, context.run)
        await _end(context, "failed", message)
    else:
        await _end(context, "done", f"{len(context.state.models)} models")


async def write_outcome(context: RunContext) -> None:
    """Write the run's outcome to `run.json` and to its events. Repeated if a leader crashed halfway."""
    state = context.state
    try:
        await write_record(context)
    except OSError as error:
        if not is_full(error):
            raise
        # The record in Redis has the outcome; the file has everything up to the last finished phase.
        _log.warning("run.json lacks the end of the run", extra={"run": context.run, "error": str(error)})
    await events.emit(context.services.redis, context.run, message=state.message, state=state.state)
    await context.update(told=True)


async def write_record(context: RunContext) -> None:
    """Write `run.json`: recipe, models and journal, for readers of the artifacts without Redis."""
    state = context.state
    stages = context.method.stages(context.recipe)
    record = {
        **state.model_dump(mode="json"),
        "models": [model.model_dump() for model in state.models if model.policy_version],
        "seconds": {stage: state.seconds(stage) for stage in stages},
    }
    await context.write_json(paths.record(context.run), record)


async def _perform(context: RunContext, stage: str, phase: str) -> None:
    # A phase that a dead leader had begun keeps its start time.
    begun = (context.state.stage, context.state.phase) == (stage, phase)
    started = (context.state.phase_started_at if begun else None) or now()
    await context.update(stage=stage, phase=phase, phase_started_at=started)
    # So that whoever follows the run sees a phase from its start, also one that counts nothing.
    await context.progress(0, 0)
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
    await write_outcome(context)


async def _write_iteration(context: RunContext, stage: str) -> None:
    """Add the durations to a round's record, after its last phase."""
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
