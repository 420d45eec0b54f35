"""The use of each API key over all replicas, in Redis: one atomic script takes from both limits or from neither.

The token bucket is one timestamp, when it will be full again (GCRA), which Redis forgets at that time. A request that
runs is a lease in a sorted set, which its replica renews; after the death of a replica its leases end within
`lease_seconds`. All times are Redis's own, so the replicas' clocks do not matter.

While Redis is away each replica limits by itself. Its callers do not wait for Redis, and the log says so once.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple

from redis.exceptions import RedisError

from selfreward.redis.connection import RedisClient
from selfreward.redis.queue import PREFIX
from selfreward.server.keys import Key

_LEASE_SECONDS = 30
_REDIS_SECONDS = 2.0
_RETRY_SECONDS = 10.0
_CONNECTIONS = 16
_log = logging.getLogger(__name__)

# A limit of 0 is none. A millisecond's worth of tokens may be missing: the times are rounded.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local items, per_second, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local most, seconds = tonumber(ARGV[4]), tonumber(ARGV[5])
if most > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  local running = redis.call('ZCARD', KEYS[2])
  if running >= most then return {'concurrency', tostring(running)} end
end
if per_second > 0 then
  local longest = burst / per_second
  local full_at = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or now), now), now + longest)
  full_at = full_at + items / per_second
  local wait = full_at - now - longest
  if wait > 0.001 then return {'rate', string.format('%.3f', wait)} end
  redis.call('SET', KEYS[1], full_at, 'PX', math.ceil((full_at - now) * 1000))
end
if most > 0 then
  redis.call('ZADD', KEYS[2], now + seconds, ARGV[6])
  redis.call('EXPIRE', KEYS[2], seconds)
end
return {'', ''}
"""
# A lease that has been released, or taken away because it ended, is not made anew.
_RENEW = """
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], 'XX', time[1] + time[2] / 1e6 + ARGV[2], ARGV[1])
return redis.call('EXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE = "return redis.call('ZREM', KEYS[1], ARGV[1])"


class Refusal(NamedTuple):
    """The limit that a request reached. `value` is the seconds until there are enough tokens, or the running
    requests."""

    limit: Literal["rate", "concurrency"]
    value: float


class SharedLimits:
    """The limits of all keys in one Redis."""

    def __init__(self, redis: RedisClient, lease_seconds: int = _LEASE_SECONDS) -> None:
        self._redis = redis
        self._lease_seconds = lease_seconds
        self._slots = asyncio.Semaphore(_CONNECTIONS)
        self._lost = False
        self._away_until = 0.0

    async def take(self, key: Key, items: int) -> Refusal | None:
        """Take so many items from the key's bucket. None if there were enough, or if Redis is away."""
        return await self._take(key.model_copy(update={"concurrency": None}), items, "")

    @asynccontextmanager
    async def held(self, key: Key, items: int) -> AsyncIterator[Refusal | None]:
        """Take so many items from the key's bucket, and count one more running request within the `async with`.

        Gives None if neither limit was reached, or if Redis is away; else neither has changed.
        """
        lease = secrets.token_hex(8)
        refusal: Refusal | None = None
        renewing: asyncio.Task[None] | None = None
        try:
            refusal = await self._take(key, items, lease)
            if key.concurrency is not None and refusal is None:
                renewing = asyncio.create_task(self._renew(key, lease))
            yield refusal
        finally:
            if renewing:
                renewing.cancel()
            if key.concurrency is not None and refusal is None:
                await self._run(_RELEASE, [_running(key)], lease)

    async def _take(self, key: Key, items: int, lease: str) -> Refusal | None:
        rate = key.rate
        if rate is None and key.concurrency is None:
            return None
        limits = (rate.items_per_second if rate else 0, rate.burst if rate else 0, key.concurrency or 0)
        keys = [f"{PREFIX}:judge-limit:{{{key.name}}}:rate", _running(key)]
        reply = await self._run(_TAKE, keys, items, *limits, self._lease_seconds, lease)
        return Refusal(reply[0], float(reply[1])) if reply and reply[0] else None

    async def _renew(self, key: Key, lease: str) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            await self._run(_RENEW, [_running(key)], lease, self._lease_seconds)

    async def _run(self, script: str, keys: list[str], *values: Any) -> Any:
        """The script's reply. None while Redis is away: 10 s after it failed, one caller tries it again."""
        async with self._slots:
            # Who waited for a slot may have waited for a Redis that is away.
            if time.monotonic() < self._away_until:
                return None
            if self._lost:
                self._away_until = time.monotonic() + _RETRY_SECONDS
            try:
                async with asyncio.timeout(_REDIS_SECONDS):
                    reply = await self._redis.eval(script, len(keys), *keys, *values)
            except (RedisError, OSError) as error:  # TimeoutError is an OSError
                if not self._lost:
                    _log.warning("Redis is away: each replica limits the keys by itself", extra={"reason": repr(error)})
                self._lost, self._away_until = True, time.monotonic() + _RETRY_SECONDS
                return None
        if self._lost:
            _log.info("Redis is back: the keys are limited over all replicas")
        self._lost, self._away_until = False, 0.0
        return reply


def _running(key: Key) -> str:
    """The sorted set of the key's leases by their ends. The braces keep a key's data in one slot of a cluster."""
    return f"{PREFIX}:judge-limit:{{{key.name}}}:running"
