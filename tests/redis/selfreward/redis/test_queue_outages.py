"""Redis goes away, is killed, runs full or loses its data: those who put and take pause and go on, and nothing is lost.

Each test has a server of its own, which it may hurt.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import pytest
from redis.asyncio import Redis

from selfreward.processes.child import free_port
from selfreward.processes.redis import start_redis
from selfreward.redis.connection import RedisClient, RedisRefused, connect, retry_while_redis_is_away
from selfreward.redis.queue import BacklogFull, Item, WorkQueue
from selfreward.server.background import cancel_and_wait

RESULTS = "results"


@dataclass
class Server:
    """A Redis of the test's own, on one port and folder for its whole life."""

    folder: Path
    binary: str
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)

    def start(self) -> None:
        """Start it on what it wrote before."""
        self.process: Popen[bytes] = start_redis(self.folder, self.port, *self.options, binary=self.binary)

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait(timeout=10)

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/0"


@pytest.fixture
def server(redis_server_binary: str, tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "redis", redis_server_binary)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def small_server(redis_server_binary: str, tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "redis", redis_server_binary, ("--maxmemory", "4mb"))
    server.start()
    yield server
    server.kill()


def client(url: str) -> RedisClient:
    """As the services connect, but sooner sure that Redis is away."""
    redis = connect(url)
    redis.connection_pool.connection_kwargs["socket_timeout"] = 0.5
    return redis


async def consume(url: str, name: str, effects: Counter[str], pause: float = 0.0) -> None:
    """Work for ever as the services do: an item's result is stored with its end, whatever Redis does."""
    async with client(url) as redis:
        queue = WorkQueue(redis, "test", claim_after_ms=2_000, max_deliveries=1_000)
        while True:
            for work in await retry_while_redis_is_away(lambda: queue.take(name, count=5, block_ms=100), "work"):
                await asyncio.sleep(pause)
                stored = retry_while_redis_is_away(lambda work=work: queue.done_with(work, RESULTS, name), "a result")  # type: ignore[misc]
                effects[work.key] += await stored


async def results_become(url: str, count: int, seconds: float = 60) -> None:
    async with client(url) as redis, asyncio.timeout(seconds):
        while await retry_while_redis_is_away(lambda: redis.hlen(RESULTS), "results") != count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def through(server: Server, items: list[Item], hurt: Callable[[], Awaitable[None]]) -> Counter[str]:
    """Put all items and have two consumers do them while Redis is hurt; counts whose results were taken."""
    effects: Counter[str] = Counter()
    consumers = [asyncio.create_task(consume(server.url, name, effects, pause=0.005)) for name in ("one", "two")]
    async with client(server.url) as redis:
        queue = WorkQueue(redis, "test", limit=50)
        producer = asyncio.create_task(queue.put_many(items, wait_s=30))
        await hurt()
        await producer
        await results_become(server.url, len(items))
        assert await queue.length() == 0
        assert await queue.dead() == []
        assert sorted(await redis.hkeys(RESULTS)) == sorted(key for key, _ in items)
        assert not await redis.exists("selfreward:test:known", "selfreward:test:errors")
    await cancel_and_wait(consumers)
    return effects


def test_a_redis_that_is_killed_and_started_again_loses_and_doubles_nothing(server: Server) -> None:
    async def hurt() -> None:
        for _ in range(2):
            await asyncio.sleep(0.4)
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(server.start)

    effects = asyncio.run(through(server, [(str(n), {"n": n}) for n in range(600)], hurt))
    assert max(effects.values()) == 1


def test_a_redis_that_stands_still_is_waited_for(server: Server) -> None:
    async def hurt() -> None:
        await asyncio.sleep(0.4)
        server.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(2)
        server.process.send_signal(signal.SIGCONT)

    effects = asyncio.run(through(server, [(str(n), {"n": n}) for n in range(400)], hurt))
    assert max(effects.values()) == 1


def test_a_full_redis_takes_no_new_work_lets_work_be_finished_and_then_goes_on(small_server: Server) -> None:
    url = small_server.url

    async def main() -> None:
        async with client(url) as redis:
            queue = WorkQueue(redis, "test")
            items: list[Item] = [(str(n), {"text": "x" * 10_000}) for n in range(1_000)]
            with pytest.raises(BacklogFull, match=r"Redis took none of the last .* memory"):
                await queue.put_many(items, wait_s=0.3)
            queued = await queue.length()
            assert 100 < queued < 1_000
            effects: Counter[str] = Counter()
            consumer = asyncio.create_task(consume(url, "one", effects))
            assert await queue.put_many(items, wait_s=30) == 1_000 - queued
            await results_become(url, 1_000)
            await cancel_and_wait([consumer])
            assert await queue.length() == 0

    asyncio.run(main())


def test_a_result_waits_for_room_and_its_item_with_it(small_server: Server) -> None:
    async def main() -> None:
        async with client(small_server.url) as redis:
            queue = WorkQueue(redis, "test", max_deliveries=1)
            await queue.put_many([("a", {}), ("b", {})])
            works = await queue.take("one", count=2)
            await redis.config_set("maxmemory", 1)
            storing = asyncio.create_task(
                retry_while_redis_is_away(lambda: queue.done_with(works[0], RESULTS, "a result"), "a result")
            )
            await asyncio.sleep(0.5)
            assert not storing.done()
            await queue.dead_letter(works[1], "broken")
            assert [letter["key"] for letter in await queue.dead()] == ["b"]
            assert await queue.length() == 1
            await redis.config_set("maxmemory", 0)
            assert await asyncio.wait_for(storing, 10)
            assert await redis.hgetall(RESULTS) == {"a": "a result"}
            assert await queue.length() == 0

    asyncio.run(main())


def test_a_consumer_outlives_the_loss_of_all_data(server: Server) -> None:
    async def main() -> None:
        async with client(server.url) as redis:
            queue = WorkQueue(redis, "test")
            await queue.put("a", {})
            assert await queue.take("one")
            await redis.flushall()
            assert await queue.take("one", block_ms=1) == []
            waiting = asyncio.create_task(queue.take("one", block_ms=400))
            await asyncio.sleep(0.1)
            await redis.flushall()
            await queue.put("b", {})
            works = await waiting or await queue.take("one")
            assert [work.key for work in works] == ["b"]

    asyncio.run(main())


@pytest.mark.parametrize("user", [":wrong@", ""])
def test_a_password_that_is_wrong_or_missing_is_an_error_at_once(server: Server, user: str) -> None:
    async def main() -> None:
        async with Redis.from_url(server.url) as redis, connect(server.url.replace("//", f"//{user}")) as stranger:
            await redis.config_set("requirepass", "secret")
            with pytest.raises(RedisRefused, match=r"^Redis refuses this client \((?!Redis).*SELFREWARD_REDIS_URL"):
                await asyncio.wait_for(retry_while_redis_is_away(lambda: stranger.get("x"), "x"), 10)

    asyncio.run(main())
