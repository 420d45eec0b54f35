"""A cache in Redis of what the engine said, by key; `lookup.py` knows what the keys are.

Redis away means that nothing is found and nothing is kept, at no cost to the caller.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Literal, NamedTuple

from redis.exceptions import RedisError

from selfreward.contracts.base import content_key, is_policy_version
from selfreward.redis.connection import RedisClient
from services.judge.metrics import CACHE
from services.judge.serving.errors import invalid_fields

_PREFIX = "selfreward:judge:answer:"
_RETRY_AFTER = 10.0
_log = logging.getLogger(__name__)


class AnswerCache:
    """Content by key. Reads of one moment go to Redis together; writes are done in the background."""

    def __init__(self, redis: RedisClient, seconds: int) -> None:
        self._redis = redis
        self._seconds = seconds
        self._wanted: dict[str, list[asyncio.Future[bytes | None]]] = {}
        self._unwritten: dict[str, bytes] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing = False
        self._lost = False
        self._away_until = 0.0

    @property
    def away(self) -> bool:
        """Redis failed a moment ago and is left alone."""
        return time.monotonic() < self._away_until

    async def get(self, key: str) -> bytes | None:
        """What is kept under the key; None when nothing is, or when Redis is away."""
        if self.away:
            return None
        found: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        if not self._wanted:
            self._start(self._read())
        self._wanted.setdefault(key, []).append(found)
        return await found

    async def _read(self) -> None:
        # This task runs after all that asked in the same turn of the loop, so a batch of items is one command.
        wanted, self._wanted = self._wanted, {}
        values: list[bytes | None] = [None] * len(wanted)
        try:
            values = await self._redis.mget([_PREFIX + key for key in wanted])
            self._returned()
        except (RedisError, OSError) as error:
            self._failed(error)
        for value, waiting in zip(values, wanted.values(), strict=True):
            for found in waiting:
                if not found.done():
                    found.set_result(None if value is None else zlib.decompress(value))

    def put(self, key: str, content: bytes) -> None:
        """Keep the content under the key, soon."""
        if self.away:
            return
        self._unwritten[key] = zlib.compress(content, 1)
        if not self._writing:
            self._writing = True
            self._start(self._write())

    async def _write(self) -> None:
        try:
            while self._unwritten:
                batch, self._unwritten = self._unwritten, {}
                pipeline = self._redis.pipeline(transaction=False)
                for key, value in batch.items():
                    pipeline.set(_PREFIX + key, value, ex=self._seconds)
                await pipeline.execute()
                self._returned()
        except (RedisError, OSError) as error:
            self._unwritten.clear()
            self._failed(error)
        finally:
            self._writing = False

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _failed(self, error: Exception) -> None:
        if not self._lost:
            _log.warning("result cache is away, judging goes on without it", extra={"reason": repr(error)})
        self._lost = True
        self._away_until = time.monotonic() + _RETRY_AFTER

    def _returned(self) -> None:
        if self._lost:
            _log.info("result cache is back")
        self._lost = False

    async def close(self) -> None:
        """Finish what is being written, and disconnect."""
        await asyncio.gather(*self._tasks)
        await self._redis.aclose()


CACHE_HEADER = "x-selfreward-cache"


Mode = Literal["use", "refresh", "off"]


class Cached(NamedTuple):
    """An engine's answer, as it gave it, and the policy version that gave it."""

    content: bytes
    version: str


def cache_mode(headers: Mapping[str, str]) -> Mode | None:
    """What `X-Selfreward-Cache` asks for; None without it. Raises ApiError (422)."""
    given = headers.get(CACHE_HEADER)
    match given:
        case None | "use" | "refresh" | "off":
            return given
    raise invalid_fields(
        [("X-Selfreward-Cache", f"X-Selfreward-Cache = {given!r}: write use, refresh or off, or leave it out")]
    )


class Lookup:
    """The cache as one request uses it. `current` asks the engine for the version that it serves now.

    It is asked once for each request that does not pin a version: a remembered version could be the one before.
    """

    def __init__(self, cache: AnswerCache, mode: Mode | None, current: Callable[[], Awaitable[str | None]]) -> None:
        self._cache = cache
        self._mode = mode
        self._current = current
        self._version: str | None = None
        self._asking = asyncio.Lock()

    async def find(self, question: Mapping[str, Any]) -> Cached | None:
        """The kept answer to an engine request, by the version that it pins or else by the current one."""
        mode = self._mode_of(question)
        if mode == "off":
            return None
        if mode == "refresh":
            CACHE.labels("refresh").inc()
            return None
        version = await self._version_of(question["model"])
        if not version:
            CACHE.labels("unversioned").inc()
            return None
        content = await self._cache.get(_key(version, question))
        if content is None:
            CACHE.labels("unavailable" if self._cache.away else "miss").inc()
            return None
        CACHE.labels("hit").inc()
        return Cached(content, version)

    def keep(self, question: Mapping[str, Any], version: str, content: bytes) -> None:
        """Keep the engine's answer. An engine that names no version is not remembered: its model may change."""
        if version != self._version:
            self.forget_version()
        if self._mode_of(question) != "off" and is_policy_version(version):
            self._cache.put(_key(version, question), content)

    def forget_version(self) -> None:
        """The engine has moved on: ask it again."""
        self._version = None

    def _mode_of(self, question: Mapping[str, Any]) -> Mode:
        return self._mode or ("use" if "seed" in question else "off")

    async def _version_of(self, model: str) -> str:
        if is_policy_version(model):
            return model
        async with self._asking:
            if self._version is None:
                self._version = await self._current() or ""
            return self._version


def _key(version: str, question: Mapping[str, Any]) -> str:
    return content_key(version, {name: value for name, value in question.items() if name != "model"})
