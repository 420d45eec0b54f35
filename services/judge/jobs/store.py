"""Jobs in Redis: the items to judge, cut into chunks, and the results, one for each chunk.

A chunk is judged at least once and its result is stored once, so judges may die and work may be delivered twice. Every
change of a job is one atomic step. All keys of a job expire `keep_seconds` after its last progress.

The queue is first in, first out. So it has only the next `AHEAD` chunks of a job, and storing a result queues one more:
a job waits for at most `AHEAD` chunks of every job before it, however large those jobs are.
"""

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from selfreward.contracts.judge_jobs import ENDED, MOST_LISTED, Job, JobResult, JobState
from selfreward.contracts.judging import JudgeItem, JudgeRequest, JudgeResponse
from selfreward.redis.connection import RedisClient
from selfreward.redis.queue import PREFIX, WorkQueue

QUEUE = "judge-jobs"
CHUNK_SIZE = 32
"""Items that are judged together: few, so that little is lost when a judge dies and other callers wait little."""
AHEAD = 32
"""Chunks of a job that are queued or in progress. So many can be judged concurrently, and other jobs wait for them."""
_ITEMS = TypeAdapter(list[JudgeItem])
_VERSION = "version:"

# Drops the result of a job that has ended or expired. Returns 1 when the result was stored.
_STORE = """
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'queued' and state ~= 'running' then return 0 end
if redis.call('HSETNX', KEYS[3], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[1], 'judged', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'unscored', ARGV[4])
redis.call('HINCRBY', KEYS[1], ARGV[5], ARGV[3])
redis.call('HSET', KEYS[1], 'state', 'running')
if redis.call('HLEN', KEYS[3]) == tonumber(redis.call('HGET', KEYS[1], 'chunks')) then
  redis.call('HSET', KEYS[1], 'state', 'done', 'finished_at', ARGV[6])
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[7]) end
return 1
"""

_END = """
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'queued' and state ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'finished_at', ARGV[2], 'error', ARGV[3])
redis.call('DEL', KEYS[2])
return 1
"""

_BEGIN = """
if redis.call('HGET', KEYS[1], 'state') == 'queued' then redis.call('HSET', KEYS[1], 'state', 'running') end
return redis.call('HGET', KEYS[1], 'state')
"""


class Chunk(NamedTuple):
    """A request with the items of one chunk, and the name of the API key that created the job."""

    request: JudgeRequest
    owner: str


