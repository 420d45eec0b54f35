"""Run records, the lease and its fencing, and progress events, on a real Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.runs import events
from orchestrator.runs.followers import Followers
from orchestrator.runs.lease import Lease, LeaseLost, acquire
from orchestrator.runs.state import (
    acknowledge,
    ask_to_run,
    ask_to_stop,
    close,
    create,
    load,
    load_all,
    load_open,
    load_page,
    open_all,
    public,
    remove,
    remove_expired,
    save,
    stopped_runs,
)
from selfreward.loop.record import RunState
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


async def _names(runs: Awaitable[list[RunState]]) -> list[str]:
    return [state.run for state in await runs]


def test_a_run_that_has_ended_is_open_no_more_unless_it_is_resumed(redis_url: str) -> None:
    """The leader reads the open ones twice a second."""

    async def work(redis: RedisClient) -> None:
        for name in ("one", "two", "three"):
            await create(redis, new_run(name))
        await ask_to_stop(redis, "one")
        for name, state in (("one", "stopped"), ("two", "done"), ("three", "failed")):
            await close(redis, new_run(name, state=state))
        # A failed run that nobody has stopped has been resumed.
        assert await _names(load_open(redis)) == ["three"]
        await ask_to_run(redis, "one")
        assert sorted(await _names(load_open(redis))) == ["one", "three"]
        await close(redis, new_run("one", state="stopped"))
        assert "one" in await _names(load_open(redis))
        # Runs of replicas that know no such index.
        await redis.delete("selfreward:runs:open")
        await open_all(redis)
        assert len(await _names(load_open(redis))) == 3

    on_redis(redis_url, work)


def test_runs_are_listed_in_pages(redis_url: str) -> None:
    async def work(redis: RedisClient) -> None:
        for number in range(5):
            await create(redis, new_run(f"run{number}", created_at=f"2026-01-0{number + 1}T00:00:00.000Z"))
        states, following = await load_page(redis, 2)
        assert [[state.run for state in states], following] == [["run4", "run3"], "run3"]
        states, following = await load_page(redis, 2, following)
        assert [[state.run for state in states], following] == [["run2", "run1"], "run1"]
        states, following = await load_page(redis, 2, following)
        assert [[state.run for state in states], following] == [["run0"], None]
        with pytest.raises(LookupError):
            await load_page(redis, 2, "unknown")

    on_redis(redis_url, work)


def test_only_runs_that_have_ended_are_deleted_and_nothing_of_them_is_left(redis_url: str) -> None:
    async def work(redis: RedisClient) -> None:
        old = {"created_at": "2026-01-01T00:00:00.000Z", "finished_at": "2026-01-02T00:00:00.000Z"}
        recent = {**old, "finished_at": "2026-03-01T00:00:00.000Z"}
        for name, times in (("old", old), ("recent", recent), ("resumed", old)):
            await create(redis, new_run(name, state="stopped", **times))
            await ask_to_stop(redis, name)
            await acknowledge(redis, name, ["alarm"])
            await events.emit(redis, name, state="stopped")
            assert not await remove(redis, name), "it is open"
            await close(redis, new_run(name, state="stopped"))
        await ask_to_run(redis, "resumed")
        assert await remove_expired(redis, datetime(2026, 2, 1, tzinfo=UTC)) == ["old"]
        assert await _names(load_all(redis)) == ["recent", "resumed"]
        assert not [key for key in await redis.keys("*") if "old" in key]
        assert "old" not in await stopped_runs(redis)
        assert await remove(redis, "recent")

    on_redis(redis_url, work)
