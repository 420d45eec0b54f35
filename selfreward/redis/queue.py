"""At-least-once work queue on a Redis stream with a consumer group, for Redis 6.2 and later.

Work is redelivered when its consumer dies, so its effects must be idempotent by the item's key. An unfinished key is in
the queue once, however often it is put. Finished entries are deleted, so the stream's length is the backlog; unfinished
ones are never trimmed. An entry delivered more than `max_deliveries` times goes to `<stream>:dead` with its last error.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError, ResponseError

from selfreward.backoff import jittered
from selfreward.redis import queue_scripts as scripts
from selfreward.redis.connection import RedisClient, is_transient

PREFIX = "selfreward"
LIMIT = 10_000
"""Unfinished items that a queue holds; callers that put more have to wait."""
_AT_ONCE = 200
_UNLIMITED = 2**53

Item = tuple[str, dict[str, Any]]
"""A key and a body."""


class BacklogFull(RuntimeError):
    """A queue took no more work for as long as the caller was willing to wait."""


@dataclass(frozen=True)
class Work:
    """One delivered item. `deliveries` includes this delivery: 1 the first time."""

    entry_id: str
    key: str
    body: dict[str, Any]
    deliveries: int


class WorkQueue:
    """One stream and one consumer group.

    `claim_after_ms` is how long an entry may go without a heartbeat before another consumer takes it over; call
    `heartbeat` more often than that during long work. At a backlog (waiting and in work) of `limit`, `put` waits.
    """

    def __init__(
        self,
        redis: RedisClient,
        name: str,
        claim_after_ms: int = 60_000,
        max_deliveries: int = 5,
        group: str = "workers",
        limit: int = LIMIT,
    ) -> None:
        self.redis = redis
        self.name = name
        self.stream = f"{PREFIX}:{name}"
        self.dead_stream = f"{self.stream}:dead"
        self._known = f"{self.stream}:known"
        self._errors = f"{self.stream}:errors"
        self.group = group
        self.claim_after_ms = claim_after_ms
        self.max_deliveries = max_deliveries
        self.limit = limit
        # Where the search for abandoned work goes on: one call looks at a part of the unfinished work only.
        self._cursor = "0-0"

    async def open(self) -> None:
        """Create stream and group unless they exist. `take` does so too, after Redis has lost its data for example."""
        try:
            await self.redis.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def put(self, key: str, body: dict[str, Any], wait_s: float = 60.0) -> bool:
        """Queue an item; False when an unfinished item of the same key is queued already. Waits as `put_many` does."""
        return await self.put_many([(key, body)], wait_s) == 1

    async def put_many(self, items: Sequence[Item], wait_s: float = 60.0) -> int:
        """Queue items in their order, 200 in one atomic step; returns how many are new.

        Waits while the backlog is at its limit, and while Redis is away or full. Raises BacklogFull when no item finds
        room for `wait_s` seconds; the items queued by then stay, and putting all again is harmless.
        """
        handled = added = 0
        deadline = time.monotonic() + wait_s
        while handled < len(items):
            reason: RedisError | None = None
            accepted = new = 0
            try:
                accepted, new = await self._offer(items[handled : handled + _AT_ONCE])
            except RedisError as error:
                if not is_transient(error):
                    raise
                reason = error
            handled, added = handled + accepted, added + new
            if accepted:
                deadline = time.monotonic() + wait_s
            elif time.monotonic() > deadline:
                raise BacklogFull(self._full(len(items) - handled, wait_s, reason)) from reason
            else:
                await asyncio.sleep(jittered(0.25))
        return added

    async def offer(self, items: Sequence[Item]) -> int:
        """Queue the first of `items` as far as there is room, without waiting; returns how many are queued now."""
        handled = 0
        while handled < len(items):
            part = items[handled : handled + _AT_ONCE]
            accepted, _ = await self._offer(part)
            handled += accepted
            if accepted < len(part):
                break
        return handled

    def put_within(self, steps: RedisClient, items: Sequence[Item]) -> None:
        """Queue items as part of the caller's Redis transaction. Ignores the backlog limit."""
        steps.eval(scripts.PUT, 2, *self._put_arguments(items, _UNLIMITED))

    async def _offer(self, items: Sequence[Item]) -> tuple[int, int]:
        handled, added = await self.redis.eval(scripts.PUT, 2, *self._put_arguments(items, self.limit))
        return int(handled), int(added)

    def _put_arguments(self, items: Sequence[Item], limit: int) -> list[Any]:
        pairs = [part for key, body in items for part in (key, json.dumps(body))]
        return [self.stream, self._known, limit, time.time(), *pairs]

    def _full(self, left: int, wait_s: float, reason: RedisError | None) -> str:
        if reason is not None:
            return f"queue {self.name}: Redis took none of the last {left} items for {wait_s:g} s: {reason}"
        return (
            f"queue {self.name} has been at its limit of {self.limit} unfinished items for {wait_s:g} s, with {left} "
            "more to come: see that its workers run, or start more of them"
        )

    async def take(self, consumer: str, count: int = 1, block_ms: int = 1000) -> list[Work]:
        """Up to `count` items: first those of dead consumers, then new ones, for which it waits up to `block_ms`.

        `consumer` must stay the same when a worker restarts. Items that were delivered too often become dead letters.
        """
        try:
            return await self._take(consumer, count, block_ms)
        except ResponseError as error:
            # Redis answers the second to a reader whose stream disappears while it waits.
            if "NOGROUP" not in str(error) and "UNBLOCKED" not in str(error):
                raise
        await self.open()
        return await self._take(consumer, count, block_ms)

    async def _take(self, consumer: str, count: int, block_ms: int) -> list[Work]:
        values = (self.group, consumer, self.claim_after_ms, self._cursor, count, self.max_deliveries)
        self._cursor, taken = await self.redis.eval(scripts.TAKE, 4, *self._keys, self.dead_stream, *values)
        if taken or block_ms <= 0:
            return [Work(entry_id, key, json.loads(body), times) for entry_id, key, body, times in taken]
        replies = await self.redis.xreadgroup(self.group, consumer, {self.stream: ">"}, count=count, block=block_ms)
        return [
            Work(entry_id, fields["key"], json.loads(fields["body"]), 1)
            for _, entries in replies or []
            for entry_id, fields in entries
        ]

    async def heartbeat(self, consumer: str, *works: Work) -> None:
        """Tell the group that `works` are still in work. This does not count as a delivery."""
        if works:
            ids = [work.entry_id for work in works]
            await self.redis.xclaim(self.stream, self.group, consumer, min_idle_time=0, message_ids=ids, justid=True)

    async def done(self, *works: Work) -> int:
        """Delete items whose effects are stored; returns how many were unfinished until now."""
        pairs = [part for work in works for part in (work.entry_id, work.key)]
        return int(await self.redis.eval(scripts.DONE, 3, *self._keys, self.group, *pairs)) if works else 0

    async def done_with(self, work: Work, results: str, result: str) -> bool:
        """Store the item's result in the hash `results` under its key, and delete the item, in one atomic step.

        False, with nothing stored, when the key has a result already, or when somebody else has finished the item: the
        hash may have been deleted since then.
        """
        values = (self.group, work.entry_id, work.key, result)
        return bool(await self.redis.eval(scripts.DONE_WITH, 4, *self._keys, results, *values))

    async def failed(self, work: Work, error: str) -> None:
        """Note the error. The item is delivered again after `claim_after_ms`, or given up after its last delivery."""
        if work.deliveries >= self.max_deliveries:
            await self.dead_letter(work, error)
        else:
            await self.redis.eval(scripts.NOTE, 2, self._known, self._errors, work.entry_id, work.key, error)

    async def dead_letter(self, work: Work, error: str) -> None:
        """Move an item to the stream of dead letters with its error, unless somebody else has finished it."""
        values = (self.group, work.entry_id, work.deliveries, error)
        await self.redis.eval(scripts.SET_ASIDE, 4, *self._keys, self.dead_stream, *values)

    async def length(self) -> int:
        """Items waiting or in work."""
        return int(await self.redis.xlen(self.stream))

    async def dead(self, count: int = 1000) -> list[dict[str, str]]:
        """Dead letters, oldest first: `key`, `body`, `error`, `deliveries`, `queued_at`."""
        return [fields for _, fields in await self.redis.xrange(self.dead_stream, count=count)]

    @property
    def _keys(self) -> tuple[str, str, str]:
        return self.stream, self._known, self._errors
