"""Results of a phase's tasks: a Redis hash with one field for each key, so repeated work counts once."""

from collections.abc import AsyncIterator, Iterable, Sequence

from selfreward.contracts.rollouts import Rollout
from selfreward.loop.tasks import results_key
from selfreward.redis.connection import RedisClient

_CHUNK = 200


class Results:
    """Rollouts of one phase of one stage, by task key. `WorkQueue.done_with` stores them, in the hash `key`."""

    def __init__(self, redis: RedisClient, run: str, stage: str, part: str) -> None:
        self.redis = redis
        self.key = results_key(run, stage, part)

    async def has(self, key: str) -> bool:
        """Whether a task has a result."""
        return bool(await self.redis.hexists(self.key, key))

    async def count(self) -> int:
        """Number of distinct results."""
        return int(await self.redis.hlen(self.key))

    async def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that have no result yet, in their order."""
        finished = set(await self.redis.hkeys(self.key))
        return [key for key in keys if key not in finished]

    async def read(self, keys: Sequence[str]) -> AsyncIterator[Rollout]:
        """The results of `keys`, in their order; keys without one are skipped."""
        for start in range(0, len(keys), _CHUNK):
            for body in await self.redis.hmget(self.key, keys[start : start + _CHUNK]):
                if body is not None:
                    yield Rollout.model_validate_json(body)

    async def clear(self) -> None:
        """Delete all results, after they are in the artifact store."""
        await self.redis.unlink(self.key)
