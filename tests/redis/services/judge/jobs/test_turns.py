"""A job keeps others waiting for a part of it only, and its next chunks come whatever happens to its judges."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from selfreward.contracts.judging import JudgeItem, JudgeRequest, JudgeResponse, Judgment
from selfreward.redis.connection import connect
from selfreward.redis.queue import WorkQueue
from services.judge.jobs.chunks import AHEAD, QUEUE
from services.judge.jobs.store import Chunk, JobStore
from tests.support.access import bearer, keys_file
from tests.support.judge_engine import Engine
from tests.support.judge_jobs import batch, wait_for, with_judge

LARGE = 5 * AHEAD


def items(count: int) -> JudgeRequest:
    judge_items = [JudgeItem(prompt="p", response=f"answer {index}") for index in range(count)]
    return JudgeRequest.model_construct(rubric="countdown", items=judge_items)


def fives(chunk: Chunk) -> JudgeResponse:
    data = [
        Judgment(id=item.id or "", index=index, score=5, status="ok", votes=[], valid_votes=0)
        for index, item in enumerate(chunk.request.items)
    ]
    return JudgeResponse(id="j", rubric="countdown@sha256:0", judge_version="policy@7", data=data)


@asynccontextmanager
async def store_and_queue(url: str) -> AsyncIterator[tuple[JobStore, WorkQueue]]:
    """Jobs with one item a chunk. What a judge has in hand is anybody's at once."""
    async with connect(url) as redis:
        yield JobStore(redis, 600, chunk_size=1), WorkQueue(redis, QUEUE, claim_after_ms=0, max_deliveries=1_000_000)


def with_store(url: str, check: Callable[[JobStore, WorkQueue], Awaitable[None]]) -> None:
    async def scenario() -> None:
        async with store_and_queue(url) as (store, queue):
            await check(store, queue)

    asyncio.run(scenario())


async def judged_items(store: JobStore, name: str) -> list[int]:
    """The items of a finished job that have a result, in the order in which they are read."""
    job = await store.get(name)
    assert job is not None
    assert (job.state, job.judged) == ("done", job.items)
    return [index for ready in await store.ready(job) for index in ready]


def test_a_small_job_waits_for_a_part_of_a_large_one(redis_url: str) -> None:
    async def check(store: JobStore, queue: WorkQueue) -> None:
        await store.create("large", "countdown", items(LARGE), "alice")
        await store.create("small", "countdown", items(1), "bob")
        judged = []
        while works := await queue.take("judge", block_ms=0):
            for work in works:
                chunk = await store.begin(work.body["job"], work.body["chunk"])
                assert chunk is not None
                assert await store.store_result(work.body["job"], work.body["chunk"], fives(chunk))
                await queue.done(work)
                judged.append(work.body["job"])
        assert judged == ["large"] * AHEAD + ["small"] + ["large"] * (LARGE - AHEAD)
        assert await judged_items(store, "large") == list(range(LARGE))

    with_store(redis_url, check)


def test_every_chunk_is_judged_whenever_its_judges_die(redis_url: str) -> None:
    """A judge may end with a chunk in hand, or with its result stored and the queue not told."""
    rng, stored = random.Random(1), Counter[tuple[str, int]]()

    async def check(store: JobStore, queue: WorkQueue) -> None:
        for name in ("one", "other"):
            await store.create(name, "countdown", items(LARGE), "alice")
        while works := await queue.take("judge", count=3, block_ms=0):
            assert await queue.length() <= 2 * AHEAD + 3
            for work in works:
                job, number, dies = work.body["job"], work.body["chunk"], rng.random()
                chunk = await store.begin(job, number)
                if chunk is not None and dies > 0.3:
                    stored[job, number] += await store.store_result(job, number, fives(chunk))
                    if dies > 0.9:
                        assert not await store.store_result(job, number, fives(chunk)), "a judge that was late"
                if chunk is None or dies > 0.6:
                    await queue.done(work)
        assert stored == dict.fromkeys(((name, n) for name in ("one", "other") for n in range(LARGE)), 1)
        for name in ("one", "other"):
            assert await judged_items(store, name) == list(range(LARGE))

    with_store(redis_url, check)


def test_what_is_cancelled_is_not_queued_any_more(redis_url: str) -> None:
    async def check(store: JobStore, queue: WorkQueue) -> None:
        await store.create("large", "countdown", items(LARGE), "alice")
        (work,) = await queue.take("judge", block_ms=0)
        chunk = await store.begin("large", 0)
        assert chunk is not None
        await store.end("large", "cancelled")
        assert not await store.store_result("large", 0, fives(chunk))
        await queue.done(work)
        left = 0
        while works := await queue.take("judge", block_ms=0):
            left += 1
            assert await store.begin("large", works[0].body["chunk"]) is None
            await queue.done(*works)
        assert left <= AHEAD

    with_store(redis_url, check)


def test_one_keys_large_job_does_not_hold_up_another_keys_small_one(redis_url: str, tmp_path: Path) -> None:
    keys = keys_file(tmp_path, alice="", bob="")

    async def check(client: httpx.AsyncClient) -> None:
        large = await client.post("/v1/jobs", json=batch(4000), headers=bearer("alice"))
        small = await client.post("/v1/jobs", json=batch(1), headers=bearer("bob"))
        client.headers.update(bearer("bob"))
        await wait_for(client, small.headers["location"], "done")
        client.headers.update(bearer("alice"))
        job = (await client.get(large.headers["location"])).json()
        assert job["state"] == "running"
        assert job["judged"] < 2000
        await client.delete(large.headers["location"])

    with_judge(redis_url, Engine(), check, judge_keys=keys)
