"""Run records, the lease and its fencing, and progress events, on a real Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from orchestrator.runs import events
from orchestrator.runs.followers import Followers
from orchestrator.runs.lease import Lease, LeaseLost, acquire
from orchestrator.runs.state import ask_to_run, ask_to_stop, create, load, load_all, public, save, stopped_runs
from selfreward.redis.connection import RedisClient, connect
from tests.support.factories import new_run
from tests.support.followed import read


def on_redis(url: str, work: Callable[[RedisClient], Awaitable[None]]) -> None:
    """Run a coroutine with a client of its own."""

    async def main() -> None:
        async with connect(url) as redis:
            await work(redis)

    asyncio.run(main())


async def held(redis: RedisClient, holder: str = "a", seconds: float = 10) -> Lease:
    lease = await acquire(redis, holder, seconds)
    assert lease is not None
    return lease


def test_a_run_is_created_once_and_only_the_lease_holder_writes_it(redis_url: str) -> None:
    async def work(redis: RedisClient) -> None:
        state = new_run("one")
        assert await create(redis, state)
        assert not await create(redis, state.model_copy(update={"message": "other"}))
        lease = await held(redis)
        await save(lease, state.model_copy(update={"state": "running"}))
        loaded = await load(redis, "one")
        assert loaded is not None
        assert loaded.state == "running"
        assert loaded.recipe == state.recipe
        await create(redis, new_run("two"))
        assert [run.run for run in await load_all(redis)] == ["one", "two"]

    on_redis(redis_url, work)


def test_a_paused_holder_cannot_write_after_another_took_over(redis_url: str) -> None:
    async def work(redis: RedisClient) -> None:
        state = new_run("one")
        await create(redis, state)
        paused = await held(redis, "a", seconds=1)
        assert await acquire(redis, "b", 10) is None
        async with asyncio.timeout(20):
            while (successor := await acquire(redis, "b", 10)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert successor.token > paused.token
        with pytest.raises(LeaseLost):
            await save(paused, state.model_copy(update={"state": "failed"}))
        with pytest.raises(LeaseLost):
            paused.check_clock()
        assert not await paused.renew()
        await paused.release()
        assert await successor.renew()
        loaded = await load(redis, "one")
        assert loaded is not None
        assert loaded.state == "queued"

    on_redis(redis_url, work)


def test_a_released_lease_is_free_at_once(redis_url: str) -> None:
    async def work(redis: RedisClient) -> None:
        await (await held(redis, "a")).release()
        assert (await held(redis, "b")).token == 2

    on_redis(redis_url, work)


def test_wishes_are_shown_before_the_holder_has_looked(redis_url: str) -> None:
    async def work(redis: RedisClient) -> None:
        running = new_run("one", state="running")
        await ask_to_stop(redis, "one")
        assert public(running, await stopped_runs(redis))["state"] == "stopping"
        assert public(new_run("one"), await stopped_runs(redis))["state"] == "stopped"
        await ask_to_run(redis, "one")
        failed = new_run("one", state="failed")
        assert public(failed, await stopped_runs(redis))["state"] == "queued"
        assert public(new_run("one", state="done"), {"one"})["state"] == "done"

    on_redis(redis_url, work)


async def _listed(redis: RedisClient, run: str, after: str = "0") -> list[tuple[str, dict[str, Any]]]:
    followers = Followers(redis, most=1)
    follower = followers.join(run)
    return [event async for event in read(followers.follow(follower, after))]


def test_events_are_followed_to_the_terminal_one_and_from_any_id(redis_url: str) -> None:
    async def work(redis: RedisClient) -> None:
        for done in range(3):
            await events.emit(redis, "one", stage="M1", phase="train", done=done, total=3, metrics={"loss": 1.5})
        await events.emit(redis, "one", message="3 models", state="done")
        listed = await _listed(redis, "one")
        assert [event["done"] for _, event in listed] == [0, 1, 2, 0]
        assert listed[0][1]["metrics"] == {"loss": 1.5}
        assert listed[-1][1]["state"] == "done"
        assert await _listed(redis, "one", after=listed[1][0]) == listed[2:]

    on_redis(redis_url, work)


def test_a_resumed_run_is_followed_past_its_old_end(redis_url: str) -> None:
    async def work(redis: RedisClient) -> None:
        await events.emit(redis, "one", state="stopped")
        await events.emit(redis, "one", message="resumed")
        await events.emit(redis, "one", state="done")
        states = [event.get("state") for _, event in await _listed(redis, "one")]
        assert states == [None, None, "done"]

    on_redis(redis_url, work)
