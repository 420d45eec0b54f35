"""Run tasks on the workers of all replicas, and wait until every task has a result or has failed."""

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice
from statistics import fmean

from orchestrator.phases.serving import serve
from orchestrator.runs.context import RunContext
from orchestrator.runs.errors import RunFailed
from orchestrator.runs.results import Results
from selfreward.contracts.rollouts import Rollout
from selfreward.loop import paths
from selfreward.loop.record import ModelRecord
from selfreward.loop.tasks import QUEUE, Task
from selfreward.redis.queue import WorkQueue

_DEAD_PAGE = 500
_AT_ONCE = 200


class DeadLetters:
    """Reads new dead letters of a queue incrementally."""

    def __init__(self, queue: WorkQueue) -> None:
        self.queue = queue
        self._last = "0-0"

    async def start(self) -> None:
        """Skip the existing letters, since the failures of an earlier attempt are tried again."""
        newest = await self.queue.redis.xrevrange(self.queue.dead_stream, count=1)
        self._last = newest[0][0] if newest else "0-0"

    async def new(self) -> dict[str, str]:
        """Errors by key of the letters since the last call."""
        errors: dict[str, str] = {}
        while True:
            page = await self.queue.redis.xrange(self.queue.dead_stream, min=f"({self._last}", count=_DEAD_PAGE)
            for entry_id, fields in page:
                self._last = entry_id
                errors[fields["key"]] = fields["error"]
            if len(page) < _DEAD_PAGE:
                return errors


class Scores:
    """Mean score and unscored share of the results so far, for those who follow the run."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._unread = deque(keys)
        self._scores: list[float] = []
        self._unscored = 0

    async def read(self, results: Results) -> dict[str, float]:
        """The figures, in rubric points and from 0 to 1, with at most 200 more results read; none before a judgment."""
        looked_for = [self._unread.popleft() for _ in range(min(_AT_ONCE, len(self._unread)))]
        read = {rollout.key: rollout async for rollout in results.read(looked_for)}
        self._unread.extend(key for key in looked_for if key not in read)
        for rollout in read.values():
            scores = [judgment.score for judgment in rollout.judgments]
            self._scores += [score for score in scores if score is not None]
            self._unscored += scores.count(None)
        judged = len(self._scores) + self._unscored
        figures = {"unscored": self._unscored / judged} if judged else {}
        return figures | ({"mean_score": fmean(self._scores)} if self._scores else {})


async def run_tasks(context: RunContext, tasks: Sequence[Task]) -> tuple[list[Rollout], dict[str, str]]:
    """Results in the order of the tasks, and the errors of the tasks that failed for good, by key.

    Tasks with a result are not repeated, so a restarted phase continues. Raises RunStopped, and RunFailed if more than
    the tolerated share of the tasks failed.
    """
    services, settings = context.services, context.services.settings
    queue = WorkQueue(services.redis, QUEUE, limit=settings.backlog)
    results = Results(services.redis, context.run, context.state.stage, context.state.phase)
    bodies = {task.key: task for task in tasks}
    letters, failed = DeadLetters(queue), dict[str, str]()
    await letters.start()
    waiting = deque(await results.missing(bodies))
    scores = Scores(list(bodies))
    reported, idle = -1, 0.0
    while True:
        # Fill the queue, and count results and failures.
        await context.check()
        await _top_up(queue, waiting, bodies)
        done = await results.count()
        failed |= {key: error for key, error in (await letters.new()).items() if key in bodies}
        if len(failed) > settings.tolerated_failures * len(tasks):
            raise RunFailed(_explain(failed, len(tasks)))
        if done != reported:
            note = f"{len(failed)} failed" if failed else ""
            await context.progress(done, len(tasks), note, await scores.read(results))
            reported, idle = done, 0.0
        # Finish, or queue lost tasks again.
        if done + len(failed) >= len(tasks):
            missing = [key for key in await results.missing(bodies) if key not in failed]
            if not missing:
                break
        elif idle > 5 and not waiting and not await queue.length():
            # A worker drops tasks while it still considers the run stopped, and Redis may lose data.
            waiting.extend(key for key in await results.missing(bodies) if key not in failed)
            idle = 0.0
        await asyncio.sleep(settings.poll_s)
        idle += settings.poll_s
    return [rollout async for rollout in results.read(list(bodies))], failed


def current_model(context: RunContext) -> ModelRecord:
    """The newest model of the run: the stage's own once it is trained, else the previous one."""
    if not context.state.models:
        raise RunFailed(f"run {context.run} has no model before stage {context.state.stage}: its record is damaged")
    return context.state.models[-1]


def model_of_stage(context: RunContext, stage: str) -> ModelRecord:
    """The model of a stage."""
    for model in context.state.models:
        if model.name == stage:
            return model
    raise RunFailed(f"run {context.run} has no model {stage}: its record is damaged")


async def ask_workers(context: RunContext) -> None:
    """A phase that runs on the workers. The method defines the tasks, the model and the artifact of the results."""
    run, recipe, stage, phase = context.run, context.recipe, context.state.stage, context.state.phase
    method = context.method
    model = model_of_stage(context, method.actor(recipe, stage, phase))
    await serve(context, model)
    tasks = method.tasks(run, recipe, stage, phase, model.policy_version, await context.inputs(phase))
    rollouts = await run_all(context, tasks)
    await context.write_rows(*method.results(run, stage, phase, rollouts))
    figures = method.figures(phase, rollouts)
    if figures:
        await context.progress(len(rollouts), len(rollouts), metrics=figures)


async def run_all(context: RunContext, tasks: list[Task]) -> list[Rollout]:
    """Results of the tasks. Failed tasks are written to an artifact with the reason, so every task is accounted for."""
    rollouts, failed = await run_tasks(context, tasks)
    answered = {rollout.key for rollout in rollouts}
    rows = [
        {"key": task.key, "part": task.part, "prompt_id": task.prompt_id, "error": failed[task.key]}
        for task in tasks
        if task.key not in answered
    ]
    await context.write_rows(paths.failures(context.run, context.state.stage, context.state.phase), rows)
    return rollouts


async def _top_up(queue: WorkQueue, waiting: deque[str], bodies: dict[str, Task]) -> None:
    """Queue as many waiting tasks as the backlog limit allows, so that a large phase does not fill Redis."""
    while waiting:
        part = [(key, bodies[key].model_dump(mode="json")) for key in islice(waiting, _AT_ONCE)]
        accepted = await queue.offer(part)
        for _ in range(accepted):
            waiting.popleft()
        if accepted < len(part):
            return


def _explain(failed: dict[str, str], total: int) -> str:
    key, error = next(iter(failed.items()))
    return f"{len(failed)} of {total} prompts failed, more than is tolerated; for example {key}: {error}"
