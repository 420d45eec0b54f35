"""Work in Redis that is cut into chunks of lines, and what came of each chunk: the ground of jobs and of batches.

A chunk is worked on at least once and its result is stored once, so judges may die and work may be delivered twice.
Every change is one atomic step. All keys of a piece of work expire some time after its last progress.

The queue is first in, first out. So it has only the next `AHEAD` chunks of each piece of work, and storing a result
queues one more: it waits for at most `AHEAD` chunks of everything before it, however large that is.
"""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

from selfreward.redis.connection import RedisClient
from selfreward.redis.queue import PREFIX, WorkQueue

QUEUE = "judge-jobs"
CHUNK_SIZE = 32
"""Items that are judged together: few, so that little is lost when a judge dies and other callers wait little."""
AHEAD = 32
"""Chunks that are queued or in progress. So many can be judged concurrently, and other work waits for them."""
LIVE = ("queued", "running")
"""States in which work still changes."""
MOST_INDEXED = 10_000
"""Pieces of work, or files, of one API key that a list may have. Older ones can still be requested by their id."""

# Drops the result of work that has ended or expired. Returns 1 when the result was stored.
_STORE = """
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'queued' and state ~= 'running' then return 0 end
if redis.call('HSETNX', KEYS[3], ARGV[1], ARGV[2]) == 0 then return 0 end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[4], ARGV[1], ARGV[3]) end
redis.call('HDEL', KEYS[2], ARGV[1])
for i = 7, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[1], 'state', 'running')
local seconds = ARGV[5]
if redis.call('HLEN', KEYS[3]) == tonumber(redis.call('HGET', KEYS[1], 'chunks')) then
  redis.call('HSET', KEYS[1], 'state', 'done', 'finished_at', ARGV[4])
  seconds = ARGV[6]
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, seconds) end
return 1
"""

_END = """
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'queued' and state ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'finished_at', ARGV[2], 'error', ARGV[3])
if ARGV[1] ~= 'expired' then redis.call('DEL', KEYS[2]) end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[4]) end
return 1
"""

_BEGIN = """
if redis.call('HGET', KEYS[1], 'state') == 'queued' then
  redis.call('HSET', KEYS[1], 'state', 'running', 'started_at', ARGV[1])
end
return redis.call('HGET', KEYS[1], 'state')
"""


class Keys(NamedTuple):
    """The keys of one piece of work: itself, its chunks without a result, their results, and lines that failed."""

    work: str
    chunks: str
    results: str
    errors: str


