"""The work queue on a real Redis server: at least once, never lost, poison set aside."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from selfreward.redis.connection import connect
from selfreward.redis.queue import LIMIT, BacklogFull, Item, Work, WorkQueue

SILENCE_MS = 60_000


async def falls_silent(queue: WorkQueue, consumer: str, *works: Work) -> None:
    """Let as much time pass as the queue gives a consumer to show that it is alive."""
    ids = [work.entry_id for work in works]
    await queue.redis.xclaim(queue.stream, queue.group, consumer, 0, ids, idle=SILENCE_MS, justid=True)


def with_queue(url: str, check: Callable[[WorkQueue], Awaitable[None]], limit: int = LIMIT) -> None:
    async def main() -> None:
        redis = connect(url)
        queue = WorkQueue(redis, "test", claim_after_ms=SILENCE_MS, max_deliveries=2, limit=limit)
        await queue.open()
        await queue.open()
        try:
            await check(queue)
        finally:
            await redis.aclose()

    asyncio.run(main())


def test_work_is_delivered_once_and_forgotten_when_done(each_redis_url: str) -> None:
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

    with_queue(each_redis_url, check)


def test_a_dead_consumers_work_goes_to_another(each_redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        await queue.put("a", {})
        dropped = await queue.take("dies")
        assert await queue.take("other", block_ms=1) == []
        await falls_silent(queue, "dies", *dropped)
        (work,) = await queue.take("other", block_ms=1)
        assert (work.key, work.deliveries) == ("a", 2)

    with_queue(each_redis_url, check)


def test_a_heartbeat_keeps_work_and_costs_no_delivery(each_redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        await queue.put("a", {})
        (work,) = await queue.take("slow")
        for _ in range(5):
            await falls_silent(queue, "slow", work)
            await queue.heartbeat("slow", work)
            assert await queue.take("other", block_ms=1) == []
        await falls_silent(queue, "slow", work)
        (again,) = await queue.take("other", block_ms=1)
        assert again.deliveries == 2

    with_queue(each_redis_url, check)


def test_poison_goes_to_the_dead_letters_with_its_error(each_redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        await queue.put("bad", {"n": 1})
        (work,) = await queue.take("one")
        await queue.failed(work, "first")
        assert await queue.dead() == []
        await falls_silent(queue, "one", work)
        (work,) = await queue.take("one", block_ms=1)
        await queue.failed(work, "second")
        (letter,) = await queue.dead()
        assert (letter["key"], letter["error"], letter["deliveries"]) == ("bad", "second", "2")
        assert await queue.length() == 0

    with_queue(each_redis_url, check)


def test_work_that_kills_every_consumer_is_dead_lettered(each_redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        await queue.put("killer", {})
        for _ in range(2):
            (work,) = await queue.take("victim", block_ms=1)
            await falls_silent(queue, "victim", work)
        assert await queue.take("next", block_ms=1) == []
        (letter,) = await queue.dead()
        assert "no consumer finished it in 2 deliveries" in letter["error"]

    with_queue(each_redis_url, check)


def test_many_consumers_share_the_work_without_overlap(each_redis_url: str) -> None:
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

    with_queue(each_redis_url, check)


def test_a_batch_is_queued_in_order_and_each_key_once(each_redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        items: list[Item] = [(f"k{n}", {"n": n}) for n in range(500)]
        assert await queue.put_many(items[:300]) == 300
        assert await queue.put_many([*items, items[0]]) == 200
        works = await queue.take("one", count=1000)
        assert [(work.key, work.body) for work in works] == items
        assert await queue.done(*works) == 500
        assert await queue.done(*works) == 0
        assert await queue.length() == 0

    with_queue(each_redis_url, check)


def test_who_puts_waits_at_the_limit_until_work_is_done(each_redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        most = 0

        async def consume() -> int:
            nonlocal most
            taken = 0
            while works := await queue.take("one", count=3, block_ms=500):
                most = max(most, await queue.length())
                taken += len(works)
                await queue.done(*works)
            return taken

        items: list[Item] = [(str(n), {}) for n in range(100)]
        consumer = asyncio.create_task(consume())
        assert await queue.put_many(items, wait_s=5) == 100
        assert await consumer == 100
        assert most <= 10

    with_queue(each_redis_url, check, limit=10)


def test_a_backlog_that_stays_full_is_an_error_that_says_what_to_do(each_redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        with pytest.raises(
            BacklogFull, match=r"queue test .* limit of 2 .*, with 1 more to come: see that its workers"
        ):
            await queue.put_many([("a", {}), ("b", {}), ("c", {})], wait_s=0.2)
        assert await queue.length() == 2
        assert not await queue.put("a", {}), "an item that is there needs no room"
        assert await queue.offer([("b", {}), ("c", {}), ("d", {})]) == 1
        (work, _) = await queue.take("one", count=2)
        await queue.done(work)
        assert await queue.put_many([("a", {}), ("b", {})], wait_s=0.2) == 1

    with_queue(each_redis_url, check, limit=2)


def test_abandoned_work_behind_much_work_in_hand_is_found(each_redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        await queue.put_many([(str(n), {}) for n in range(41)])
        await queue.take("busy", count=40)
        await falls_silent(queue, "dies", *await queue.take("dies"))
        found = [work.key for _ in range(6) for work in await queue.take("other", block_ms=0)]
        assert found == ["40"]

    with_queue(each_redis_url, check)


def test_who_finishes_late_changes_nothing(each_redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        await queue.put("a", {})
        (slow,) = await queue.take("slow")
        await falls_silent(queue, "slow", slow)
        (work,) = await queue.take("other")
        assert await queue.done_with(work, "results", "first")
        await queue.redis.delete("results")
        assert await queue.put("a", {"again": True})
        assert not await queue.done_with(slow, "results", "second")
        assert await queue.done(slow) == 0
        await queue.failed(slow, "an error of the past")
        await queue.dead_letter(slow, "an error of the past")
        assert not await queue.put("a", {}), "the new item of that key is still known"
        assert await queue.length() == 1
        assert await queue.dead() == []
        assert not await queue.redis.exists("results", "selfreward:test:errors")

    with_queue(each_redis_url, check)


def test_a_key_whose_entry_was_lost_can_be_put_again(each_redis_url: str) -> None:
    async def check(queue: WorkQueue) -> None:
        await queue.put("a", {})
        await queue.redis.delete(queue.stream)
        assert await queue.put("a", {})
        (work,) = await queue.take("one")
        assert work.key == "a"

    with_queue(each_redis_url, check)
