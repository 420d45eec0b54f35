"""Policy versions only grow, and one version is one set of weights for ever."""

import asyncio

import pytest

from selfreward.redis.announcements import Announced, announce, announced, current
from selfreward.redis.connection import connect


def test_versions_grow_and_an_artifact_keeps_its_own(redis_url: str) -> None:
    async def main() -> None:
        redis = connect(redis_url)
        assert await current(redis) is None
        first = await announce(redis, "runs/a/weights/M0", "d0")
        second = await announce(redis, "runs/a/weights/M1", "d1")
        assert (first.label, second.label) == ("policy@0", "policy@1")
        assert await current(redis) == second
        assert await announce(redis, "runs/a/weights/M0", "d0") == first, "a retried announcement is the same"
        assert await current(redis) == first
        assert (await announce(redis, "runs/a/weights/M0", "other digest")).version == 2
        assert await announced(redis, 1) == Announced(version=1, artifact="runs/a/weights/M1", digest="d1")
        with pytest.raises(KeyError, match="policy@7 was never announced"):
            await announced(redis, 7)
        await redis.aclose()

    asyncio.run(main())
