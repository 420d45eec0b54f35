"""The engine's address: what OpenAI's clients take as a base URL, and a server's address without a path."""

import asyncio

import httpx
import pytest

from tests.support.judge_engine import body, completion, running


@pytest.mark.parametrize(
    ("address", "route"),
    [
        ("http://host:8000", "http://host:8000/v1"),
        ("http://host:8000/", "http://host:8000/v1"),
        ("https://host/v1", "https://host/v1"),
        ("https://host/v1/", "https://host/v1"),
        ("https://host/v1beta/openai/", "https://host/v1beta/openai"),
        ("https://host/api/paas/v4", "https://host/api/paas/v4"),
        ("https://host/inference", "https://host/inference"),
    ],
)
def test_requests_go_to_the_address(address: str, route: str) -> None:
    assert _asked(judge_engine_url=address) == {f"{route}/chat/completions", f"{route}/models"}


def test_the_generators_routes_are_below_v1_wherever_it_is() -> None:
    route = "http://gateway/generator/v1"

    assert _asked(generator_url="http://gateway/generator") == {f"{route}/chat/completions", f"{route}/models"}


def _asked(**settings: str) -> set[str]:
    """The URLs that the engine is asked at while the judge judges and says whether it is ready."""
    urls: set[str] = set()

    def answer(request: httpx.Request) -> httpx.Response:
        urls.add(str(request.url))
        if request.method == "GET":
            return httpx.Response(200, json={"object": "list", "data": [{"id": "policy"}]})
        return httpx.Response(200, content=bytes(completion(*["Score: 4"] * 3).body))

    async def scenario() -> None:
        async with running(None, httpx.MockTransport(answer), **settings) as client:
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.post("/v1/judge", json=body("a"))).status_code == 200

    asyncio.run(scenario())
    return urls
