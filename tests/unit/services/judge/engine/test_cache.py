"""The result cache without a Redis, and the modes that a request may ask for."""

import asyncio
import logging

import httpx
import pytest
from prometheus_client import REGISTRY
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.support.judge_engine import Engine, body, message, running


class Versioned(Engine):
    """An engine that says which version it serves, without which no answer of it is looked up."""

    async def models(self, _: Request) -> Response:
        """The alias and the version."""
        return JSONResponse({"object": "list", "data": [{"id": "policy"}, {"id": "policy@7"}]})


def unavailable() -> float:
    return REGISTRY.get_sample_value("selfreward_judge_cache_total", {"result": "unavailable"}) or 0


def test_without_redis_the_judge_judges_and_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with running(Versioned()) as client:
            for _ in range(3):
                assert (await client.post("/v1/judge", json=body("a", "b", seed=1))).status_code == 200

    before = unavailable()
    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())

    assert unavailable() - before == 6
    assert ["cache" in record.message for record in caplog.records].count(True) == 1


def test_an_unknown_mode_is_422() -> None:
    async def scenario() -> httpx.Response:
        async with running(Engine()) as client:
            return await client.post("/v1/judge", json=body("a"), headers={"X-Selfreward-Cache": "maybe"})

    answer = asyncio.run(scenario())

    assert answer.status_code == 422
    assert "write use, refresh or off" in message(answer)
