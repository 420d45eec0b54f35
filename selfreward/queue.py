"""At-least-once work queue on a Redis stream with a consumer group. Works on Redis 6.2 and later.

Effects must be idempotent by the item's key: work is redelivered when its consumer dies. `put` is idempotent per key
while the item is queued. Finished entries are deleted, so the stream's length is the true backlog; nothing pending is
ever trimmed. An entry delivered more than `max_deliveries` times goes to `<stream>:dead` with its last error.
"""

import json
import time
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from selfreward.redis_client import RedisClient

PREFIX = "selfreward"

_PUT = """
if redis.call('HSETNX', KEYS[2], ARGV[1], '1') == 0 then return 0 end
redis.call('XADD', KEYS[1], '*', 'key', ARGV[1], 'body', ARGV[2], 'queued_at', ARGV[3])
return 1
"""

_FINISH = """
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[3])
redis.call('HDEL', KEYS[4], ARGV[3])
if ARGV[4] ~= '' then
  redis.call('XADD', KEYS[3], '*', 'key', ARGV[3], 'body', ARGV[5], 'error', ARGV[4], 'deliveries', ARGV[6])
end
return 1
"""


@dataclass(frozen=True)
class Work:
    """One delivered item. `deliveries` counts this delivery: 1 the first time."""

    entry_id: str
    key: str
    body: dict[str, Any]
    deliveries: int


class WorkQueue:
    """One stream and one consumer group.

    `claim_after_ms` is how long an entry may stay silent before another consumer takes it over; call `heartbeat` more
    often than that during long work.
    """

    def __init__(
        self,
        redis: RedisClient,
        name: str,
        claim_after_ms: int = 60_000,
        max_deliveries: int = 5,
        group: str = "workers",
    ) -> None:
        self.redis = redis
        self.stream = f"{PREFIX}:{name}"
        self.dead_stream = f"{self.stream}:dead"
        self._known = f"{self.stream}:known"
        self._errors = f"{self.stream}:errors"
        self.group = group
        self.claim_after_ms = claim_after_ms
        self.max_deliveries = max_deliveries

    async def open(self) -> None:
        """Create stream and group when they are not there."""
        try:
            await self.redis.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def put(self, key: str, body: dict[str, Any]) -> bool:
        """Queue an item; False when an item of the same key is already waiting or in work."""
        queued = await self.redis.eval(_PUT, 2, self.stream, self._known, key, json.dumps(body), str(time.time()))
        return bool(queued)

    async def take(self, consumer: str, count: int = 1, block_ms: int = 1000) -> list[Work]:
        """Up to `count` items: first those abandoned by dead consumers, then new ones (waits `block_ms` for them).

        `consumer` must be stable over restarts of the same worker.
        """
        claimed = await self.redis.xautoclaim(
            self.stream, self.group, consumer, min_idle_time=self.claim_after_ms, start_id="0-0", count=count
        )
        works = [work for entry in claimed[1] if (work := await self._work(entry)) is not None]
        if len(works) < count:
            replies = await self.redis.xreadgroup(
                self.group, consumer, {self.stream: ">"}, count=count - len(works), block=None if works else block_ms
            )
            works += [_decode(entry, 1) for _, entries in replies or [] for entry in entries]
        return works

    async def _work(self, entry: tuple[str, dict[str, str] | None]) -> Work | None:
        """A claimed entry, or None when it was deleted meanwhile or delivered too often (then it is dead-lettered)."""
        entry_id, fields = entry
        if not fields:
            return None
        pending = await self.redis.xpending_range(self.stream, self.group, entry_id, entry_id, 1)
        work = _decode((entry_id, fields), pending[0]["times_delivered"] if pending else 1)
        if work.deliveries > self.max_deliveries:
            last = await self.redis.hget(self._errors, work.key)
            await self.dead_letter(work, last or f"no consumer finished it in {self.max_deliveries} deliveries")
            return None
        return work

    async def heartbeat(self, consumer: str, work: Work) -> None:
        """Tell the group that `work` is still in hand; does not count as a delivery."""
        await self.redis.xclaim(
            self.stream, self.group, consumer, min_idle_time=0, message_ids=[work.entry_id], justid=True
        )

    async def done(self, work: Work) -> None:
        """Acknowledge and forget an item whose effect is stored."""
        await self._finish(work, "")

    async def failed(self, work: Work, error: str) -> None:
        """Note the error. The item is redelivered after `claim_after_ms`, or dead-lettered after its last delivery."""
        if work.deliveries >= self.max_deliveries:
            await self.dead_letter(work, error)
        else:
            await self.redis.hset(self._errors, work.key, error)

    async def dead_letter(self, work: Work, error: str) -> None:
        """Move an item to the dead-letter stream with its error."""
        await self._finish(work, error)

    async def _finish(self, work: Work, error: str) -> None:
        keys = (self.stream, self._known, self.dead_stream, self._errors)
        values = (self.group, work.entry_id, work.key, error, json.dumps(work.body), work.deliveries)
        await self.redis.eval(_FINISH, len(keys), *keys, *values)

    async def length(self) -> int:
        """Items waiting or in work."""
        return int(await self.redis.xlen(self.stream))

    async def dead(self, count: int = 1000) -> list[dict[str, str]]:
        """Dead letters, oldest first: `key`, `body`, `error`, `deliveries`."""
        return [fields for _, fields in await self.redis.xrange(self.dead_stream, count=count)]


def _decode(entry: tuple[str, dict[str, str]], deliveries: int) -> Work:
    return Work(entry[0], entry[1]["key"], json.loads(entry[1]["body"]), deliveries)
