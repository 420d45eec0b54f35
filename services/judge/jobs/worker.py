"""Judge replicas drain the jobs themselves, in the background, each a few chunks at a time.

A chunk is one lane of its owner at the engine, as an interactive request is, and a replica has just enough of them in
hand to keep its slots busy: so an interactive request is next in turn within a few freed slots, however large the jobs
are. An engine that is away is waited for. What a replica has in hand when it dies is taken over by another one.
"""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.exceptions import RedisError

from selfreward.backoff import backoff, jittered
from selfreward.client.http import WrongPolicyVersion
from selfreward.contracts.judge_jobs import ENDED
from selfreward.contracts.judging import JudgeResponse
from selfreward.redis.connection import retry_while_redis_is_away
from selfreward.redis.queue import Work, WorkQueue
from selfreward.server.background import cancel_and_wait
from selfreward.server.errors import ApiError
from services.judge.engine.engine import EngineUnavailable
from services.judge.jobs.store import QUEUE, Chunk, JobStore
from services.judge.metrics import observe_judgments
from services.judge.service import JudgeService
from services.judge.verdicts.pointwise import judge_batch

_log = logging.getLogger(__name__)
_DELIVERIES = 5
_NO_DEAD_LETTERS = 1_000_000  # a chunk that cannot be judged fails its job, which says why; a dead letter would not
_LOOK_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 30.0
_PIN_WAIT_SECONDS = 300.0


class JobWorker:
    """`claim_seconds` is the silence after which another replica takes over a chunk."""

    def __init__(self, service: JudgeService, store: JobStore, claim_seconds: float) -> None:
        self.service = service
        self.store = store
        self.claim_seconds = claim_seconds
        self.queue = WorkQueue(
            store.redis, QUEUE, claim_after_ms=int(claim_seconds * 1000), max_deliveries=_NO_DEAD_LETTERS
        )
        self.consumer = socket.gethostname()
        self.at_once = 1 + service.settings.judge_concurrency // store.chunk
        self._active: dict[asyncio.Task[None], Work] = {}
        self._away: bool | None = None  # not known yet

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Drain for the length of the `async with`."""
        task = asyncio.create_task(self._drain())
        try:
            yield
        finally:
            await cancel_and_wait([task])

    async def _drain(self) -> None:
        looking = asyncio.create_task(self._look_after())
        try:
            while True:
                if len(self._active) >= self.at_once:
                    await asyncio.wait(self._active, return_when=asyncio.FIRST_COMPLETED)
                    continue
                for work in await self._take():
                    if any(work.entry_id == held.entry_id for held in self._active.values()):
                        continue  # a heartbeat was late, and the queue took it for abandoned: it is still in hand
                    task = asyncio.create_task(self._attempt(work))
                    self._active[task] = work
                    task.add_done_callback(lambda done: self._active.pop(done, None))
        finally:
            await cancel_and_wait([looking, *self._active])

    async def _take(self) -> list[Work]:
        """New chunks; none while Redis is away, so that its absence does not cost the chunks in hand."""
        try:
            if self._away is not False:
                await self.queue.open()
                self._away = False
            return await self.queue.take(self.consumer, block_ms=1000)
        except (RedisError, OSError) as error:
            if not self._away:
                _log.warning("Redis is away, jobs wait for it", extra={"error": str(error)})
            self._away = True
            await asyncio.sleep(jittered(2.0))
            return []

    async def _look_after(self) -> None:
        """Hold on to the chunks in hand, and let go of those whose job has ended."""
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, self.claim_seconds / 3))
            for task, work in list(self._active.items()):
                try:
                    await self._look_at(task, work)
                except (RedisError, OSError) as error:
                    _log.warning("a chunk could not be held on to", extra={"error": str(error)})

    async def _look_at(self, task: asyncio.Task[None], work: Work) -> None:
        state = await self.store.state(work.body["job"])
        if task.done():
            return
        if state is None or state in ENDED:
            task.cancel()
            await self.queue.done(work)
        else:
            await self.queue.heartbeat(self.consumer, work)

    async def _attempt(self, work: Work) -> None:
        """Do one chunk. What goes wrong outside of it must not end the others: the queue delivers it again."""
        try:
            await self.handle(work)
        except Exception:
            _log.exception("a chunk failed", extra={"job": work.body["job"], "chunk": work.body["chunk"]})

    async def handle(self, work: Work) -> None:
        """Judge one chunk and store its result, or fail its job."""
        job, chunk = str(work.body["job"]), int(work.body["chunk"])
        wanted = await retry_while_redis_is_away(lambda: self.store.begin(job, chunk), "a chunk")
        if wanted is not None and work.deliveries > _DELIVERIES:
            items = wanted.request.items
            tries = f"{_DELIVERIES} judges took items {items[0].id} to {items[-1].id} and none finished"
            await self._fail(job, f"{tries}: see the judges' logs")
        elif wanted is not None:
            try:
                judged = await self._patiently(wanted, f"{job}-{chunk}")
            except (ApiError, WrongPolicyVersion) as error:
                await self._fail(job, str(error))
            else:
                # A chunk given back because Redis is full would be judged again, and after a few times fail its job.
                await retry_while_redis_is_away(lambda: self.store.store(job, chunk, judged), "a chunk's result")
        await retry_while_redis_is_away(lambda: self.queue.done(work), "a finished chunk")

    async def _fail(self, job: str, error: str) -> None:
        await retry_while_redis_is_away(lambda: self.store.end(job, "failed", error), "a job's failure")

    async def _patiently(self, wanted: Chunk, answer_id: str) -> JudgeResponse:
        """Judge, and wait for an engine that is away, and for some time for a version that is not served.

        The engine's slots are taken in the turns of the job's owner, so that a job costs other callers nothing.
        """
        started, waits = time.monotonic(), backoff(0.5, _LONGEST_WAIT_SECONDS)
        engine = self.service.engine.for_request(wanted.owner, "off")
        while True:
            try:
                rubric = self.service.rubric(wanted.request.rubric)
                judged = await judge_batch(engine, rubric, wanted.request, answer_id)
            except EngineUnavailable as error:
                _log.warning("a job waits for the engine", extra={"job": answer_id, "error": str(error)})
            except WrongPolicyVersion:
                if time.monotonic() - started > _PIN_WAIT_SECONDS:
                    raise
            else:
                observe_judgments(rubric.name, judged.data)
                return judged
            await asyncio.sleep(next(waits))
