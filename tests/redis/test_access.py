"""Nobody without a key: every route of every service under every scope, and no key in any log or answer."""

import asyncio
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.routing import Route

from selfreward.server.keys import SCOPES, new_key
from selfreward.server.logging import JsonFormatter
from tests.support.access import bearer, keys_file
from tests.support.services import application, serving

SERVICES = ("generator", "judge", "orchestrator")
OPEN, ANY_KEY = "open", "any key"
USE = {"generator": "infer", "judge": "judge", "orchestrator": "run"}
SPECIAL = {
    **{(name, "GET", path): OPEN for name in SERVICES for path in ("/healthz", "/readyz")},
    **{(name, "GET", path): ANY_KEY for name in ("generator", "judge") for path in ("/metrics", "/openapi.json")},
    ("orchestrator", "GET", "/metrics"): OPEN,
    ("generator", "POST", "/admin/weights"): "admin",
    ("judge", "PUT", "/v1/rubrics/x"): "admin",
}
"""What docs/access.md says, but for the routes that need the service's own scope."""


def calls(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of every route, `x` in the place of parameters."""
    for route in app.routes:
        assert isinstance(route, Route), f"{route} is not looked at by this test"
        for method in sorted((route.methods or set()) - {"HEAD"}):
            yield method, re.sub(r"{\w+}", "x", route.path)


@pytest.mark.parametrize("name", SERVICES)
def test_no_host_header_opens_a_route(name: str, redis_url: str, tmp_path: Path) -> None:
    """`Host: x/healthz?` did, where the path was read from the request's URL."""
    app = application(name, redis_url, tmp_path, keys=keys_file(tmp_path, one=f'scopes = ["{USE[name]}"]'))
    hosts = ("x/healthz?", "x/healthz#", "x/readyz?y=", "/healthz?", "x/metrics?", "", "[", "x:99999/healthz?")
    ways = [{"Host": host} for host in hosts] + [
        {"X-Forwarded-Host": "x/healthz?"},
        {"X-Forwarded-Prefix": "/healthz?"},
        {"X-Original-URL": "/healthz"},
        {"X-Rewrite-URL": "/healthz"},
        {"Forwarded": 'host="x/healthz?"'},
    ]

    async def scenario() -> None:
        async with serving(app) as http:
            for method, path in calls(app):
                if SPECIAL.get((name, method, path)) == OPEN:
                    continue
                for headers in ways:
                    assert (await http.request(method, path, headers=headers)).status_code == 401, (path, headers)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["generator", "judge"])
def test_only_a_key_learns_why_a_service_is_not_ready(name: str, redis_url: str, tmp_path: Path) -> None:
    app = application(name, redis_url, tmp_path, keys=keys_file(tmp_path, one=f'scopes = ["{USE[name]}"]'))

    async def scenario() -> None:
        async with serving(app) as http:
            for headers in ({}, bearer("unknown")):
                reply = await http.get("/readyz", headers=headers)
                assert reply.status_code == 503
                assert "ask with an API key to learn why" in reply.text
                assert "http://" not in reply.text
                assert "starting" not in reply.text
            reply = await http.get("/readyz", headers=bearer("one"))
            assert reply.status_code == 503
            assert "ask with an API key" not in reply.text

    asyncio.run(scenario())


@pytest.mark.parametrize("name", SERVICES)
def test_every_route_asks_for_its_scope(name: str, redis_url: str, tmp_path: Path) -> None:
    keys = keys_file(tmp_path, **{scope: f'scopes = ["{scope}"]' for scope in SCOPES})
    app = application(name, redis_url, tmp_path, keys=keys)

    async def scenario() -> None:
        async with serving(app) as http:
            for method, path in [*calls(app), ("POST", "/no/such/route")]:
                needed = SPECIAL.get((name, method, path), USE[name])
                body: dict[str, str] | None = {} if method in ("POST", "PUT") else None
                for headers in ({}, bearer("unknown"), {"Authorization": "Basic admin"}, {"X-Api-Key": "admin"}):
                    reply = await http.request(method, path, json=body, headers=headers)
                    assert (reply.status_code == 401) == (needed != OPEN), (method, path, headers)
                    assert reply.status_code != 401 or reply.headers["www-authenticate"] == "Bearer"
                for scope in SCOPES:
                    reply = await http.request(method, path, json=body, headers=bearer(scope))
                    allowed = needed in (OPEN, ANY_KEY, scope)
                    assert (reply.status_code != 403) == allowed, (method, path, scope, reply.text)
                    assert reply.status_code not in (401, 500), (method, path, scope, reply.text)
                    if not allowed:
                        message = reply.json()["error"]["message"]
                        assert f"key {scope!r} lacks the scope {needed!r}: use a key that has it" in message

    asyncio.run(scenario())


def test_the_trainer_shows_health_and_metrics_and_nothing_else(redis_url: str, tmp_path: Path) -> None:
    app = application("trainer", redis_url, tmp_path)

    assert list(calls(app)) == [("GET", "/healthz"), ("GET", "/metrics")]


def test_a_key_is_revoked_everywhere_without_a_restart(redis_url: str, tmp_path: Path) -> None:
    keys = keys_file(tmp_path, old='scopes = ["infer", "judge", "run"]', new='scopes = ["infer", "judge", "run"]')
    read = {"generator": "/v1/models", "judge": "/v1/rubrics", "orchestrator": "/v1/runs"}

    async def statuses(http: httpx.AsyncClient, path: str) -> list[int]:
        return [(await http.get(path, headers=bearer(key))).status_code for key in ("old", "new")]

    async def scenario() -> None:
        async with (
            serving(application("generator", redis_url, tmp_path, keys=keys)) as generator,
            serving(application("judge", redis_url, tmp_path, keys=keys)) as judge,
            serving(application("orchestrator", redis_url, tmp_path, keys=keys)) as orchestrator,
        ):
            clients = {"generator": generator, "judge": judge, "orchestrator": orchestrator}
            for name, http in clients.items():
                assert await statuses(http, read[name]) == [200, 200], name
            keys_file(tmp_path, new='scopes = ["infer", "judge", "run"]')
            await asyncio.sleep(1.1)  # the file is looked at once a second
            for name, http in clients.items():
                assert await statuses(http, read[name]) == [401, 200], name

    asyncio.run(scenario())


def test_no_log_and_no_answer_has_a_key(redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ours, listed, wrong = new_key(), new_key(), new_key()
    keys = keys_file(tmp_path, **{listed: 'scopes = ["judge"]'})
    keys.write_text(keys.read_text().replace(f'name = "{listed}"', 'name = "listed"'))
    answers = []

    async def scenario() -> None:
        for name in SERVICES:
            app = application(name, redis_url, tmp_path, keys=keys, api_key=SecretStr(ours))
            async with serving(app) as http:
                for method, path in calls(app):
                    for key in (ours, listed, wrong):
                        body = {"rubric": "countdown", "model": "policy", "recipe": {}, "items": [{}]}
                        reply = await http.request(
                            method, path, json=None if method == "GET" else body, headers=bearer(key)
                        )
                        answers.append(f"{reply.headers}{reply.text}")

    asyncio.run(scenario())
    logs = [JsonFormatter().format(record) for record in caplog.records]
    assert len(answers) > 100
    assert any("missing_scope" in answer for answer in answers)
    for text in [*answers, *logs]:
        for key in (ours, listed, wrong):
            assert key not in text
