"""Many followers of runs' events over one connection."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import BlockingConnectionPool, Redis

from orchestrator.runs import events, followers
from orchestrator.runs.followers import Followers, TooManyFollowers
from selfreward.redis.connection import RedisClient, connect
from selfreward.server.background import cancel_and_wait
from tests.support.followed import read


@asynccontextmanager
async def watching(redis_url: str, most: int = 300) -> AsyncIterator[Followers]:
    """Followers whose only two connections are for the reader and for reading what is past."""
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=2, timeout=20, decode_responses=True)
    redis: RedisClient = Redis.from_pool(pool)
    made = Followers(redis, most, wait_seconds=1)
    reader = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        await cancel_and_wait([reader])
        await redis.aclose()
        await pool.aclose()


async def told(made: Followers, run: str) -> list[int]:
    follower = made.join(run)
    try:
        return [event["done"] async for _, event in read(made.follow(follower))]
    finally:
        made.leave(follower)


def test_two_hundred_followers_take_two_connections(redis_url: str) -> None:
    """Each took one, and 64 of them stopped heartbeats and leader."""

    async def scenario() -> None:
        async with watching(redis_url) as made, connect(redis_url) as redis:
            await events.emit(redis, "one", done=1)
            following = [asyncio.create_task(told(made, run)) for run in ("one", "two") for _ in range(100)]
            await asyncio.sleep(0.5)
            for done in range(2, 30):
                await events.emit(redis, "one", done=done)
                await events.emit(redis, "two", done=done)
                await asyncio.sleep(0.01)
            for run in ("one", "two"):
                await events.emit(redis, run, done=30, state="done")
            async with asyncio.timeout(60):
                answers = Counter(map(tuple, await asyncio.gather(*following)))
            assert answers == {tuple(range(1, 31)): 100, tuple(range(2, 31)): 100}

    asyncio.run(scenario())


def test_one_who_falls_behind_reads_again(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "_MAX_KEPT", 3)
    monkeypatch.setattr(followers, "_BATCH", 5)

    async def scenario() -> None:
        async with watching(redis_url) as made, connect(redis_url) as redis:
            await events.emit(redis, "one", done=0)
            follower = made.join("one")
            stream = read(made.follow(follower))
            assert (await anext(stream))[1]["done"] == 0
            for done in range(1, 41):
                await events.emit(redis, "one", done=done)
            await events.emit(redis, "one", done=41, state="done")
            await asyncio.sleep(0.5)
            async with asyncio.timeout(30):
                assert [event["done"] async for _, event in stream] == list(range(1, 42))

    asyncio.run(scenario())


def test_one_follower_too_many_is_refused(redis_url: str) -> None:
    async def scenario() -> None:
        async with watching(redis_url, most=2) as made:
            first = made.join("one")
            made.join("one")
            with pytest.raises(TooManyFollowers, match="2 callers follow events here"):
                made.join("two")
            made.leave(first)
            made.join("two")

    asyncio.run(scenario())
