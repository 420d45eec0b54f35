"""Have tasks done by the workers of all replicas, and wait until every one is accounted for."""

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice

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
    """Dead letters of a queue from now on, read incrementally."""

    def __init__(self, queue: WorkQueue) -> None:
        self.queue = queue
        self._last = "0-0"

    async def start(self) -> None:
        """Skip what is already there: an earlier attempt's failures are to be tried again."""
        newest = await self.queue.redis.xrevrange(self.queue.dead_stream, count=1)
        self._last = newest[0][0] if newest else "0-0"

    async def new(self) -> dict[str, str]:
        """Key and error of the letters since the last call."""
        found: dict[str, str] = {}
        while True:
            page = await self.queue.redis.xrange(self.queue.dead_stream, min=f"({self._last}", count=_DEAD_PAGE)
            for entry_id, fields in page:
                self._last = entry_id
                found[fields["key"]] = fields["error"]
            if len(page) < _DEAD_PAGE:
                return found


async def run_tasks(context: RunContext, tasks: Sequence[Task]) -> tuple[list[Rollout], dict[str, str]]:
    """Results in the order of the tasks, and the errors of those that failed for good, by key.

    Tasks with a result are not done again, so a restarted phase goes on where it was. Raises RunStopped, and RunFailed
    when more than the tolerated share of the tasks failed.
    """
    services, settings = context.services, context.services.settings
    queue = WorkQueue(services.redis, QUEUE, limit=settings.backlog)
    results = Results(services.redis, context.run, context.state.stage, context.state.phase)
    bodies = {task.key: task for task in tasks}
    letters, failed = DeadLetters(queue), dict[str, str]()
    await letters.start()
    waiting = deque(await results.missing(bodies))
    shown, idle = -1, 0.0
    while True:
        await context.check()
        await _top_up(queue, waiting, bodies)
        done = await results.count()
        failed |= {key: error for key, error in (await letters.new()).items() if key in bodies}
        if len(failed) > settings.tolerated_failures * len(tasks):
            raise RunFailed(_explain(failed, len(tasks)))
        if done != shown:
            await context.progress(done, len(tasks), f"{len(failed)} failed" if failed else "")
            shown, idle = done, 0.0
        if done + len(failed) >= len(tasks):
            missing = [key for key in await results.missing(bodies) if key not in failed]
            if not missing:
                break
        elif idle > 5 and not waiting and not await queue.length():
            # A worker may drop a run's prompts while it still believes the run to be stopped; Redis may lose data.
            waiting.extend(key for key in await results.missing(bodies) if key not in failed)
            idle = 0.0
        await asyncio.sleep(settings.poll_s)
        idle += settings.poll_s
    return [rollout async for rollout in results.read(list(bodies))], failed


def current_model(context: RunContext) -> ModelRecord:
    """The stage's own model once it is trained, else the one before it: the policy that is or will be served."""
    if not context.state.models:
        raise RunFailed(f"run {context.run} has no model before stage {context.state.stage}: its record is damaged")
    return context.state.models[-1]


def model_of_stage(context: RunContext, stage: str) -> ModelRecord:
    """The model that a stage has made."""
    for model in context.state.models:
        if model.name == stage:
            return model
    raise RunFailed(f"run {context.run} has no model {stage}: its record is damaged")


async def ask_workers(context: RunContext) -> None:
    """A phase whose work is the workers': the method says what they are asked, by which model, and where it is kept."""
    run, recipe, stage, phase = context.run, context.recipe, context.state.stage, context.state.phase
    method = context.method
    model = model_of_stage(context, method.actor(recipe, stage, phase))
    await serve(context, model)
    tasks = method.tasks(run, recipe, stage, phase, model.policy_version, await context.inputs(phase))
    done = await run_all(context, tasks)
    await context.write_rows(*method.results(run, stage, phase, done))
    figures = method.figures(phase, done)
    if figures:
        await context.progress(len(done), len(done), metrics=figures)


async def run_all(context: RunContext, tasks: list[Task]) -> list[Rollout]:
    """Results of the tasks; those given up are written down with the reason, so that none is missing unexplained."""
    done, failed = await run_tasks(context, tasks)
    answered = {rollout.key for rollout in done}
    rows = [
        {"key": task.key, "part": task.part, "prompt_id": task.prompt_id, "error": failed[task.key]}
        for task in tasks
        if task.key not in answered
    ]
    await context.write_rows(paths.failures(context.run, context.state.stage, context.state.phase), rows)
    return done


async def _top_up(queue: WorkQueue, waiting: deque[str], bodies: dict[str, Task]) -> None:
    """Queue as many of the waiting tasks as there is room for: a backlog of any size must not fill Redis."""
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
