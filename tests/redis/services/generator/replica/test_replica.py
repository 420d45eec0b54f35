"""Weights are announced while engines are lost: which losses count against them, and what is tried before."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from selfreward.redis.announcements import announce
from selfreward.redis.connection import connect
from selfreward.store.artifacts import ArtifactStore
from services.generator.checkpoints.checkpoint import Checkpoint
from services.generator.engine.process import EngineFailed, EngineProcess
from services.generator.replica.follower import Follower
from services.generator.replica.gate import Gate
from services.generator.replica.replica import Replica
from services.generator.replica.swap import EngineRestarting
from services.generator.settings import GeneratorSettings
from tests.support.checkpoints import copy_of, publish
from tests.support.places import M0


@asynccontextmanager
async def following(
    redis_url: str, folder: Path, lost_at: str
) -> AsyncIterator[tuple[Replica, Follower, Counter[str]]]:
    """A replica that serves, and follows an announcement, whose every engine is gone by the call of `lost_at`.

    No engine starts in the time that is given to it. The calls that reached an engine are counted by path.
    """
    calls = Counter[str]()

    def engine(request: httpx.Request) -> httpx.Response:
        calls[request.url.path] += 1
        if request.url.path == "/health":
            return httpx.Response(503)
        if request.url.path == lost_at:
            raise httpx.ConnectError("gone", request=request)
        return httpx.Response(200, json={})

    store = ArtifactStore(str(folder / "artifacts"))
    digest = publish(store, "new", copy_of(M0), proven=False)
    settings = GeneratorSettings(work_dir=folder / "work", engine_start_seconds=0.2, engine_stop_seconds=1)
    async with connect(redis_url) as redis, httpx.AsyncClient(transport=httpx.MockTransport(engine)) as http:
        await announce(redis, "new", digest)
        replica = Replica(settings, store, Gate(1, 1, 1.0), http)
        replica.serving = Checkpoint(M0, "policy@0")
        replica.engine = EngineProcess(settings, M0)
        yield replica, Follower(redis, replica, poll_seconds=1), calls
        await replica.stop()


async def heal(replica: Replica) -> None:
    """Put another engine, as short-lived, in the place of the lost one: a real restart would cost seconds."""
    assert replica.state == "restarting"
    if replica.engine is not None:
        await replica.engine.stop()
    replica.engine = EngineProcess(replica.settings, M0)
    replica.lost.clear()


def test_weights_are_not_blamed_for_an_engine_that_was_gone_before_they_were_tried(
    redis_url: str, tmp_path: Path
) -> None:
    """Else engines that are killed for other reasons would get good weights refused, and their run failed."""

    async def scenario() -> None:
        async with following(redis_url, tmp_path, lost_at="/pause") as (replica, follower, calls):
            for _ in range(6):
                with pytest.raises(EngineRestarting, match="was not tried yet"):
                    await follower.step()
                await heal(replica)
            assert not replica.refused
            assert calls["/pause"] == 6

    asyncio.run(scenario())


def test_weights_that_cost_two_engines_are_tried_in_new_ones_before_they_are_refused(
    redis_url: str, tmp_path: Path
) -> None:
    """What kills an engine in a swap need not be the weights. Those that no engine starts on are."""

    async def scenario() -> None:
        async with following(redis_url, tmp_path, lost_at="/collective_rpc") as (replica, follower, calls):
            for why in ("collective_rpc", "collective_rpc", "not healthy after"):
                with pytest.raises(EngineFailed, match=why):
                    await follower.step()
                assert not replica.refused
                await heal(replica)
            await follower.step()
            (refusal,) = replica.refused.values()
            assert "lost the engine 4 times, at last with: engine not healthy" in refusal.reason
            assert calls["/collective_rpc"] == 4  # each time the new weights, then the old ones
            await heal(replica)
            await follower.step()
            assert calls["/collective_rpc"] == 4

    asyncio.run(scenario())


def test_a_swap_drops_the_copy_of_what_is_served_no_more(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a node's disk holds the weights of every round."""
    monkeypatch.setattr("services.generator.engine.process._LOOK_SECONDS", 600)

    def engine(request: httpx.Request) -> httpx.Response:
        paused = request.url.path == "/is_paused" and not resumed
        resumed.extend([True] * (request.url.path == "/resume"))
        return httpx.Response(200, json={"success": True, "version": "policy@0", "is_paused": paused})

    async def scenario() -> None:
        store = ArtifactStore(f"memory://{tmp_path.name}", tmp_path / "cache")
        for name in ("old", "new"):
            digest = publish(store, name, copy_of(M0), proven=False)
        settings = GeneratorSettings(work_dir=tmp_path / "work")
        async with connect(redis_url) as redis, httpx.AsyncClient(transport=httpx.MockTransport(engine)) as http:
            await announce(redis, "new", digest)
            replica = Replica(settings, store, Gate(1, 1, 1.0), http)
            replica.serving = Checkpoint(store.fetch("old"), "policy@9", artifact="old")
            replica.engine = EngineProcess(settings, M0)
            await Follower(redis, replica, poll_seconds=1).step()
            assert replica.serving.artifact == "new"
            await replica.stop()

    resumed: list[bool] = []
    asyncio.run(scenario())
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == ["new"]
