"""A leader that was paused past its lease and wakes up changes nothing: no artifact, no policy, no run."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from orchestrator import machine
from orchestrator.machine import advance
from orchestrator.phases.serving import announce_model
from orchestrator.runs.context import RunContext, Services
from orchestrator.runs.errors import RunFailed
from orchestrator.runs.lease import LeaseLost, acquire
from orchestrator.runs.state import create, load, stopped_runs
from orchestrator.settings import OrchestratorSettings
from selfreward.client.generator import GeneratorClient
from selfreward.client.http import ServiceClient
from selfreward.redis.announcements import announce, current
from selfreward.redis.connection import RedisClient, connect
from selfreward.store.artifacts import ArtifactStore
from tests.support.factories import new_run

LEASE_S = 1.0


def as_leader(url: str, folder: Path, check: Callable[[RunContext, RedisClient], Awaitable[None]]) -> None:
    """Run `check` with the context of a leader that never renews its lease."""

    async def main() -> None:
        async with connect(url) as redis, ServiceClient("http://127.0.0.1:9") as nobody:
            settings = OrchestratorSettings(redis_url=url, poll_s=0.02)
            services = Services(settings, redis, ArtifactStore(str(folder)), GeneratorClient(nobody), nobody)
            state = new_run("one", state="running")
            await create(redis, state)
            lease = await acquire(redis, "late", LEASE_S)
            assert lease is not None
            await check(RunContext(services, lease, state), redis)

    asyncio.run(main())


async def paused_past_the_lease(redis: RedisClient) -> None:
    """What a SIGSTOP and a SIGCONT much later amount to."""
    await asyncio.sleep(1.2 * LEASE_S)
    assert await acquire(redis, "successor", 60)


def test_it_writes_no_artifact(redis_url: str, tmp_path: Path) -> None:
    async def check(context: RunContext, redis: RedisClient) -> None:
        await context.write_rows("runs/one/pairs/M1.jsonl", [{"stale": False}])
        await paused_past_the_lease(redis)
        with pytest.raises(LeaseLost):
            await context.write_rows("runs/one/pairs/M2.jsonl", [{"stale": True}])
        with pytest.raises(LeaseLost):
            await context.write_json("runs/one/run.json", {"stale": True})

    as_leader(redis_url, tmp_path, check)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["M1.jsonl"]


def test_it_does_not_take_the_generators_back_to_an_older_policy(redis_url: str, tmp_path: Path) -> None:
    async def check(context: RunContext, redis: RedisClient) -> None:
        await announce_model(context, "M1", "runs/one/weights/M1", "d1")
        newest = await announce(redis, "runs/one/weights/M2", "d2")
        await paused_past_the_lease(redis)
        with pytest.raises(LeaseLost):
            await announce_model(context, "M1", "runs/one/weights/M1", "d1")
        assert await current(redis) == newest

    as_leader(redis_url, tmp_path, check)


@pytest.mark.parametrize("error", [RuntimeError("nothing is where it was"), RunFailed("the trainer gave up")])
def test_what_goes_wrong_in_its_hands_does_not_stop_the_run(
    error: Exception, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(context: RunContext, redis: RedisClient) -> None:
        async def wakes_up_late(_: RunContext) -> None:
            await paused_past_the_lease(redis)
            raise error

        monkeypatch.setitem(machine.PHASES, "train", wakes_up_late)
        with pytest.raises(LeaseLost):
            await advance(context)
        assert await stopped_runs(redis) == set()
        state = await load(redis, "one")
        assert state is not None
        assert state.state == "running"

    as_leader(redis_url, tmp_path, check)
