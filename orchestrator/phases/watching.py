"""The phases `watch_pairs` and `watch_model`: measure, raise alarms, and end the run if its recipe says so.

The phases read only artifacts, and an alarm is stored before its action. So a phase that is repeated after a crash has
the same figures, makes the same decision, and completes an action that was interrupted.
"""

import logging
from typing import Any

from orchestrator import metrics
from orchestrator.phases.serving import serve
from orchestrator.runs import events
from orchestrator.runs.context import RunContext
from orchestrator.runs.errors import RunFailed
from orchestrator.runs.state import acknowledged_alarms
from selfreward.contracts.rollouts import Rollout
from selfreward.loop import paths, watchdogs
from selfreward.loop.record import Alarm, ModelRecord, State

_END_STATES: dict[str, State] = {"pause": "paused", "stop": "stopped", "rollback": "rolled_back"}
_log = logging.getLogger(__name__)


class RunHalted(RuntimeError):
    """A watchdog ends the run in `state`, because of `alarms`. The message is for people."""

    def __init__(self, state: State, alarms: list[Alarm], message: str) -> None:
        super().__init__(message)
        self.state = state
        self.alarms = alarms


async def watch_pairs(context: RunContext) -> None:
    """Watch a round's votes, comparisons and ties before it trains on its pairs."""
    run, recipe, stage, method = context.run, context.recipe, context.state.stage, context.method
    rollouts = await _rollouts(context, paths.rollouts(run, stage))
    summary = context.services.store.read_json(paths.iteration(run, stage))
    votes = watchdogs.vote_figures(rollouts) if method.judges(recipe) else {}
    artifact = method.comparisons(run, recipe, stage)
    compared = rollouts if artifact == paths.rollouts(run, stage) else await _rollouts(context, artifact)
    matches = watchdogs.match_figures(compared)
    await _watch(context, {**matches, **votes, "ties": watchdogs.tie_rate(summary)})


async def watch_model(context: RunContext) -> None:
    """Watch a model's update, its votes, the length of its answers, and its judgments of the human-ranked answers."""
    run, stage = context.run, context.state.stage
    model = context.state.model(stage)
    samples = await _rollouts(context, paths.evaluation(run, stage, "samples"))
    voted = [rollout for rollout in samples if rollout.judgments]
    voted = voted or await _rollouts(context, paths.evaluation(run, stage, "eft_eval"))
    first = samples if stage == "M1" else await _rollouts(context, paths.evaluation(run, "M1", "samples"))
    accuracies = await _accuracies(context, ["M1", stage])
    before, now = accuracies["M1"], accuracies[stage]
    figures: watchdogs.Figures = {
        **watchdogs.vote_figures(voted),
        "length_growth": watchdogs.length_growth(first, samples),
        "judge_drift": before - now if before is not None and now is not None else None,
        "update_kept": model.update_kept if model else None,
    }
    await _watch(context, figures)


async def best_judge(context: RunContext) -> tuple[ModelRecord, float] | None:
    """The model to roll back to, and its pairwise accuracy on the human-ranked answers; None if none was measured.

    Only models with weights count. The base model and the SFT baseline do not, since they have not learned to judge.
    """
    models = {model.name: model for model in context.state.models if model.name not in ("M0", "SFT")}
    models = {name: model for name, model in models.items() if context.method.evaluation_phases(context.recipe, name)}
    best = watchdogs.best(await _accuracies(context, [name for name, model in models.items() if not model.removed]))
    return (models[best[0]], best[1]) if best else None


async def _watch(context: RunContext, figures: watchdogs.Figures) -> None:
    state = context.state
    alarms = watchdogs.alarms(state.stage, state.phase, figures, context.recipe.watchdogs)
    for name, value in figures.items():
        if value is not None:
            metrics.WATCHDOG.labels(name).set(value)
    await _report(context, alarms)
    deciding = watchdogs.decide(alarms, await acknowledged_alarms(context.services.redis, context.run))
    if deciding:
        await _halt(context, deciding)
    measured = {name: value for name, value in figures.items() if value is not None}
    await context.progress(1, 1, f"{len(alarms)} alarms" if alarms else "", metrics=measured)


async def _report(context: RunContext, alarms: list[Alarm]) -> None:
    """Report each alarm once: in the log, the metrics, the events, and last in the run's record."""
    reported = {alarm.key for alarm in context.state.alarms}
    new = [alarm for alarm in alarms if alarm.key not in reported]
    for alarm in new:
        _log.warning(alarm.message, extra={"run": context.run, "watchdog": alarm.watchdog, "action": alarm.action})
        metrics.ALARMS.labels(alarm.watchdog, alarm.action).inc()
        await events.emit(context.services.redis, context.run, stage=alarm.stage, message=alarm.message)
    if new:
        await context.update(alarms=[*context.state.alarms, *new])


async def _halt(context: RunContext, deciding: list[Alarm]) -> None:
    """Raises RunHalted, for `rollback` after the best model is served again."""
    action = deciding[0].action
    why = "; ".join(alarm.message for alarm in deciding)
    remedy = f"`selfreward resume {context.run}` continues past this alarm"
    if action == "rollback":
        why = f"{await _serve_best(context)} after {why}"
    elif action == "pause":
        why = f"paused by {why}"
    else:
        why = f"stopped by {why}"
    raise RunHalted(_END_STATES[action], deciding, f"{why}; {remedy} (docs/watchdogs.md)")


async def _serve_best(context: RunContext) -> str:
    """Serve the best model by the human-ranked answers. Returns a text that names it."""
    best = await best_judge(context)
    if best is None:
        raise RunFailed(
            f"run {context.run} is to roll back, but no model has judged human-ranked answers: look for failed "
            "evaluation prompts in the log, or announce a model yourself"
        )
    model, accuracy = best
    await serve(context, model)
    return (
        f"rolled back to {model.name} ({model.policy_version}), the best judge of the human-ranked answers "
        f"(pairwise accuracy {accuracy:.3f}),"
    )


async def _accuracies(context: RunContext, models: list[str]) -> dict[str, float | None]:
    rows = await context.read_rows(paths.data(context.run, "eft_eval"))
    ranks = {row["prompt_id"]: [response["rank"] for response in row["responses"]] for row in rows}
    judged = {model: await _rollouts(context, paths.evaluation(context.run, model, "eft_eval")) for model in models}
    evaluated = {model: rollouts for model, rollouts in judged.items() if rollouts}
    return {**dict.fromkeys(models), **watchdogs.judge_accuracies(ranks, evaluated)}


async def _rollouts(context: RunContext, name: str) -> list[Rollout]:
    rows: list[dict[str, Any]] = await context.read_rows(name)
    return [Rollout.model_validate(row) for row in rows]
