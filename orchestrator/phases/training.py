"""The phases `train` and `score`: submit a job to the trainer, and follow it to its end."""

import asyncio
import time

from orchestrator.phases.ask_workers import DeadLetters, model_of_stage
from orchestrator.phases.serving import serve
from orchestrator.runs.context import RunContext
from orchestrator.runs.errors import RunFailed
from selfreward.contracts.base import Message
from selfreward.contracts.training import TRAIN_QUEUE, TrainJob, TrainStatus, queue_of, status_key
from selfreward.loop import paths
from selfreward.loop.record import ModelRecord
from selfreward.redis.queue import WorkQueue

_POLLS_PER_LOOK = 10


async def train(context: RunContext) -> None:
    """Train the stage and record its checkpoint. Raises as `follow` does."""
    run, recipe, stage, method = context.run, context.recipe, context.state.stage, context.method
    judge = method.training_judge(recipe, stage)
    judging = model_of_stage(context, judge) if judge else None
    if judging:
        await serve(context, judging)
    version = judging.policy_version if judging else ""
    status = await follow(context, method.train_job(run, recipe, stage, await _canary(context), version))
    if status.digest is None:
        raise RunFailed(f"training {status.id} is done but reports no digest: look at the trainer's log")
    trained = ModelRecord(
        name=stage,
        policy_version="",
        artifact=paths.weights(run, stage),
        digest=status.digest,
        update_kept=status.metrics.get("update_kept"),
    )
    await context.update(models=[*context.other_models, trained])


async def score(context: RunContext) -> None:
    """Let the trainer compute the log-probabilities of the round's answers. Raises as `follow` does."""
    run, recipe, stage = context.run, context.recipe, context.state.stage
    await follow(context, context.method.score_job(run, recipe, stage, await _canary(context)))


async def follow(context: RunContext, job: TrainJob) -> TrainStatus:
    """Submit a job to the trainer, and return its final status.

    A job that is queued, running or done is followed, not started again. Raises RunFailed with the trainer's error, and
    RunStopped when the run is to stop; the job then goes on, and a resumed run uses its checkpoint.
    """
    redis, settings, jobs = context.services.redis, context.services.settings, context.services.trainer_jobs
    queue = WorkQueue(redis, queue_of(job.id) if jobs else TRAIN_QUEUE)
    await queue.open()
    letters = DeadLetters(queue)
    await letters.start()
    # Submit the job, unless an earlier leader did.
    status = await _status(context, job)
    if status is not None and status.state == "failed":
        # The failure is of an earlier attempt and must not be taken for the new attempt's.
        await redis.delete(status_key(job.id))
    if status is None or status.state != "done":
        await queue.put(job.id, job.model_dump(mode="json"))
        while jobs and not await asyncio.to_thread(jobs.clear, job):
            await context.check()
            await asyncio.sleep(_POLLS_PER_LOOK * settings.poll_s)
    # Follow it: the Kubernetes object if there is one, the trainer's status, and dead letters.
    reported: tuple[object, ...] = ()
    outcome, last_look = "", float("-inf")
    while True:
        await context.check()
        if jobs and time.monotonic() - last_look > _POLLS_PER_LOOK * settings.poll_s:
            outcome, last_look = await asyncio.to_thread(jobs.poll, job), time.monotonic()
        # The status is read after the object, so that an ended Job has its final status.
        status = await _status(context, job)
        if status is not None:
            await context.block(status.error or "" if status.state == "waiting" else "")
            if status.state == "failed":
                raise RunFailed(f"training {job.id} failed: {status.error}")
            if status.state == "done":
                await context.progress(status.total_steps or 1, status.total_steps or 1, metrics=status.metrics)
                return status
            if (status.state, status.step) != reported:
                reported = (status.state, status.step)
                await context.progress(status.step, status.total_steps, metrics=status.metrics)
        error = (await letters.new()).get(job.id)
        if error is not None:
            raise RunFailed(f"training {job.id} was given up: {error}")
        if outcome:
            raise RunFailed(f"training {job.id}: {outcome}")
        await asyncio.sleep(settings.poll_s)


async def _status(context: RunContext, job: TrainJob) -> TrainStatus | None:
    body = await context.services.redis.get(status_key(job.id))
    return TrainStatus.model_validate_json(body) if body else None


async def _canary(context: RunContext) -> list[Message]:
    heldout = await context.read_rows(paths.data(context.run, "heldout"))
    return [Message.model_validate(message) for message in heldout[0]["prompt"]]