class ChunkStore:
    """All work of one `kind`, which names its keys. New work is cut into chunks of `chunk_size` lines."""

    kind: str

    def __init__(self, redis: RedisClient, keep_seconds: int, chunk_size: int = CHUNK_SIZE) -> None:
        self.redis = redis
        self.keep_seconds = keep_seconds
        self.chunk_size = chunk_size

    def keys(self, work_id: str) -> Keys:
        """The keys of a piece of work."""
        base = f"{PREFIX}:{self.kind}:{work_id}"
        return Keys(base, f"{base}:items", f"{base}:results", f"{base}:errors")

    def index(self, owner: str) -> str:
        """The key of an owner's work, sorted by the time of its creation."""
        return f"{PREFIX}:{self.kind}s-of:{owner}"

    async def fields(self, work_id: str, owner: str | None = None) -> dict[str, Any]:
        """The fields of a piece of work; empty when it does not exist, or has another owner (`owner` None: any)."""
        fields: dict[str, Any] = await self.redis.hgetall(self.keys(work_id).work)
        return fields if owner in (None, fields.get("owner")) else {}

    def add(self, steps: RedisClient, work_id: str, fields: Mapping[str, Any], seconds: int) -> None:
        """Add to a transaction: the work itself, whose chunks are added beside it, its first chunks in the queue."""
        keys, index = self.keys(work_id), self.index(fields["owner"])
        steps.hset(keys.work, mapping=fields)
        steps.zadd(index, {work_id: fields["created_at"]})
        steps.zremrangebyrank(index, 0, -MOST_INDEXED - 1)
        for key in (keys.work, keys.chunks, index):
            steps.expire(key, seconds)
        self._queue(steps, work_id, range(fields["chunks"])[:AHEAD])

    async def newest(self, owner: str, limit: int, after: str | None = None) -> list[tuple[str, dict[str, Any]]]:
        """Up to `limit` newest pieces of work of an owner with their fields, the newest first, older than `after`."""
        ids = await self.redis.zrange(self.index(owner), 0, -1, desc=True)
        found: list[tuple[str, dict[str, Any]]] = []
        for work_id in ids[ids.index(after) + 1 :] if after in ids else ids if after is None else []:
            if len(found) == limit:
                break
            fields = await self.fields(work_id, owner)
            if fields:
                found.append((work_id, fields))
        return found

    async def state(self, work_id: str) -> str | None:
        """Only the state; None when the work has expired."""
        state: str | None = await self.redis.hget(self.keys(work_id).work, "state")
        return state

    async def begin_chunk(self, work_id: str, chunk: int) -> tuple[dict[str, Any], str] | None:
        """The fields of the work and the lines of a chunk; None when it has a result already or the work has ended."""
        keys = self.keys(work_id)
        if await self.redis.eval(_BEGIN, 1, keys.work, time.time()) != "running":
            return None
        fields, lines = await self.redis.hgetall(keys.work), await self.redis.hget(keys.chunks, str(chunk))
        return (fields, lines) if fields and lines is not None else None

    async def keep_chunk(
        self, work_id: str, chunk: int, results: str, errors: str, counts: Mapping[str, int], seconds: int | None = None
    ) -> bool:
        """Store a chunk's result and queue the next chunk. False when it has one already or the work has ended.

        `counts` are added to the work's fields. The keys live for `seconds` from now while the work goes on.
        """
        keys = self.keys(work_id)
        owner, chunks, keep = await self.redis.hmget(keys.work, "owner", "chunks", "keep")
        kept = int(keep or self.keep_seconds)
        numbers = [part for count in counts.items() for part in count]
        values = [chunk, results, errors, time.time(), seconds or kept, kept, *numbers]
        # Both in one step, because a judge that dies between the two would stop the work. Where the result is not
        # stored, the next chunk is queued already, or nobody has to work on it any more.
        async with self.redis.pipeline(transaction=True) as steps:
            steps.eval(_STORE, len(keys) + 1, *keys, self.index(owner or ""), *values)
            self._queue(steps, work_id, range(int(chunks or 0))[chunk + AHEAD : chunk + AHEAD + 1])
            stored, *_ = await steps.execute()
        return bool(stored)

    async def end(self, work_id: str, state: str, error: str = "") -> bool:
        """Cancel work, let it fail or expire. False when it has ended already. Its results stay."""
        keys = self.keys(work_id)
        keep = await self.redis.hget(keys.work, "keep")
        values = state, time.time(), error, int(keep or self.keep_seconds)
        return bool(await self.redis.eval(_END, len(keys), *keys, *values))

    async def finished_chunks(self, work_id: str) -> list[int]:
        """The chunks that have a result, in order."""
        return sorted(int(chunk) for chunk in await self.redis.hkeys(self.keys(work_id).results))

    async def stored(self, key: str, chunks: Sequence[int]) -> AsyncIterator[str]:
        """Yield what a key has for each of the chunks, where it has something. One chunk is in memory."""
        for chunk in chunks:
            text = await self.redis.hget(key, str(chunk))
            if text:
                yield text

    def _queue(self, steps: RedisClient, work_id: str, chunks: range) -> None:
        items = [(f"{work_id}:{chunk}", {"job": work_id, "chunk": chunk}) for chunk in chunks]
        if items:
            WorkQueue(self.redis, QUEUE).put_within(steps, items)
