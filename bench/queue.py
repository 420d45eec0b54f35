"""What the queue's guarantees cost: the same work through it and through a plain stream, in turns on one server.

Writes bench/results/queue.json:
- `rates`: items/s from put to finished with 1, 2 and 4 consumers, one item at a time and in batches, with the ratio of
  the two (1.0: the guarantees cost nothing). Plain is XADD, XREADGROUP and XACK with XDEL by redis-py, pipelined where
  the queue batches: it claims no abandoned work, counts no deliveries, queues keys more than once and has no limit;
- `memory`: Redis's memory and the size of the queue's keys while `--items` pass through, whenever all are finished.

Producer and consumers are tasks of one process, each with its own connections, in the same way for both.
"""

import argparse
import asyncio
import json
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.services import ROOT, commit
from selfreward.processes.child import free_port, stop_child
from selfreward.processes.redis import start_redis
from selfreward.redis.connection import RedisClient, connect
from selfreward.redis.queue import Item, WorkQueue

CONSUMERS = (1, 2, 4)
BATCHES = (1, 32)
_MEMORY_BATCH = 1_000


def make_items(count: int, seed: int) -> list[Item]:
    """Items with keys of 64 hex digits and bodies of about 400 bytes, like those of prompts."""
    rng = random.Random(seed)
    return [(f"{rng.getrandbits(256):064x}", {"n": n, "text": f"{rng.getrandbits(1400):x}"}) for n in range(count)]


class Queue:
    """Our queue, with the interface that the bench drives."""

    def __init__(self, redis: RedisClient) -> None:
        self.queue = WorkQueue(redis, "bench")

    async def put(self, items: list[Item]) -> None:
        """Queue a batch."""
        await self.queue.put_many(items)

    async def work(self, consumer: str, batch: int) -> int:
        """Take and finish up to `batch` items. Returns their number."""
        works = await self.queue.take(consumer, batch, block_ms=100)
        await self.queue.done(*works)
        return len(works)


class Plain:
    """A plain stream with a consumer group."""

    stream, group = "plain", "workers"

    def __init__(self, redis: RedisClient) -> None:
        self.redis = redis

    async def put(self, items: list[Item]) -> None:
        """Queue a batch."""
        async with self.redis.pipeline(transaction=False) as steps:
            for key, body in items:
                steps.xadd(self.stream, {"key": key, "body": json.dumps(body), "queued_at": str(time.time())})
            await steps.execute()

    async def work(self, consumer: str, batch: int) -> int:
        """Take and finish up to `batch` items. Returns their number."""
        replies = await self.redis.xreadgroup(self.group, consumer, {self.stream: ">"}, count=batch, block=100)
        ids = []
        for entry_id, fields in replies[0][1] if replies else []:
            json.loads(fields["body"])
            ids.append(entry_id)
        if ids:
            async with self.redis.pipeline(transaction=False) as steps:
                steps.xack(self.stream, self.group, *ids)
                steps.xdel(self.stream, *ids)
                await steps.execute()
        return len(ids)


Way = Callable[[RedisClient], Queue | Plain]
WAYS: dict[str, Way] = {"plain": Plain, "queue": Queue}


