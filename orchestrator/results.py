"""Results of a phase's tasks: a Redis hash with one field for each key, so that work done twice counts once."""

from collections.abc import AsyncIterator, Iterable, Sequence

from selfreward.contracts import Rollout
from selfreward.redis_client import RedisClient

_CHUNK = 200


class Results:
    """Rollouts of one phase of one stage, by task key."""

    def __init__(self, redis: RedisClient, run: str, stage: str, part: str) -> None:
        self.redis = redis
        self.key = f"selfreward:run:{run}:results:{stage}:{part}"

    async def add(self, rollout: Rollout) -> bool:
        """Store a result; False when that key already has one (the first stays)."""
        return bool(await self.redis.hsetnx(self.key, rollout.key, rollout.model_dump_json()))

    async def count(self) -> int:
        """Number of distinct results."""
        return int(await self.redis.hlen(self.key))

    async def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that have no result yet, in their order."""
        known = set(await self.redis.hkeys(self.key))
        return [key for key in keys if key not in known]

    async def read(self, keys: Sequence[str]) -> AsyncIterator[Rollout]:
        """The results of `keys`, in their order; keys without one are skipped."""
        for start in range(0, len(keys), _CHUNK):
            for body in await self.redis.hmget(self.key, keys[start : start + _CHUNK]):
                if body is not None:
                    yield Rollout.model_validate_json(body)

    async def clear(self) -> None:
        """Forget all results, once they are in the artifact store."""
        await self.redis.unlink(self.key)
