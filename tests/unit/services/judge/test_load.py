"""What the judge takes on at once: small requests beside large ones, too much work, and callers who have left."""

import asyncio
from typing import Any

import httpx
from starlette.responses import Response

from services.judge.app import create_app
from services.judge.settings import JudgeSettings
from tests.support.judge_engine import Engine, body, fours, running


def test_a_small_request_does_not_wait_behind_a_large_one() -> None:
    async def scenario() -> list[str]:
        done = []

        async def slow(sent: dict[str, Any]) -> Response:
            await asyncio.sleep(0.005)
            return fours(sent)

        engine = Engine(slow)
        async with running(engine, judge_concurrency=4) as client:

            async def send(name: str, count: int) -> None:
                assert (await client.post("/v1/judge", json=body(*["a"] * count))).status_code == 200
                done.append(name)

            large = asyncio.create_task(send("large", 100))
            await asyncio.sleep(0.02)
            await asyncio.gather(large, send("small", 2))
        assert engine.most_running == 4
        return done

    assert asyncio.run(scenario()) == ["small", "large"]


def test_too_much_work_is_429() -> None:
    async def scenario() -> list[int]:
        async def slow(sent: dict[str, Any]) -> Response:
            await asyncio.sleep(0.1)
            return fours(sent)

        async with running(Engine(slow), judge_concurrency=1, judge_max_waiting=4) as client:
            first = asyncio.create_task(client.post("/v1/judge", json=body(*["a"] * 4)))
            await asyncio.sleep(0.05)
            second = await client.post("/v1/judge", json=body(*["a"] * 4))
            assert second.headers["retry-after"] == "1"
            return [(await first).status_code, second.status_code]

    assert asyncio.run(scenario()) == [200, 429]


def test_work_for_a_client_that_went_away_is_dropped() -> None:
    async def scenario() -> int:
        async def slow(sent: dict[str, Any]) -> Response:
            await asyncio.sleep(0.05)
            return fours(sent)

        engine = Engine(slow)
        settings = JudgeSettings(generator_url="http://engine", judge_concurrency=1)
        app = create_app(settings, engine_transport=httpx.ASGITransport(engine.app))
        messages = iter(
            [{"type": "http.request", "body": httpx.Request("POST", "http://x", json=body(*["a"] * 50)).content}]
        )

        async def receive() -> dict[str, Any]:
            sent = next(messages, None)
            if sent is None:
                await asyncio.sleep(0.12)
                return {"type": "http.disconnect"}
            return sent

        async def send(_: Any) -> None:
            pass

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/judge",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
        }
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)
            requests = len(engine.bodies)
            await asyncio.sleep(0.15)
            assert len(engine.bodies) == requests
        return requests

    assert asyncio.run(scenario()) < 6
