"""Two replicas on one real Redis are one judge to a key: both count what either admits; a dead one holds nothing."""

import asyncio
import logging
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from subprocess import Popen

import pytest
from redis import Redis
from starlette.responses import Response

from selfreward.processes.child import free_port
from selfreward.processes.redis import start_redis
from selfreward.redis.connection import connect_briefly
from selfreward.server.errors import ApiError
from selfreward.server.keys import Key, Rate
from services.judge.serving import shared_limits
from services.judge.serving.limits import Limits
from services.judge.serving.shared_limits import SharedLimits
from tests.support.access import bearer, keys_file
from tests.support.judge_engine import Engine, body, fours, message, running

SLOW = Rate(items_per_second=0.001, burst=10)
DIES = """
import asyncio, os, sys
from selfreward.redis.connection import connect_briefly
from selfreward.server.keys import Key
from services.judge.serving.shared_limits import SharedLimits

async def hold():
    key = Key(name="k", sha256="0" * 64, concurrency=1)
    async with SharedLimits(connect_briefly(sys.argv[1], True), lease_seconds=3).held(key, 1) as refusal:
        print(refusal, flush=True)
        await asyncio.sleep(600)

asyncio.run(hold())
"""


def a_key(rate: Rate | None = None, concurrency: int | None = None) -> Key:
    return Key(name="k", sha256="0" * 64, rate=rate, concurrency=concurrency)


@asynccontextmanager
async def replicas(url: str, lease_seconds: int = 30) -> AsyncIterator[tuple[Limits, Limits]]:
    """The limits of two replicas, each with its own connections."""
    async with connect_briefly(url, True) as one, connect_briefly(url, True) as other:
        yield Limits(SharedLimits(one, lease_seconds)), Limits(SharedLimits(other, lease_seconds))


async def admits(limits: Limits, key: Key, items: int) -> bool:
    """Whether a request of so many items is admitted, which ends at once."""
    try:
        async with limits.of(key).admitted(items):
            return True
    except ApiError:
        return False


def test_a_keys_items_are_counted_over_all_replicas(each_redis_url: str) -> None:
    key = a_key(rate=SLOW)

    async def scenario() -> None:
        async with replicas(each_redis_url) as (one, other):
            assert await admits(one, key, 6)
            with pytest.raises(ApiError) as caught:
                async with other.of(key).admitted(5):
                    raise AssertionError
            assert caught.value.code == "rate_limit"
            assert (caught.value.headers or {})["Retry-After"] == "1000"
            await other.of(key).admit_job(4)  # what was refused has taken nothing
            assert not await admits(one, key, 1)
            assert await admits(one, key.model_copy(update={"name": "another"}), 10)

    asyncio.run(scenario())


def test_the_bucket_fills_again_and_is_then_forgotten(each_redis_url: str) -> None:
    key = a_key(rate=Rate(items_per_second=20, burst=20))

    async def scenario() -> None:
        async with replicas(each_redis_url) as (one, other):
            assert await admits(one, key, 20)
            assert not await admits(other, key, 10)
            await asyncio.sleep(0.6)
            assert await admits(other, key, 10)
            with Redis.from_url(each_redis_url) as redis:
                assert len(list(redis.scan_iter("*judge-limit*"))) == 1
                await asyncio.sleep(1.1)
                assert list(redis.scan_iter("*judge-limit*")) == []

    asyncio.run(scenario())


def test_a_rush_on_both_replicas_gets_no_more_than_the_burst(each_redis_url: str) -> None:
    key = a_key(rate=Rate(items_per_second=0.001, burst=50))

    async def scenario() -> None:
        async with replicas(each_redis_url) as both:
            admitted = await asyncio.gather(*(admits(both[n % 2], key, 1) for n in range(200)))
            assert sum(admitted) == 50

    asyncio.run(scenario())


def test_running_requests_are_counted_over_all_replicas(each_redis_url: str) -> None:
    key = a_key(rate=SLOW, concurrency=2)

    async def scenario() -> None:
        async with replicas(each_redis_url) as (one, other):
            async with one.of(key).admitted(1), other.of(key).admitted(1):
                for limits in (one, other):
                    with pytest.raises(ApiError, match="'k' has 2 requests running, 2 are allowed"):
                        async with limits.of(key).admitted(1):
                            raise AssertionError
            async with other.of(key).admitted(1), other.of(key).admitted(7):
                assert other.of(key).running == 2, "the refused requests cost no items"
            with Redis.from_url(each_redis_url) as redis:
                assert list(redis.scan_iter("*:running")) == []

    asyncio.run(scenario())