async def rate(url: str, way: Way, items: list[Item], consumers: int, batch: int) -> float:
    """Items/s from the first put until the last item is finished, on an empty Redis."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(url)) for _ in range(consumers + 1)]
        await clients[0].flushall()
        await clients[0].xgroup_create(Plain.stream, Plain.group, id="0", mkstream=True)
        await WorkQueue(clients[0], "bench").open()

        # One producer, and consumers until all items are finished.
        finished, ended = 0, 0.0

        async def produce() -> None:
            side = way(clients[0])
            for start in range(0, len(items), batch):
                await side.put(items[start : start + batch])

        async def consume(number: int) -> None:
            nonlocal finished, ended
            side = way(clients[number])
            while finished < len(items):
                # Not `finished += await ...`: that would add to what `finished` was before the wait.
                done = await side.work(f"c{number}", batch)
                finished += done
                if finished == len(items) and not ended:
                    ended = time.perf_counter()

        started = time.perf_counter()
        tasks: list[Awaitable[None]] = [produce(), *(consume(number + 1) for number in range(consumers))]
        await asyncio.gather(*tasks)
        return len(items) / (ended - started)


async def rates(url: str, items: list[Item], rounds: int) -> list[dict[str, Any]]:
    """Measure both ways in turns, `rounds` times, after one unmeasured turn of each."""
    measured = []
    for batch in BATCHES:
        for consumers in CONSUMERS:
            # Measure both ways in turns.
            by_way: dict[str, list[float]] = {name: [] for name in WAYS}
            for turn in range(rounds + 1):
                for name, way in WAYS.items():
                    per_second = await rate(url, way, items, consumers, batch)
                    if turn:
                        by_way[name].append(per_second)

            # Compare them.
            ratios = [ours / plain for ours, plain in zip(by_way["queue"], by_way["plain"], strict=True)]
            medians = {name: statistics.median(values) for name, values in by_way.items()}
            ratio = statistics.median(ratios)
            listed = ", ".join(f"{name} {value:,.0f}/s" for name, value in medians.items())
            print(f"batch {batch:>2}, {consumers} consumers: {listed}, ratio {ratio:.2f}", flush=True)
            measured.append(
                {
                    "batch": batch,
                    "consumers": consumers,
                    "items_per_second": medians,
                    "ratio_to_plain": ratio,
                    "ratios": ratios,
                }
            )
    return measured


async def memory(url: str, count: int, seed: int, points: int = 10) -> list[dict[str, int]]:
    """What Redis holds before any item, and whenever a further tenth of the items is finished."""
    async with connect(url) as redis:
        await redis.flushall()
        side, done = Queue(redis), 0
        measured: list[dict[str, int]] = []
        await side.queue.open()
        while True:
            if done >= len(measured) * count / points:
                info = await redis.info("memory")
                keys = [key async for key in redis.scan_iter(match=f"{side.queue.stream}:*")]
                measured.append(
                    {
                        "items": done,
                        "used_memory": int(info["used_memory"]),
                        "used_memory_rss": int(info["used_memory_rss"]),
                        "stream_entries": await side.queue.length(),
                        "other_keys": len(keys),
                    }
                )
                print(measured[-1], flush=True)
            if done >= count:
                return measured

            # Pass the next items through the queue.
            part = min(_MEMORY_BATCH, count - done)
            await side.put(make_items(part, seed + done))
            left = part
            while left:
                left -= await side.work("c", 200)
            done += part


async def measure(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all parts. The result also says which commit and versions ran."""
    async with connect(url) as redis:
        server = (await redis.info("server"))["redis_version"]
    items = make_items(arguments.measured, arguments.seed)
    return {
        "commit": commit(),
        "seed": arguments.seed,
        "versions": {"redis": server, "redis-py": version("redis"), "python": platform.python_version()},
        "rates": await rates(url, items, arguments.rounds),
        "memory": await memory(url, arguments.items, arguments.seed),
    }


def main() -> None:
    """Start Redis, measure, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measured", type=int, default=10_000, help="items of each measurement of a rate")
    parser.add_argument("--items", type=int, default=1_000_000, help="items that pass while memory is measured")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "queue.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        port = free_port()
        redis = start_redis(Path(scratch), port)
        try:
            result = asyncio.run(measure(f"redis://127.0.0.1:{port}/0", arguments))
        finally:
            stop_child(redis)
    options = f"--rounds {arguments.rounds} --measured {arguments.measured} --items {arguments.items}"
    command = f"python -m bench.queue {options} --seed {arguments.seed}"
    arguments.out.write_text(json.dumps({"command": command, **result}, indent=1) + "\n")
    print(f"lowest ratio {min(point['ratio_to_plain'] for point in result['rates']):.2f}; {arguments.out}")


if __name__ == "__main__":
    main()
