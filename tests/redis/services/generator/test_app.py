"""The gateway while it has nothing to serve yet: health, readiness, authorisation, bounded waiting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from pydantic import SecretStr

from services.generator.app import create_app
from services.generator.settings import GeneratorSettings

BODY = {"model": "policy", "messages": [{"role": "user", "content": "a"}]}


@asynccontextmanager
async def gateway(redis_url: str, folder: Path, key: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    secret = SecretStr(key) if key else None
    settings = GeneratorSettings(
        redis_url=redis_url, artifacts=str(folder), work_dir=folder, api_key=secret, queue_seconds=0.05, max_queued=1
    )
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://generator") as http,
    ):
        yield http


def test_waits_for_the_first_announcement(redis_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(redis_url, tmp_path) as http:
            assert (await http.get("/healthz")).status_code == 200
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json()["reasons"]) == (503, ["starting"])
            assert (await http.get("/v1/models")).json()["data"] == []
            assert (await http.get("/admin/weights")).json()["state"] == "waiting"
            assert b"selfreward_generator_ready 0.0" in (await http.get("/metrics")).content

    asyncio.run(run())


def test_requests_wait_up_to_a_bound_and_a_deadline(redis_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(redis_url, tmp_path) as http:
            replies = await asyncio.gather(*(http.post("/v1/chat/completions", json=BODY) for _ in range(2)))
            assert sorted(reply.status_code for reply in replies) == [429, 503]
            for reply in replies:
                assert int(reply.headers["retry-after"]) > 0
                assert reply.json()["error"]["message"]

    asyncio.run(run())


def test_everything_but_health_asks_for_the_key(redis_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(redis_url, tmp_path, key="right") as http:
            for path in ("/healthz", "/readyz"):
                assert (await http.get(path)).status_code != 401
            for path in ("/v1/models", "/metrics", "/admin/weights", "/openapi.json", "/nothing"):
                for headers in ({}, {"Authorization": "Bearer wrong"}):
                    reply = await http.get(path, headers=headers)
                    assert reply.status_code == 401
                    assert reply.json()["error"]["code"] == "invalid_api_key"
            assert (await http.get("/v1/models", headers={"Authorization": "Bearer right"})).status_code == 200

    asyncio.run(run())


def test_a_request_id_is_echoed_when_it_is_plain_text(redis_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(redis_url, tmp_path) as http:
            assert (await http.get("/healthz", headers={"X-Request-Id": "abc-1"})).headers["x-request-id"] == "abc-1"
            assert len((await http.get("/healthz", headers={"X-Request-Id": "a b"})).headers["x-request-id"]) == 32

    asyncio.run(run())


def test_unannounced_artifacts_are_refused_with_a_remedy(redis_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(redis_url, tmp_path) as http:
            wanted = {"version": 0, "artifact": "runs/x/weights/M1", "digest": "0" * 64}
            reply = await http.post("/admin/weights", json=wanted)
            assert reply.status_code == 422
            assert "does not exist under" in reply.json()["error"]["message"]
            reply = await http.post("/admin/weights", json=wanted | {"artifact": "../../etc"})
            assert reply.status_code == 422
            reply = await http.post("/admin/weights", json={"version": 0})
            assert reply.status_code == 422

    asyncio.run(run())


def test_no_route_takes_a_body_beyond_the_limit(redis_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(redis_url, tmp_path) as http:
            for path in ("/v1/chat/completions", "/tokenize", "/admin/weights"):
                reply = await http.post(path, content=b'"' + b"a" * (4 << 20) + b'"')
                assert reply.status_code == 413
                assert reply.json()["error"]["code"] == "body_too_long"
                assert "SELFREWARD_MAX_BODY_BYTES" in reply.json()["error"]["message"]
                assert reply.headers["x-request-id"]

    asyncio.run(run())
