"""The result cache: engine replies in Redis, by key. `lookup.py` makes the keys.

While Redis is away nothing is found and nothing is stored, and the caller does not wait for it.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import Coroutine
from typing import Any

from redis.exceptions import RedisError

from selfreward.redis.connection import RedisClient

_PREFIX = "selfreward:judge:answer:"
_RETRY_SECONDS = 10.0
_log = logging.getLogger(__name__)


class ResultCache:
    """Content by key, kept for `seconds`. Batches concurrent reads into one command, and writes in the background."""

    def __init__(self, redis: RedisClient, seconds: int) -> None:
        self._redis = redis
        self._seconds = seconds
        self._reads: dict[str, list[asyncio.Future[bytes | None]]] = {}
        self._writes: dict[str, bytes] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing = False
        self._lost = False
        self._away_until = 0.0

    @property
    def away(self) -> bool:
        """Whether Redis failed in the last 10 s; until then nothing is sent to it."""
        return time.monotonic() < self._away_until

    async def get(self, key: str) -> bytes | None:
        """The content of the key; None when there is none, or when Redis is away."""
        if self.away:
            return None
        result: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        if not self._reads:
            self._start(self._read())
        self._reads.setdefault(key, []).append(result)
        return await result

    async def _read(self) -> None:
        # This task runs after all callers of the same turn of the event loop, so a batch of items is one command.
        reads, self._reads = self._reads, {}
        values: list[bytes | None] = [None] * len(reads)
        try:
            values = await self._redis.mget([_PREFIX + key for key in reads])
            self._note_success()
        except (RedisError, OSError) as error:
            self._note_failure(error)
        for value, results in zip(values, reads.values(), strict=True):
            for result in results:
                if not result.done():
                    result.set_result(None if value is None else zlib.decompress(value))

    def put(self, key: str, content: bytes) -> None:
        """Store the content under the key, in the background."""
        if self.away:
            return
        self._writes[key] = zlib.compress(content, 1)
        if not self._writing:
            self._writing = True
            self._start(self._write())

    async def _write(self) -> None:
        try:
            while self._writes:
                batch, self._writes = self._writes, {}
                pipeline = self._redis.pipeline(transaction=False)
                for key, value in batch.items():
                    pipeline.set(_PREFIX + key, value, ex=self._seconds)
                await pipeline.execute()
                self._note_success()
        except (RedisError, OSError) as error:
            self._writes.clear()
            self._note_failure(error)
        finally:
            self._writing = False

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _note_failure(self, error: Exception) -> None:
        if not self._lost:
            _log.warning("result cache is away, judging goes on without it", extra={"reason": repr(error)})
        self._lost = True
        self._away_until = time.monotonic() + _RETRY_SECONDS

    def _note_success(self) -> None:
        if self._lost:
            _log.info("result cache is back")
        self._lost = False

    async def close(self) -> None:
        """Finish the writes, and disconnect."""
        await asyncio.gather(*self._tasks)
        await self._redis.aclose()
