"""A long run leaves nothing behind in Redis: 20,000 items through the queue, and all is as it was before."""

import asyncio
from typing import Any

from selfreward.redis.connection import RedisClient, connect
from selfreward.redis.queue import Item, WorkQueue

ITEMS, BATCH = 20_000, 500
MARGIN = 256 * 1024
"""Bytes: Redis's own buffers move by less, and 20,000 forgotten keys alone would take 2 MB."""


async def pass_through(queue: WorkQueue, count: int) -> None:
    """All are done; every third batch by a second consumer, after the first noted errors and fell silent."""
    for start in range(0, count, BATCH):
        items: list[Item] = [(f"{start + n:064x}", {"text": "x" * 200, "n": n}) for n in range(BATCH)]
        await queue.put_many(items)
        works = await queue.take("one", count=BATCH, block_ms=0)
        assert len(works) == BATCH
        if start % (3 * BATCH) == 0:
            for work in works[::10]:
                await queue.failed(work, "an error " * 20)
            await asyncio.sleep(0.11)
            works = await queue.take("two", count=BATCH, block_ms=0)
        await queue.done(*works)
        for work in works[::50]:
            await queue.failed(work, "too late")


async def memory(redis: RedisClient) -> int:
    info: dict[str, Any] = await redis.info("memory")
    return int(info["used_memory"])


def test_memory_after_twenty_thousand_items_is_what_it_was(each_redis_url: str) -> None:
    async def main() -> None:
        async with connect(each_redis_url) as redis:
            queue = WorkQueue(redis, "test", claim_after_ms=100, max_deliveries=3)
            await pass_through(queue, 6 * BATCH)
            await redis.memory_purge()
            before = await memory(redis)
            await pass_through(queue, ITEMS)
            assert await queue.length() == 0
            assert await redis.exists("selfreward:test:known", "selfreward:test:errors", queue.dead_stream) == 0
            assert (await redis.xpending(queue.stream, queue.group))["pending"] == 0
            await redis.memory_purge()
            grown = await memory(redis) - before
            assert grown < MARGIN, f"{grown} bytes were left behind"

    asyncio.run(main())
