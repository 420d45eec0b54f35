"""Nothing is judged for nobody: the engine's connections close when the caller's time is up or the caller is gone."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.responses import Response

from selfreward.processes.child import free_port
from services.judge.app import create_app
from services.judge.settings import JudgeSettings
from tests.support.judge_engine import Engine, body, fours, message, running


class HangingEngine:
    """A server on a real socket that reads questions, never answers, and notices when a connection closes."""

    def __init__(self) -> None:
        self.requests = 0
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until its end."""
        self.open += 1
        while chunk := await reader.read(65536):
            self.requests += chunk.count(b"POST /v1/chat/completions")
        self.open -= 1
        writer.close()

    async def wait_for(self, requests: int, opened: int) -> None:
        """Return once so many questions came and so many connections are open; TimeoutError after 5 s."""
        async with asyncio.timeout(5):
            while (self.requests, self.open) != (requests, opened):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(engine: HangingEngine, **settings: Any) -> AsyncIterator[str]:
    """Address of a judge on a real socket in front of that engine."""
    server = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    app = create_app(JudgeSettings(judge_engine_url=url, **settings))
    port = free_port()
    judge = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=1))
    async with server:
        running = asyncio.create_task(judge.serve())
        while not judge.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            judge.should_exit = True
            await running


def test_a_caller_that_leaves_takes_its_questions_back() -> None:
    async def scenario() -> None:
        engine = HangingEngine()
        async with serving(engine, judge_concurrency=2) as url, httpx.AsyncClient() as client:
            calling = asyncio.create_task(client.post(f"{url}/v1/judge", json=body(*["a"] * 6)))
            await engine.wait_for(requests=2, opened=2)
            calling.cancel()
            await engine.wait_for(requests=2, opened=0)
            await asyncio.sleep(0.1)
            assert engine.requests == 2  # the four that waited for a slot were never asked

    asyncio.run(scenario())


def test_the_callers_deadline_is_504_and_takes_its_questions_back() -> None:
    async def scenario() -> None:
        engine = HangingEngine()
        async with serving(engine, judge_concurrency=2) as url, httpx.AsyncClient() as client:
            started = time.monotonic()
            answer = await client.post(
                f"{url}/v1/judge", json=body(*["a"] * 6), headers={"X-Request-Timeout": "1.5"}, timeout=30
            )
            assert 1.4 < time.monotonic() - started < 15
            assert answer.status_code == 504
            assert answer.json()["error"]["code"] == "deadline_exceeded"
            assert "the 1.5 s of X-Request-Timeout" in message(answer)
            await engine.wait_for(requests=2, opened=0)

    asyncio.run(scenario())


def test_an_answer_in_time_is_the_answer() -> None:
    async def scenario() -> int:
        async with running(Engine()) as client:
            answer = await client.post("/v1/judge", json=body("a"), headers={"X-Request-Timeout": "30"})
            return answer.status_code

    assert asyncio.run(scenario()) == 200


@pytest.mark.parametrize("given", ["0", "-1", "soon", "inf", "nan", ""])
def test_a_deadline_that_is_none_is_422(given: str) -> None:
    async def scenario() -> httpx.Response:
        async with running(Engine()) as client:
            return await client.post("/v1/judge", json=body("a"), headers={"X-Request-Timeout": given})

    answer = asyncio.run(scenario())

    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "X-Request-Timeout"
    assert "give the seconds" in message(answer)


def test_slots_of_dropped_work_are_free_again() -> None:
    async def scenario() -> None:
        slow = True

        async def reply(sent: dict[str, Any]) -> Response:
            await asyncio.sleep(5 if slow else 0)
            return fours(sent)

        async with running(Engine(reply), judge_concurrency=2) as client:
            expired = await client.post("/v1/judge", json=body(*["a"] * 6), headers={"X-Request-Timeout": "0.05"})
            assert expired.status_code == 504
            slow = False
            answer = await asyncio.wait_for(client.post("/v1/judge", json=body(*["a"] * 6)), 2)
            assert answer.status_code == 200
            assert "selfreward_judge_waiting_items 0.0" in (await client.get("/metrics")).text

    asyncio.run(scenario())
