"""The background worker of every judge replica: it takes chunks of jobs and of batches from the queue and does them.

A chunk is one lane of its owner at the engine, as an interactive request is, and a replica works on just enough chunks
to keep its slots busy. So an interactive request gets one of the next few free slots, however large the jobs are. The
worker waits for an engine that is away. When a replica dies, another one takes over its chunks.
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
from selfreward.contracts.judging import JudgeResponse
from selfreward.redis.connection import retry_while_redis_is_away
from selfreward.redis.queue import Work, WorkQueue
from selfreward.server.background import cancel_and_wait
from selfreward.server.errors import ApiError
from services.judge.engine.engine import EngineRefused, EngineUnavailable
from services.judge.jobs.batches import PREFIX, BatchChunk, BatchStore
from services.judge.jobs.chunks import LIVE, QUEUE
from services.judge.jobs.lines import Answered, BatchLine, LineAnswerer, read_line, repeated_line
from services.judge.jobs.store import Chunk, JobStore
from services.judge.metrics import observe_judgments
from services.judge.service import JudgeService
from services.judge.verdicts.pointwise import judge_batch

_log = logging.getLogger(__name__)
_DELIVERIES = 5
_NO_DEAD_LETTERS = 1_000_000  # a chunk that cannot be judged fails its job, which says why, and is no dead letter
_HEARTBEAT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 30.0
_PIN_WAIT_SECONDS = 300.0


class JobWorker:
    """Judges chunks of jobs, and answers those of batches.

    `claim_seconds` is the silence after which another replica takes over a chunk.
    """

    def __init__(
        self,
        service: JudgeService,
        store: JobStore,
        batches: BatchStore,
        answerer: LineAnswerer,
        claim_seconds: float,
    ) -> None:
        self.service = service
        self.store = store
        self.batches = batches
        self.answerer = answerer
        self.claim_seconds = claim_seconds
        self.queue = WorkQueue(
            store.redis, QUEUE, claim_after_ms=int(claim_seconds * 1000), max_deliveries=_NO_DEAD_LETTERS
        )
        self.consumer = socket.gethostname()
        self.max_chunks = 1 + service.settings.judge_concurrency // store.chunk_size
        self._active: dict[asyncio.Task[None], Work] = {}
        self._away: bool | None = None  # not known yet

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work for the length of the `async with`."""
        task = asyncio.create_task(self._work())
        try:
            yield
        finally:
            await cancel_and_wait([task])

    async def _work(self) -> None:
        heartbeats = asyncio.create_task(self._send_heartbeats())
        try:
            while True:
                if len(self._active) >= self.max_chunks:
                    await asyncio.wait(self._active, return_when=asyncio.FIRST_COMPLETED)
                    continue
                for work in await self._take():
                    if any(work.entry_id == active.entry_id for active in self._active.values()):
                        continue  # a heartbeat was late, so the queue delivered again what this worker still works on
                    task = asyncio.create_task(self._attempt(work))
                    self._active[task] = work
                    task.add_done_callback(lambda done: self._active.pop(done, None))
        finally:
            await cancel_and_wait([heartbeats, *self._active])

    async def _take(self) -> list[Work]:
        """Take new chunks; none while Redis is away, so that the chunks in progress go on."""
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

    async def _send_heartbeats(self) -> None:
        """Keep the chunks in progress, and stop those whose job has ended."""
        while True:
            await asyncio.sleep(min(_HEARTBEAT_SECONDS, self.claim_seconds / 3))
            for task, work in list(self._active.items()):
                try:
                    await self._keep_or_stop(task, work)
                except (RedisError, OSError) as error:
                    _log.warning("the heartbeat of a chunk failed", extra={"error": str(error)})

    async def _keep_or_stop(self, task: asyncio.Task[None], work: Work) -> None:
        name = work.body["job"]
        state = await (self.batches if name.startswith(PREFIX) else self.store).state(name)
        if task.done():
            return
        if state not in LIVE:
            task.cancel()
            await self.queue.done(work)
        else:
            await self.queue.heartbeat(self.consumer, work)

    async def _attempt(self, work: Work) -> None:
        """Handle one chunk. After an unexpected error the queue delivers it again; the other chunks go on."""
        try:
            await self.handle(work)
        except Exception:
            _log.exception("a chunk failed", extra={"job": work.body["job"], "chunk": work.body["chunk"]})

    async def handle(self, work: Work) -> None:
        """Do one chunk and store its result, or fail its job."""
        job, chunk = str(work.body["job"]), int(work.body["chunk"])
        handle = self._handle_batch if job.startswith(PREFIX) else self._handle_job
        await handle(job, chunk, work.deliveries)
        await retry_while_redis_is_away(lambda: self.queue.done(work), "a finished chunk")

    async def _handle_job(self, job: str, chunk: int, deliveries: int) -> None:
        content = await retry_while_redis_is_away(lambda: self.store.begin(job, chunk), "a chunk")
        if content is not None and deliveries > _DELIVERIES:
            items = content.request.items
            tries = f"{_DELIVERIES} judges took items {items[0].id} to {items[-1].id} and none finished"
            await self._fail(job, f"{tries}: see the judges' logs")
        elif content is not None:
            try:
                judged = await self._judge_patiently(content, f"{job}-{chunk}")
            except (ApiError, EngineRefused, WrongPolicyVersion) as error:
                await self._fail(job, str(error))
            else:
                # Do not give the chunk back while Redis is full: it would be judged again, and at last fail its job.
                await retry_while_redis_is_away(lambda: self.store.store_result(job, chunk, judged), "a chunk's result")

    async def _handle_batch(self, batch: str, chunk: int, deliveries: int) -> None:
        content = await retry_while_redis_is_away(lambda: self.batches.begin(batch, chunk), "a chunk")
        if content is None:
            return
        if deliveries > _DELIVERIES:
            error = f"{_DELIVERIES} judges took lines from {content.start + 1} on and none finished: see their logs"
            await retry_while_redis_is_away(lambda: self.batches.end(batch, "failed", error), "a batch's failure")
            return
        lines = [read_line(line, content.endpoint) for line in content.lines]
        names = {content.start + at: line.name for at, line in enumerate(lines) if line.name is not None}
        repeated = await retry_while_redis_is_away(
            lambda: self.batches.repeated(batch, names, content.expires_at), "a chunk's ids"
        )
        answers = await asyncio.gather(
            *(
                self._answer(batch, content, content.start + at, line, content.start + at in repeated)
                for at, line in enumerate(lines)
            )
        )
        await retry_while_redis_is_away(
            lambda: self.batches.answered(batch, chunk, answers, content.expires_at), "a chunk's answers"
        )

    async def _answer(self, batch: str, chunk: BatchChunk, position: int, line: BatchLine, repeated: bool) -> Answered:
        if repeated and line.name is not None:
            return repeated_line(batch, position, line.name)
        return await self.answerer.answer(batch, position, line, chunk.owner, chunk.expires_at)

    async def _fail(self, job: str, error: str) -> None:
        await retry_while_redis_is_away(lambda: self.store.end(job, "failed", error), "a job's failure")

    async def _judge_patiently(self, chunk: Chunk, answer_id: str) -> JudgeResponse:
        """Judge a chunk. Waits while the engine is away, and 5 minutes for a pinned version that is not served.

        Takes engine slots in the turns of the job's owner, so a job costs other callers nothing. Raises ApiError,
        EngineRefused, or WrongPolicyVersion after that time.
        """
        started, waits = time.monotonic(), backoff(0.5, _LONGEST_WAIT_SECONDS)
        while True:
            try:
                rubric = self.service.rubric(chunk.request.rubric)
                jury = self.service.jury(rubric).for_request(chunk.owner, "off")
                judged = await judge_batch(jury, rubric, chunk.request, answer_id)
            except EngineUnavailable as error:
                _log.warning("a job waits for the engine", extra={"job": answer_id, "error": str(error)})
            except WrongPolicyVersion:
                if time.monotonic() - started > _PIN_WAIT_SECONDS:
                    raise
            else:
                observe_judgments(rubric.name, judged.data)
                return judged
            await asyncio.sleep(next(waits))
