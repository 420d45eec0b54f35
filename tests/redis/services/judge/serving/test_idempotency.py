"""`Idempotency-Key` on a real Redis: once worked on, twice answered."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from redis import Redis
from starlette.responses import JSONResponse, Response

from tests.support.judge_engine import Engine, body, fours, message, running

KEY = {"Idempotency-Key": "order-1"}
Check = Callable[[httpx.AsyncClient], Awaitable[None]]


def with_judge(url: str, engine: Engine, check: Check, **settings: Any) -> None:
    async def scenario() -> None:
        async with running(engine, redis_url=url, **settings) as client:
            await check(client)

    asyncio.run(scenario())


def test_the_same_request_gets_the_same_answer_again(redis_url: str) -> None:
    engine = Engine()

    async def check(client: httpx.AsyncClient) -> None:
        first = await client.post("/v1/judge", json=body("a"), headers=KEY)
        again = await client.post("/v1/judge", json=body("a"), headers=KEY)
        assert (first.status_code, again.status_code, again.content) == (200, 200, first.content)
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        for name in ("content-type", "x-selfreward-policy-version"):
            assert again.headers[name] == first.headers[name]
        assert len(engine.bodies) == 1

    with_judge(redis_url, engine, check)


def test_another_request_with_the_key_is_422(redis_url: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        await client.post("/v1/judge", json=body("a"), headers=KEY)
        other = await client.post("/v1/judge", json=body("b"), headers=KEY)
        assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
        assert "order-1" in message(other)

    with_judge(redis_url, Engine(), check)


def test_a_key_belongs_to_its_route_and_its_caller(redis_url: str) -> None:
    engine = Engine()

    async def check(client: httpx.AsyncClient) -> None:
        await client.post("/v1/judge", json=body("a"), headers=KEY)
        job = await client.post("/v1/jobs", json=body("b"), headers=KEY)
        other = await client.post("/v1/judge", json=body("c"), headers={**KEY, "Authorization": "Bearer other"})
        assert (job.status_code, other.status_code) == (202, 200)

    with_judge(redis_url, engine, check)


def test_a_duplicate_while_the_first_is_worked_on_is_409(redis_url: str) -> None:
    asked, release = asyncio.Event(), asyncio.Event()

    async def slow(sent: dict[str, Any]) -> Response:
        asked.set()
        await release.wait()
        return fours(sent)

    async def check(client: httpx.AsyncClient) -> None:
        first = asyncio.create_task(client.post("/v1/judge", json=body("a"), headers=KEY))
        await asyncio.wait_for(asked.wait(), 20)
        second = await client.post("/v1/judge", json=body("a"), headers=KEY)
        assert (second.status_code, second.headers["retry-after"]) == (409, "1")
        assert second.json()["error"]["code"] == "idempotency_key_in_use"
        release.set()
        assert (await first).status_code == 200
        third = await client.post("/v1/judge", json=body("a"), headers=KEY)
        assert third.content == (await first).content

    with_judge(redis_url, Engine(slow), check)


def test_after_an_error_the_key_is_free(redis_url: str) -> None:
    engine = Engine(lambda sent: JSONResponse({}, 500) if len(engine.bodies) < 2 else fours(sent))

    async def check(client: httpx.AsyncClient) -> None:
        assert (await client.post("/v1/judge", json=body("a"), headers=KEY)).status_code == 503
        assert (await client.post("/v1/judge", json=body("a"), headers=KEY)).status_code == 200

    with_judge(redis_url, engine, check, judge_engine_attempts=1)


def test_a_job_is_made_once(redis_url: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        first = await client.post("/v1/jobs", json=body("a"), headers=KEY)
        again = await client.post("/v1/jobs", json=body("a"), headers=KEY)
        assert (again.status_code, again.headers["location"]) == (202, first.headers["location"])
        with Redis.from_url(redis_url, decode_responses=True) as redis:
            answers = redis.keys("selfreward:judge-idempotency:*")
            redis.delete(*answers)  # as if the judge had died before it could store the answer
        lost = await client.post("/v1/jobs", json=body("a"), headers=KEY)
        assert lost.json()["id"] == first.json()["id"]
        assert "idempotent-replayed" not in lost.headers

    with_judge(redis_url, Engine(), check)


def test_answers_are_forgotten_in_time(redis_url: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        await client.post("/v1/judge", json=body("a"), headers=KEY)
        with Redis.from_url(redis_url, decode_responses=True) as redis:
            (slot,) = redis.keys("selfreward:judge-idempotency:*")
            assert 0 < redis.ttl(slot) <= 77

    with_judge(redis_url, Engine(), check, judge_idempotency_seconds=77)


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_that_is_none_is_422(redis_url: str, key: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/judge", json=body("a"), headers={"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, "Idempotency-Key")

    with_judge(redis_url, Engine(), check)


def test_a_body_that_is_too_large_is_413_with_a_key_too(redis_url: str) -> None:
    async def chunks() -> Any:
        for _ in range(8):
            yield b" " * 1024

    async def check(client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/judge", content=chunks(), headers=KEY)
        assert answer.status_code == 413

    with_judge(redis_url, Engine(), check, judge_max_body_bytes=4096)
