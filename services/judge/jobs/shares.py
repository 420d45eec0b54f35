"""What one API key keeps in Redis: its unfinished jobs and batches and its files, by number and by bytes.

The orchestrator's runs are in the same Redis, so no key may fill it.
"""

import time
from typing import NamedTuple

from selfreward.redis.connection import RedisClient
from selfreward.redis.queue import PREFIX
from selfreward.server.errors import ApiError
from services.judge.jobs.chunks import LIVE

_KEPT_SECONDS = 31 * 86_400
# A record that was noted and is not there yet is being written.
_WRITTEN_WITHIN = 600.0


class Bound(NamedTuple):
    """The most of one key."""

    works: int
    bytes: int


class Shares:
    """Notes by key which records there are. A job or batch counts until it has ended, a file until it is gone.

    Two callers at the same moment may both get the last place.
    """

    def __init__(self, redis: RedisClient, bound: Bound) -> None:
        self._redis = redis
        self._bound = bound

    async def admit(self, owner: str, record: str, size: int) -> None:
        """Note a record of `size` bytes, whose Redis key is `record`. Raises ApiError (429) beyond the bound.

        A record that is noted already stays as it is, so that a repeated request is no second one.
        """
        kept = await self._kept(owner)
        if record in kept:
            return
        works, stored = len(kept) + 1, sum(kept.values()) + size
        if works > self._bound.works:
            message = (
                f"this key has {len(kept)} unfinished jobs, batches and files, the most is {self._bound.works}: wait "
                "until one ends, cancel or delete one, or raise SELFREWARD_JUDGE_KEY_WORKS"
            )
            raise ApiError(429, message, code="too_many_jobs")
        if stored > self._bound.bytes:
            message = (
                f"this key's unfinished jobs, batches and files would have {stored} bytes, the most is "
                f"{self._bound.bytes}: wait until one ends, cancel or delete one, or raise SELFREWARD_JUDGE_KEY_BYTES"
            )
            raise ApiError(429, message, code="too_many_job_bytes")
        await self._redis.hset(_key(owner), record, f"{size}:{time.time():.0f}")
        await self._redis.expire(_key(owner), _KEPT_SECONDS)

    async def forget(self, owner: str, record: str) -> None:
        """Note that a record is gone, or was not made after all."""
        await self._redis.hdel(_key(owner), record)

    async def _kept(self, owner: str) -> dict[str, int]:
        """Bytes of each record that counts; those that have ended or expired are forgotten here."""
        noted: dict[str, str] = await self._redis.hgetall(_key(owner))
        async with self._redis.pipeline(transaction=False) as steps:
            for record in noted:
                steps.hmget(record, "state", "owner")
            found = await steps.execute() if noted else []
        kept, gone = {}, []
        for (record, value), (state, made_by) in zip(noted.items(), found, strict=True):
            size, _, since = value.partition(":")
            waits = made_by is None and time.time() - float(since) < _WRITTEN_WITHIN
            if waits or (made_by is not None and state in (None, *LIVE)):
                kept[record] = int(size)
            else:
                gone.append(record)
        if gone:
            await self._redis.hdel(_key(owner), *gone)
        return kept


def _key(owner: str) -> str:
    return f"{PREFIX}:judge-share-of:{owner}"
