"""The worker: takes training jobs from the queue, one at a time, and runs each as a child process.

Delivery is at least once and every effect is idempotent: a job whose output is published is done at once, and a killed
job goes on from its last complete checkpoint. Training never waits for Redis; what comes before and after it does.
"""

import asyncio
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from redis.exceptions import RedisError

from selfreward.contracts.base import explain
from selfreward.contracts.training import TRAIN_QUEUE, TrainJob, TrainStatus, queue_of, status_key
from selfreward.processes.child import log_tail, start_child, stop_child
from selfreward.redis.connection import RedisClient, is_transient, retry_while_redis_is_away
from selfreward.redis.queue import Work, WorkQueue
from selfreward.server.disk import free_bytes, shortage
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import MANIFEST_NAME
from services.trainer import metrics
from services.trainer.settings import TrainerSettings
from services.trainer.worker.launch import job_command, job_environment, this_node
from services.trainer.worker.progress import PROGRESS_NAME, read_progress, write_spec

_ROOM_WAIT_SECONDS = 600.0
Reply = TypeVar("Reply")
_log = logging.getLogger(__name__)


class Worker:
    """One consumer of the queue `train`, or of a single job's own queue (`train_job`)."""

    def __init__(self, redis: RedisClient, store: ArtifactStore, settings: TrainerSettings) -> None:
        self._redis = redis
        self._store = store
        self._settings = settings
        self._name = settings.consumer_name
        queue = queue_of(settings.train_job) if settings.train_job else TRAIN_QUEUE
        # The worker counts attempts itself, so that the job's status says when they are used up.
        self.queue = WorkQueue(
            redis, queue, claim_after_ms=int(settings.claim_after_seconds * 1000), max_deliveries=1_000_000
        )
        self.last_turn = time.monotonic()
        """When the worker last showed that it is alive (`time.monotonic`)."""
        self.outcome: TrainStatus | None = None
        """How the single job of this worker ended."""
        self._beaten = float("-inf")

    async def run(self) -> None:
        """Work until cancelled, or to the end of the single job. Cancelling stops the child; others claim its job.

        On the first of several nodes `run` ends with the first attempt, successful or not: another attempt needs the
        other nodes, which have ended with it.

        Raises RedisError where waiting does not help: a wrong password, for example.
        """
        opened = False
        while True:
            self.last_turn = time.monotonic()
            try:
                if not opened:
                    await self.queue.open()
                    opened = True
                if self._settings.train_job and await self._ended(self._settings.train_job):
                    return
                for work in await self.queue.take(self._name):
                    await self._handle(work)
                    if self._settings.train_job and this_node().nodes > 1:
                        await self._ended(self._settings.train_job)
                        return
            except RedisError as error:
                if not is_transient(error):
                    raise
                opened = False
                _log.warning("Redis is away: %s", error)
                await asyncio.sleep(1)

    async def _ended(self, job_id: str) -> bool:
        """Whether a job has ended and its queue is empty."""
        status = await self.status(job_id)
        if status is None or status.state not in ("done", "failed") or await self.queue.length():
            return False
        self.outcome = status
        return True

    async def _handle(self, work: Work) -> None:
        try:
            job = TrainJob.model_validate(work.body)
        except ValidationError as error:
            await self._fail(work, None, f"the job is not valid:\n{explain(error)}")
            return
        try:
            metrics.BUSY.set(1)
            await self._attempt(work, job)
        except RedisError:
            raise
        except Exception as error:
            _log.exception("the attempt at a job failed", extra={"job": job.id})
            await self._retry(work, job, f"ended with {type(error).__name__}: {error}")
        finally:
            metrics.BUSY.set(0)

    async def _attempt(self, work: Work, job: TrainJob) -> None:
        if await asyncio.to_thread(self._store.exists, job.output):
            digest = await asyncio.to_thread(self._digest, job)
            uri = f"{self._store.root}/{job.output}"
            await self._succeed(work, job, TrainStatus(id=job.id, state="done", uri=uri, digest=digest))
        elif work.deliveries > self._settings.max_attempts:
            last = await self._while_redis_is_away(lambda: self.status(job.id), "a status")
            text = f"given up after {self._settings.max_attempts} attempts"
            await self._fail(work, job, f"{text}; {last.error}" if last and last.error else text)
        else:
            await self._train(work, job)

    async def _train(self, work: Work, job: TrainJob) -> None:
        """Run the job as a child, and in the same attempt again each time that the disk runs full."""
        folder = self._settings.job_folder(job.id).resolve()
        log = folder / "job.log"
        problem = self._shortage()
        while True:
            if problem:
                await self._wait_for_room(work, job, problem)
            # Run the child to its end.
            spec = await asyncio.to_thread(write_spec, folder, job)
            _log.info("job started", extra={"job": job.id, "method": job.method, "attempt": work.deliveries})
            await self._write_status(TrainStatus(id=job.id, state="running"))
            code = await self._run_child(work, job_command(job, spec), log, folder / PROGRESS_NAME)
            # Its last status and its exit status say what became of the job.
            status = read_progress(folder / PROGRESS_NAME)
            if status is not None and status.state == "done":
                return await self._succeed(work, job, status)
            if status is not None and status.state == "failed":
                return await self._fail(work, job, status.error or "refused")
            problem = self._shortage()
            if code == os.EX_IOERR:
                problem = problem or f"disk: {job.id} has no space left at {self._folders()}; free some"
            if not problem:
                return await self._retry(work, job, f"ended with status {code}; its log ends:\n{log_tail(log)}")

    async def _wait_for_room(self, work: Work, job: TrainJob, problem: str) -> None:
        """Hold the job until disk space is freed; after ten minutes the room of before will do, if it is enough."""
        _log.warning("job waits for disk space", extra={"job": job.id, "problem": problem})
        free, deadline = self._free(), time.monotonic() + _ROOM_WAIT_SECONDS
        await self._write_status(TrainStatus(id=job.id, state="waiting", error=problem))
        while self._shortage() or (self._free() <= free and time.monotonic() < deadline):
            self.last_turn = time.monotonic()
            await self._beat(work)
            await asyncio.sleep(self._settings.poll_seconds)

    def _shortage(self) -> str | None:
        return shortage(self._folders(), self._settings.min_free_disk)

    def _free(self) -> int:
        return sum(free_bytes(folder) for folder in self._folders())

    def _folders(self) -> list[Path]:
        return [self._settings.work_dir, *([Path(self._store.root)] if self._store.local else [])]

    async def _beat(self, work: Work) -> None:
        """Keep the job claimed, with three heartbeats in the claim time."""
        if time.monotonic() - self._beaten < self._settings.claim_after_seconds / 3:
            return
        try:
            await self.queue.heartbeat(self._name, work)
            self._beaten = time.monotonic()
        except RedisError as error:
            _log.warning("the job goes on while Redis is away: %s", error)

    async def _run_child(self, work: Work, command: list[str], log: Path, progress: Path) -> int:
        """Run the child to its end, with the job claimed and its progress in Redis; returns the exit status."""
        child = start_child(command, log, job_environment())
        shown: TrainStatus | None = None
        try:
            while child.poll() is None:
                self.last_turn = time.monotonic()
                status = read_progress(progress)
                await self._beat(work)
                try:
                    if status is not None and status.state == "running" and status != shown:
                        await self._set_status(status)
                        shown = status
                except RedisError as error:
                    _log.warning("training goes on while Redis is away: %s", error)
                await asyncio.sleep(self._settings.poll_seconds)
        finally:
            # Blocking on purpose: the loop may be closing, and the child must not outlive it.
            stop_child(child, self._settings.stop_seconds)
        return child.returncode

    async def _succeed(self, work: Work, job: TrainJob, status: TrainStatus) -> None:
        # An attempt that was killed after publishing has left its checkpoints, which nothing needs any more.
        checkpoints = self._settings.job_folder(job.id) / "checkpoints"
        await asyncio.to_thread(shutil.rmtree, checkpoints, ignore_errors=True)
        await self._write_status(status)
        await self._while_redis_is_away(lambda: self.queue.done(work), "a finished job")
        metrics.JOBS.labels(job.method, "done").inc()
        metrics.JOB_SECONDS.labels(job.method).observe(status.seconds)
        _log.info("job done", extra={"job": job.id, "digest": status.digest, "seconds": round(status.seconds, 1)})

    async def _retry(self, work: Work, job: TrainJob, error: str) -> None:
        if work.deliveries >= self._settings.max_attempts:
            await self._fail(work, job, f"failed {work.deliveries} times, at last it {error}")
            return
        _log.warning("job will be tried again", extra={"job": job.id, "error": error})
        metrics.JOBS.labels(job.method, "retried").inc()
        await self._write_status(TrainStatus(id=job.id, state="queued", error=f"attempt {work.deliveries} {error}"))
        await self._while_redis_is_away(lambda: self.queue.failed(work, error), "a failure")

    async def _fail(self, work: Work, job: TrainJob | None, error: str) -> None:
        _log.error("job failed", extra={"job": work.key, "error": error})
        metrics.JOBS.labels(job.method if job else "unknown", "failed").inc()
        await self._write_status(TrainStatus(id=job.id if job else work.key, state="failed", error=error))
        await self._while_redis_is_away(lambda: self.queue.dead_letter(work, error), "a dead letter")

    async def status(self, job_id: str) -> TrainStatus | None:
        """The status of a job in Redis."""
        return await read_status(self._redis, job_id)

    async def _write_status(self, status: TrainStatus) -> None:
        await self._while_redis_is_away(lambda: self._set_status(status), "a status")

    async def _set_status(self, status: TrainStatus) -> None:
        metrics.show(status)
        await self._redis.set(status_key(status.id), status.model_dump_json())

    async def _while_redis_is_away(self, call: Callable[[], Awaitable[Reply]], what: str) -> Reply:
        """Repeat a call while Redis is away or full, and stay healthy meanwhile: no training is lost to an outage."""

        async def call_alive() -> Reply:
            self.last_turn = time.monotonic()
            return await call()

        return await retry_while_redis_is_away(call_alive, what)

    def _digest(self, job: TrainJob) -> str:
        name = job.output if job.method == "logprobs" else f"{job.output}/{MANIFEST_NAME}"
        return hashlib.sha256(self._store.read_bytes(name)).hexdigest()


async def read_status(redis: RedisClient, job_id: str) -> TrainStatus | None:
    """The status of a job in Redis; None before its first attempt."""
    body = await redis.get(status_key(job_id))
    return TrainStatus.model_validate_json(body) if body else None