class JobStore:
    """All jobs. Cuts new jobs into chunks of `chunk_size` items."""

    def __init__(self, redis: RedisClient, keep_seconds: int, chunk_size: int = CHUNK_SIZE) -> None:
        self.redis = redis
        self.keep_seconds = keep_seconds
        self.chunk_size = chunk_size

    async def create(self, job_id: str, rubric: str, request: JudgeRequest, owner: str) -> Job:
        """Store a job and queue its first chunks, in one step. Idempotent: an existing job of that id stays as it is.

        `owner` is the name of the API key that creates the job.
        """
        existing = await self.get(job_id)
        if existing is not None:
            return existing

        # The job itself, with the request but for its items.
        items = [
            item if item.id is not None else item.model_copy(update={"id": str(index)})
            for index, item in enumerate(request.items)
        ]
        starts = range(0, len(items), self.chunk_size)
        job = {
            "state": "queued",
            "owner": owner,
            "rubric": rubric,
            "request": request.model_copy(update={"rubric": rubric, "items": items[:1]}).model_dump_json(),
            "items": len(items),
            "chunk": self.chunk_size,
            "chunks": len(starts),
            "judged": 0,
            "unscored": 0,
            "created_at": time.time(),
        }

        # Its chunks, and its place in the owner's list.
        keys = _keys(job_id)
        async with self.redis.pipeline(transaction=True) as steps:
            steps.hset(keys[0], mapping=job)
            for index, start in enumerate(starts):
                steps.hset(keys[1], str(index), _ITEMS.dump_json(items[start : start + self.chunk_size]).decode())
            steps.zadd(_index(owner), {job_id: job["created_at"]})
            steps.zremrangebyrank(_index(owner), 0, -MOST_LISTED - 1)
            for key in (*keys[:2], _index(owner)):
                steps.expire(key, self.keep_seconds)
            self._queue(steps, job_id, range(len(starts))[:AHEAD])
            await steps.execute()
        return _job(job_id, job)

    async def get(self, job_id: str, owner: str | None = None) -> Job | None:
        """A job; None when it does not exist or has expired, or when it has another owner (`owner` None: any)."""
        fields = await self.redis.hgetall(_keys(job_id)[0])
        return _job(job_id, fields) if fields and owner in (None, fields.get("owner")) else None

    async def newest(self, owner: str, limit: int) -> list[Job]:
        """Up to `limit` newest jobs of an owner, the newest first, of its latest `MOST_LISTED`."""
        jobs: list[Job] = []
        for job_id in await self.redis.zrange(_index(owner), 0, -1, desc=True):
            job = await self.get(job_id, owner)
            if job is not None:
                jobs.append(job)
            if len(jobs) == limit:
                break
        return jobs

    async def state(self, job_id: str) -> JobState | None:
        """Only the state of a job; None when the job has expired."""
        state: JobState | None = await self.redis.hget(_keys(job_id)[0], "state")
        return state

    async def begin(self, job_id: str, chunk: int) -> Chunk | None:
        """The request for a chunk; None when the chunk has a result already or its job has ended."""
        keys = _keys(job_id)
        if await self.redis.eval(_BEGIN, 1, keys[0]) != "running":
            return None
        request, owner = await self.redis.hmget(keys[0], "request", "owner")
        items = await self.redis.hget(keys[1], str(chunk))
        if request is None or items is None:
            return None
        update = {"items": _ITEMS.validate_json(items)}
        return Chunk(JudgeRequest.model_validate_json(request).model_copy(update=update), owner or "")

    async def store_result(self, job_id: str, chunk: int, judged: JudgeResponse) -> bool:
        """Store a chunk's result and queue the job's next chunk. False when it has one already or its job has ended."""
        # The result as JSON lines, whose indices count through the job.
        size, owner, chunks = await self.redis.hmget(_keys(job_id)[0], "chunk", "owner", "chunks")
        keys, start = (*_keys(job_id), _index(owner or "")), chunk * int(size or 0)
        lines = [
            JobResult(
                **{**dict(judgment), "index": start + judgment.index}, judge_version=judged.judge_version
            ).model_dump_json()
            for judgment in judged.data
        ]
        values = (
            chunk,
            "".join(f"{line}\n" for line in lines),
            len(lines),
            sum(judgment.score is None for judgment in judged.data),
            f"{_VERSION}{judged.judge_version}",
            time.time(),
            self.keep_seconds,
        )

        # Both in one step, because a judge that dies between the two would stop the job. Where the result is not
        # stored, the next chunk is queued already, or nobody has to judge it any more.
        async with self.redis.pipeline(transaction=True) as steps:
            steps.eval(_STORE, len(keys), *keys, *values)
            self._queue(steps, job_id, range(int(chunks or 0))[chunk + AHEAD : chunk + AHEAD + 1])
            stored, *_ = await steps.execute()
        return bool(stored)

    def _queue(self, steps: RedisClient, job_id: str, chunks: range) -> None:
        items = [(f"{job_id}:{chunk}", {"job": job_id, "chunk": chunk}) for chunk in chunks]
        if items:
            WorkQueue(self.redis, QUEUE).put_within(steps, items)

    async def end(self, job_id: str, state: JobState, error: str = "") -> bool:
        """Cancel or fail a job. False when it has ended already. Its results stay."""
        keys = _keys(job_id)[:2]
        return bool(await self.redis.eval(_END, len(keys), *keys, state, time.time(), error))

    async def ready(self, job: Job) -> list[range]:
        """The items whose results can be read, as a range for each chunk, in order.

        While the job runs they end before the first chunk without a result.
        """
        keys = _keys(job.id)
        size = int(await self.redis.hget(keys[0], "chunk") or self.chunk_size)
        chunks = sorted(int(chunk) for chunk in await self.redis.hkeys(keys[2]))
        if job.state not in ENDED:
            chunks = [chunk for position, chunk in enumerate(chunks) if chunk == position]
        return [range(chunk * size, min((chunk + 1) * size, job.items)) for chunk in chunks]

    async def lines(self, job: Job, items: Sequence[range]) -> AsyncIterator[str]:
        """Yield the results of ranges of items as JSON lines. Each range is within a chunk; one chunk is in memory."""
        keys = _keys(job.id)
        size = int(await self.redis.hget(keys[0], "chunk") or self.chunk_size)
        for part in items:
            chunk = part.start // size
            stored = await self.redis.hget(keys[2], str(chunk))
            lines = (stored or "").split("\n")[part.start - chunk * size : part.stop - chunk * size]
            yield "".join(f"{line}\n" for line in lines)


def page(ready: Sequence[range], offset: int, limit: int | None) -> list[range]:
    """The ranges of `ready` from item `offset` on, with at most `limit` items."""
    parts, remaining = [], limit
    for items in ready:
        part = range(max(items.start, offset), items.stop)
        if remaining is not None:
            part = part[:remaining]
            remaining -= len(part)
        if part:
            parts.append(part)
    return parts


def _keys(job_id: str) -> tuple[str, str, str]:
    """The keys of the job itself, of its items without a result, and of its results."""
    base = f"{PREFIX}:judge-job:{job_id}"
    return base, f"{base}:items", f"{base}:results"


def _index(owner: str) -> str:
    """The key of an owner's jobs, sorted by the time of their creation."""
    return f"{PREFIX}:judge-jobs-of:{owner}"


def _job(job_id: str, fields: dict[str, Any]) -> Job:
    return Job.model_validate(
        {
            "id": job_id,
            **{name: fields[name] for name in ("state", "rubric", "items", "judged", "unscored", "created_at")},
            "judge_versions": {
                name.removeprefix(_VERSION): count for name, count in fields.items() if name.startswith(_VERSION)
            },
            "finished_at": fields.get("finished_at"),
            "error": fields.get("error") or None,
            "results": f"/v1/jobs/{job_id}/results",
        }
    )
