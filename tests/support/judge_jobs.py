"""Jobs for tests: a batch to send, a judge on a real Redis, and waiting for what becomes of it."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from starlette.responses import Response

from tests.support.judge_engine import Engine, fours, running

Check = Callable[[httpx.AsyncClient], Awaitable[Any]]


def batch(count: int, **fields: Any) -> dict[str, Any]:
    items = [{"prompt": "p", "response": f"answer {index}"} for index in range(count)]
    return {"rubric": "countdown", "items": items, **fields}


async def slow(sent: dict[str, Any]) -> Response:
    await asyncio.sleep(0.05)
    return fours(sent)


def with_judge(url: str, engine: Engine, check: Check, **settings: Any) -> Any:
    async def scenario() -> Any:
        async with running(engine, redis_url=url, judge_job_claim_seconds=0.3, **settings) as client:
            return await check(client)

    return asyncio.run(scenario())


async def wait_for(client: httpx.AsyncClient, path: str, *states: str, judged: int = 0) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        job: dict[str, Any] = (await client.get(path)).json()
        if job["state"] in states and job["judged"] >= judged:
            return job
        assert time.monotonic() < deadline, job
        await asyncio.sleep(0.02)


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.split("\n")[:-1]]
