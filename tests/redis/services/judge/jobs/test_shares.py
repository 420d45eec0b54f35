"""No key fills the Redis that the loop needs: how many unfinished jobs, batches and files it has, and their bytes."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import RateLimitError

from selfreward.redis.connection import connect
from selfreward.server.errors import ApiError
from services.judge.jobs.shares import Bound, Shares
from tests.support.access import bearer, keys_file
from tests.support.judge_batches import file_of, judge_line, openai_client
from tests.support.judge_engine import Engine, fours
from tests.support.judge_jobs import batch, slow, wait_for, with_judge


def test_a_key_has_so_many_unfinished_jobs_and_no_more(redis_url: str, tmp_path: Path) -> None:
    keys = keys_file(tmp_path, alice="", bob="")

    async def check(client: httpx.AsyncClient) -> None:
        async def create(key: str, **headers: str) -> httpx.Response:
            return await client.post("/v1/jobs", json=batch(400), headers=bearer(key) | headers)

        first = await create("alice", **{"Idempotency-Key": "one"})
        second = await create("alice")
        assert (first.status_code, second.status_code) == (202, 202)
        refused = await create("alice")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_jobs")
        assert int(refused.headers["retry-after"]) > 0
        # The same request again is no further job, and another key has a share of its own.
        assert (await create("alice", **{"Idempotency-Key": "one"})).headers["location"] == first.headers["location"]
        assert (await create("bob")).status_code == 202
        # One that has ended makes room.
        await client.delete(first.headers["location"], headers=bearer("alice"))
        assert (await create("alice")).status_code == 202

    with_judge(redis_url, Engine(slow), check, keys=keys, judge_key_works=2)


def test_a_job_that_is_done_makes_room(redis_url: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        for _ in range(3):
            answer = await client.post("/v1/jobs", json=batch(2))
            assert answer.status_code == 202, answer.text
            await wait_for(client, answer.headers["location"], "done")

    with_judge(redis_url, Engine(fours), check, judge_key_works=1)


def test_a_job_too_large_for_the_share_is_refused(redis_url: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        assert (await client.post("/v1/jobs", json=batch(20))).status_code == 202
        refused = await client.post("/v1/jobs", json=batch(200))
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_job_bytes")

    with_judge(redis_url, Engine(slow), check, judge_key_bytes=5000)


def test_files_and_batches_are_counted(redis_url: str) -> None:
    async def scenario() -> None:
        async with openai_client(redis_url, Engine(slow), judge_key_bytes=2000) as client:
            content = file_of(*(judge_line(str(number)) for number in range(7)))
            assert 700 < len(content[1]) < 1000
            first = await client.files.create(file=content, purpose="batch")
            await client.files.create(file=content, purpose="batch")
            with pytest.raises(RateLimitError, match="too_many_job_bytes"):
                await client.files.create(file=content, purpose="batch")
            route: Any = "/v1/judge"
            with pytest.raises(RateLimitError, match="too_many_job_bytes"):
                await client.batches.create(input_file_id=first.id, endpoint=route, completion_window="24h")
            await client.files.delete(first.id)
            second = await client.files.create(file=content, purpose="batch")
            assert second.bytes == len(content[1])

    asyncio.run(scenario())


def test_a_record_that_expired_counts_no_more(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with connect(redis_url) as redis:
            shares = Shares(redis, Bound(works=1, bytes=100))
            await shares.admit("alice", "a", 60)
            with pytest.raises(ApiError, match="1 unfinished jobs"):
                await shares.admit("alice", "b", 1)
            # It was never written, and is not about to be.
            monkeypatch.setattr("services.judge.jobs.shares._WRITTEN_WITHIN", -1)
            await shares.admit("alice", "b", 1)

    asyncio.run(scenario())
