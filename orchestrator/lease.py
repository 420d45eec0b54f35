"""The lease of the one replica that advances the runs, with a fencing token.

A replica that was paused past its lease cannot write any more: guarded writes compare the lease inside Redis, in the
same step as the write.
"""

from dataclasses import dataclass

from selfreward.redis_client import RedisClient

_LEASE = "selfreward:orchestrator:lease"
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
    """Another replica advances the runs now; this one must stop doing so."""


@dataclass(frozen=True)
class Lease:
    """A held lease. `token` grows with every holder; `seconds` is the lease's lifetime without renewal."""

    redis: RedisClient
    holder: str
    token: int
    seconds: float

    @property
    def value(self) -> str:
        """What Redis holds while this lease is valid."""
        return f"{self.holder}:{self.token}"

    async def renew(self) -> bool:
        """Extend the lease to its full lifetime; False when it is no longer held."""
        return bool(await self.redis.eval(_RENEW, 1, _LEASE, self.value, _milliseconds(self.seconds)))

    async def release(self) -> None:
        """Let another replica take over at once."""
        await self.redis.eval(_RELEASE, 1, _LEASE, self.value)

    async def check(self) -> None:
        """Raises LeaseLost when the lease is no longer held."""
        if await self.redis.get(_LEASE) != self.value:
            raise LeaseLost(f"lease {self.value} is no longer held")

    async def write(self, key: str, value: str) -> None:
        """Set a Redis key if, and only if, the lease is held at that moment. Raises LeaseLost."""
        if not await self.redis.eval(_GUARDED_SET, 2, _LEASE, key, self.value, value):
            raise LeaseLost(f"lease {self.value} is no longer held; {key} was not written")


async def acquire(redis: RedisClient, holder: str, seconds: float) -> Lease | None:
    """Take the lease if nobody holds it."""
    token = int(await redis.eval(_ACQUIRE, 2, _LEASE, _FENCE, holder, _milliseconds(seconds)))
    return Lease(redis, holder, token, seconds) if token else None


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