def test_a_request_longer_than_its_lease_counts_to_its_end(redis_url: str) -> None:
    key = a_key(concurrency=1)

    async def scenario() -> None:
        async with replicas(redis_url, lease_seconds=1) as (one, other):
            async with one.of(key).admitted(1):
                await asyncio.sleep(2.5)
                assert not await admits(other, key, 1)
            assert await admits(other, key, 1)

    asyncio.run(scenario())


def test_what_a_killed_replica_held_is_free_again_in_time(redis_url: str) -> None:
    key = a_key(concurrency=1)

    async def scenario(holder: Popen[str]) -> None:
        async with replicas(redis_url) as (one, _):
            assert not await admits(one, key, 1)
            holder.kill()
            holder.wait(timeout=10)
            killed_at = time.monotonic()
            while not await admits(one, key, 1):
                assert time.monotonic() - killed_at < 20
                await asyncio.sleep(0.1)

    with Popen([sys.executable, "-c", DIES, redis_url], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "None\n", "it is admitted"
            asyncio.run(scenario(holder))
        finally:
            holder.kill()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[tuple[int, Popen[bytes]]]:
    """The port and the process of a Redis that the test may hurt."""
    port = free_port()
    process = start_redis(tmp_path / "redis", port)
    yield port, process
    process.kill()
    process.wait(timeout=10)


def test_while_redis_is_away_each_replica_limits_by_itself(
    own_redis: tuple[int, Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(shared_limits, "_RETRY_SECONDS", 0.2)
    port, process = own_redis
    key = a_key(rate=SLOW, concurrency=2)

    async def scenario() -> None:
        async with replicas(f"redis://127.0.0.1:{port}/0") as (one, other), AsyncExitStack() as requests:
            assert await admits(one, key, 5)
            process.kill()
            process.wait(timeout=10)
            for _ in range(2):
                await requests.enter_async_context(one.of(key).admitted(2))
            assert not await admits(one, key, 1), "its own two requests run"
            assert await admits(other, key, 10), "it has admitted nothing yet"
            assert not await admits(other, key, 1)
            assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 2, "once each"

            again = start_redis(tmp_path / "empty", port)
            try:
                await asyncio.sleep(0.3)
                await requests.aclose()
                assert await admits(one, key, 1), "Redis has forgotten all, and this replica has not"
                assert not await admits(one, key, 1)
                with Redis.from_url(f"redis://127.0.0.1:{port}/0") as redis:
                    assert list(redis.scan_iter("*judge-limit*")) == [b"selfreward:judge-limit:{k}:rate"]
            finally:
                again.kill()
                again.wait(timeout=10)

    asyncio.run(scenario())


def test_a_redis_that_hangs_is_waited_for_once(
    own_redis: tuple[int, Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_limits, "_REDIS_SECONDS", 0.5)
    port, process = own_redis
    key = a_key(rate=Rate(items_per_second=0.001, burst=100))

    async def scenario() -> None:
        async with replicas(f"redis://127.0.0.1:{port}/0") as (one, _):
            process.send_signal(signal.SIGSTOP)
            started = time.monotonic()
            assert sum(await asyncio.gather(*(admits(one, key, 1) for _ in range(200)))) == 100
            assert [await admits(one, key, 1) for _ in range(5)] == [False] * 5
            assert 0.5 <= time.monotonic() - started < 3

    try:
        asyncio.run(scenario())
    finally:
        process.send_signal(signal.SIGCONT)


def test_two_judges_hold_a_key_to_its_limits_together(redis_url: str, tmp_path: Path) -> None:
    keys = keys_file(tmp_path, slow="rate = { items_per_second = 0.001, burst = 4 }\nconcurrency = 1")
    asked, release = asyncio.Event(), asyncio.Event()

    async def wait(sent: dict[str, object]) -> Response:
        asked.set()
        await release.wait()
        return fours(sent)

    async def scenario() -> None:
        async with (
            running(Engine(wait), redis_url=redis_url, keys=keys) as one,
            running(Engine(), redis_url=redis_url, keys=keys) as other,
        ):
            first = asyncio.create_task(one.post("/v1/judge", json=body("a", "b"), headers=bearer("slow")))
            await asyncio.wait_for(asked.wait(), 20)
            crowded = await other.post("/v1/judge", json=body("c"), headers=bearer("slow"))
            assert (crowded.status_code, crowded.json()["error"]["code"]) == (429, "concurrency_limit")
            assert "has 1 requests running, 1 are allowed" in message(crowded)
            release.set()
            assert (await first).status_code == 200
            empty = await other.post("/v1/judge", json=body("c", "d", "e"), headers=bearer("slow"))
            assert (empty.status_code, empty.json()["error"]["code"]) == (429, "rate_limit")
            job = await other.post("/v1/jobs", json=body("c", "d"), headers=bearer("slow"))
            assert job.status_code == 202
            assert (await one.post("/v1/judge", json=body("e"), headers=bearer("slow"))).status_code == 429

    asyncio.run(scenario())
