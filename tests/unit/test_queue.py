"""The work queue on a real Redis server: at least once, never lost, poison set aside."""

import asyncio
from collections.abc import Awaitable, Callable

from selfreward.queue import WorkQueue
from selfreward.redis_client import connect


def with_queue(url: str, check: Callable[[WorkQueue], Awaitable[None]], claim_after_ms: int = 50) -> None:
    async def main() -> None:
        redis = connect(url)
        queue = WorkQueue(redis, "test", claim_after_ms=claim_after_ms, max_deliveries=2)
        await queue.open()
        await queue.open()
        try:
            await check(queue)
        finally:
            await redis.aclose()

    asyncio.run(main())


def test_work_is_delivered_once_and_forgotten_when_done(redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        assert await queue.put("a", {"n": 1})
        assert not await queue.put("a", {"n": 1})
        (work,) = await queue.take("one", count=5)
        assert (work.key, work.body, work.deliveries) == ("a", {"n": 1}, 1)
        assert not await queue.put("a", {"n": 1}), "still in work"
        await queue.done(work)
        assert await queue.length() == 0
        assert await queue.take("one", block_ms=1) == []
        assert await queue.put("a", {"n": 2}), "finished work may come again"

    with_queue(redis_url, check)


def test_a_dead_consumers_work_goes_to_another(redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        await queue.put("a", {})
        await queue.take("dies")
        assert await queue.take("other", block_ms=1) == []
        await asyncio.sleep(0.06)
        (work,) = await queue.take("other", block_ms=1)
        assert (work.key, work.deliveries) == ("a", 2)

    with_queue(redis_url, check)


def test_a_heartbeat_keeps_work_and_costs_no_delivery(redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        await queue.put("a", {})
        (work,) = await queue.take("slow")
        for _ in range(5):
            await asyncio.sleep(0.03)
            await queue.heartbeat("slow", work)
            assert await queue.take("other", block_ms=1) == []
        await asyncio.sleep(0.06)
        (again,) = await queue.take("other", block_ms=1)
        assert again.deliveries == 2

    with_queue(redis_url, check)


def test_poison_goes_to_the_dead_letters_with_its_error(redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        await queue.put("bad", {"n": 1})
        (work,) = await queue.take("one")
        await queue.failed(work, "first")
        assert await queue.dead() == []
        await asyncio.sleep(0.06)
        (work,) = await queue.take("one", block_ms=1)
        await queue.failed(work, "second")
        (letter,) = await queue.dead()
        assert (letter["key"], letter["error"], letter["deliveries"]) == ("bad", "second", "2")
        assert await queue.length() == 0

    with_queue(redis_url, check)


def test_work_that_kills_every_consumer_is_dead_lettered(redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        await queue.put("killer", {})
        for _ in range(2):
            assert await queue.take("victim", block_ms=1)
            await asyncio.sleep(0.06)
        assert await queue.take("next", block_ms=1) == []
        (letter,) = await queue.dead()
        assert "no consumer finished it in 2 deliveries" in letter["error"]

    with_queue(redis_url, check)


def test_many_consumers_share_the_work_without_overlap(redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        for n in range(200):
            await queue.put(str(n), {"n": n})
        seen: list[str] = []

        async def consume(name: str) -> None:
            while works := await queue.take(name, count=7, block_ms=1):
                for work in works:
                    seen.append(work.key)
                    await queue.done(work)

        await asyncio.gather(*(consume(f"c{n}") for n in range(4)))
        assert sorted(seen, key=int) == [str(n) for n in range(200)]

    with_queue(redis_url, check, claim_after_ms=10_000)
