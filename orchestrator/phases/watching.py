"""The watch phases of a stage: measure, raise alarms, and end the run where its recipe says so.

They read artifacts alone, and an alarm is stored before it takes effect. So a watch phase that is begun again after a
crash finds the same figures, decides the same, and does again what may have been left half done.
"""

import logging
from typing import Any

from orchestrator import metrics
from orchestrator.phases.serving import serve
from orchestrator.runs import events
from orchestrator.runs.context import RunContext
from orchestrator.runs.errors import RunFailed
from orchestrator.runs.state import acknowledged
from selfreward.contracts.rollouts import Rollout
from selfreward.loop import paths, watchdogs
from selfreward.loop.record import Alarm, ModelRecord, State

_ENDS_AS: dict[str, State] = {"pause": "paused", "stop": "stopped", "rollback": "rolled_back"}
_log = logging.getLogger(__name__)


class RunHalted(RuntimeError):
    """A watchdog ends the run: in which state, by which alarms; the message is for people."""

    def __init__(self, state: State, alarms: list[Alarm], message: str) -> None:
        super().__init__(message)
        self.state = state
        self.alarms = alarms


async def watch_pairs(context: RunContext) -> None:
    """Watch a round's votes, comparisons and ties, before anything is trained on its pairs."""
    run, recipe, stage, method = context.run, context.recipe, context.state.stage, context.method
    rollouts = await _rollouts(context, paths.rollouts(run, stage))
    summary = context.services.store.read_json(paths.iteration(run, stage))
    votes = watchdogs.vote_figures(rollouts) if method.judges(recipe) else {}
    artifact = method.comparisons(run, recipe, stage)
    compared = rollouts if artifact == paths.rollouts(run, stage) else await _rollouts(context, artifact)
    matches = watchdogs.match_figures(compared)
    await _watch(context, {**matches, **votes, "ties": watchdogs.tie_rate(summary)})


async def watch_model(context: RunContext) -> None:
    """Watch a model's votes, the length of its answers, and its judgments of the human-ranked answers."""
    run, stage = context.run, context.state.stage
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
    }
    await _watch(context, figures)


async def best_judge(context: RunContext) -> tuple[ModelRecord, float] | None:
    """The model to go back to, and its pairwise accuracy on the human-ranked answers; None when none was measured.

    Only models whose weights are there count, and neither the base nor the SFT baseline, which have not learned to
    judge.
    """
    models = {model.name: model for model in context.state.models if model.name not in ("M0", "SFT")}
    models = {name: model for name, model in models.items() if context.method.kind(context.recipe, name) != "future"}
    found = watchdogs.best(await _accuracies(context, [name for name, model in models.items() if not model.removed]))
    return (models[found[0]], found[1]) if found else None


async def _watch(context: RunContext, figures: watchdogs.Figures) -> None:
    state = context.state
    found = watchdogs.alarms(state.stage, state.phase, figures, context.recipe.watchdogs)
    for name, value in figures.items():
        if value is not None:
            metrics.WATCHDOG.labels(name).set(value)
    await _tell(context, found)
    deciding = watchdogs.decide(found, await acknowledged(context.services.redis, context.run))
    if deciding:
        await _halt(context, deciding)
    measured = {name: value for name, value in figures.items() if value is not None}
    await context.progress(1, 1, f"{len(found)} alarms" if found else "", metrics=measured)


async def _tell(context: RunContext, found: list[Alarm]) -> None:
    """Each alarm once: in the log, the metrics, the events and last the run's record."""
    known = {alarm.key for alarm in context.state.alarms}
    new = [alarm for alarm in found if alarm.key not in known]
    for alarm in new:
        _log.warning(alarm.message, extra={"run": context.run, "watchdog": alarm.watchdog, "action": alarm.action})
        metrics.ALARMS.labels(alarm.watchdog, alarm.action).inc()
        await events.emit(context.services.redis, context.run, stage=alarm.stage, message=alarm.message)
    if new:
        await context.update(alarms=[*context.state.alarms, *new])


async def _halt(context: RunContext, deciding: list[Alarm]) -> None:
    """Raises RunHalted, for `rollback` once the best model is served again."""
    action = deciding[0].action
    why = "; ".join(alarm.message for alarm in deciding)
    onward = f"`selfreward resume {context.run}` goes on past this alarm"
    if action == "rollback":
        why = f"{await _go_back(context)} after {why}"
    elif action == "pause":
        why = f"paused by {why}"
    else:
        why = f"stopped by {why}"
    raise RunHalted(_ENDS_AS[action], deciding, f"{why}; {onward} (docs/watchdogs.md)")


async def _go_back(context: RunContext) -> str:
    """Serve the best model by the human-ranked answers; says which that is."""
    found = await best_judge(context)
    if found is None:
        raise RunFailed(
            f"run {context.run} is to roll back, but no model has judged human-ranked answers: look for failed "
            "evaluation prompts in the log, or announce a model yourself"
        )
    chosen, accuracy = found
    await serve(context, chosen)
    return (
        f"rolled back to {chosen.name} ({chosen.policy_version}), the best judge of the human-ranked answers "
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
