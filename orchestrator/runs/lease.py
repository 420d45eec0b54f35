"""The lease of the one replica that advances the runs, with a fencing token.

A replica whose lease has expired cannot write. Guarded writes to Redis check the lease inside Redis, atomically with
the write. The artifact store has no leases, so there the clock is checked at the last moment.
"""

import time
from dataclasses import dataclass

from selfreward.redis.connection import RedisClient

LEASE_KEY = "selfreward:orchestrator:lease"
_FENCE = "selfreward:orchestrator:fence"

_ACQUIRE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local token = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. token, 'PX', ARGV[2])
return token
"""

_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""

_GUARDED_SET = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""


class LeaseLost(RuntimeError):
    """Another replica may advance the runs now, so this one must stop."""


@dataclass
class Lease:
    """A held lease. `token` grows with every holder; `seconds` is the lease's lifetime without renewal.

    `ends` is when it expires unless it is renewed, by `time.monotonic`.
    """

    redis: RedisClient
    holder: str
    token: int
    seconds: float
    ends: float

    @property
    def value(self) -> str:
        """The value in Redis while this lease is valid."""
        return f"{self.holder}:{self.token}"

    async def renew(self) -> bool:
        """Extend the lease to its full lifetime. False if it is no longer held."""
        requested_at = time.monotonic()
        held = bool(await self.redis.eval(_RENEW, 1, LEASE_KEY, self.value, _milliseconds(self.seconds)))
        self.ends = requested_at + self.seconds if held else requested_at
        return held

    async def release(self) -> None:
        """Let another replica take over at once."""
        await self.redis.eval(_RELEASE, 1, LEASE_KEY, self.value)

    def check_clock(self) -> None:
        """Raises LeaseLost if the lease may have expired by the clock. Makes no call, so it can be the last step."""
        if time.monotonic() > self.ends:
            raise LeaseLost(f"lease {self.value} was not renewed in {self.seconds:g} s and may be another's")

    async def write(self, key: str, value: str) -> None:
        """Set a Redis key if, and only if, the lease is held at that moment. Raises LeaseLost."""
        if not await self.redis.eval(_GUARDED_SET, 2, LEASE_KEY, key, self.value, value):
            raise LeaseLost(f"lease {self.value} is no longer held; {key} was not written")


async def acquire(redis: RedisClient, holder: str, seconds: float) -> Lease | None:
    """Take the lease if nobody holds it."""
    requested_at = time.monotonic()
    token = int(await redis.eval(_ACQUIRE, 2, LEASE_KEY, _FENCE, holder, _milliseconds(seconds)))
    return Lease(redis, holder, token, seconds, requested_at + seconds) if token else None


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
