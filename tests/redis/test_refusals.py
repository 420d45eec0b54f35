"""What is wrong with a request is answered alike, whichever service it went to."""

import asyncio
import gzip
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.services import application, serving

ROUTES = {"generator": "/v1/chat/completions", "judge": "/v1/judge", "orchestrator": "/v1/runs"}
AS_JSON = {"Content-Type": "application/json"}


def call(name: str, redis_url: str, folder: Path, method: str, path: str, **content: Any) -> httpx.Response:
    async def scenario() -> httpx.Response:
        async with serving(application(name, redis_url, folder)) as http:
            return await http.request(method, path, **content)

    return asyncio.run(scenario())


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"a":', "Expecting value: line 1 column 6 (char 5)"),
        (b'{"a":"\xff\xfe"}', "byte 6 is not UTF-8"),
        ('{"a": "é"}'.encode("latin-1"), "byte 7 is not UTF-8"),
        (gzip.compress(b'{"a": 1}'), "byte 1 is not UTF-8"),
        (b"[" * 200_000, "it is nested too deeply"),
        (b'{"seed": ' + b"1" * 5000 + b"}", "a number has too many digits"),
    ],
    ids=["cut short", "bytes", "latin-1", "gzip", "deep", "long number"],
)
def test_a_body_that_is_not_json(name: str, content: bytes, why: str, redis_url: str, tmp_path: Path) -> None:
    answer = call(name, redis_url, tmp_path, "POST", ROUTES[name], content=content, headers=AS_JSON)

    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": f"the body is not JSON: {why}: send UTF-8 JSON",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_json",
    }


@pytest.mark.parametrize("name", ["judge", "orchestrator"])
def test_json_that_is_not_announced(name: str, redis_url: str, tmp_path: Path) -> None:
    answer = call(name, redis_url, tmp_path, "POST", ROUTES[name], content=b"{}")

    assert answer.status_code == 422
    assert answer.json()["error"]["message"].endswith("send Content-Type: application/json")


@pytest.mark.parametrize(
    ("method", "path", "json", "status", "param", "words"),
    [
        ("GET", "/v1/runs/none", None, 404, "run", "run 'none' does not exist"),
        ("POST", "/v1/runs/none/stop", None, 404, "run", "run 'none' does not exist"),
        ("POST", "/v1/runs", {"recipe": {}}, 422, "recipe.name", "name is missing: add it"),
        ("POST", "/v1/runs", {"recipe": {"name": "a"}}, 422, "recipe.model", "model is missing: add it"),
        ("GET", "/v1/runs/none/export", None, 422, "stage", "stage is missing: add it"),
    ],
)
def test_the_orchestrator_names_the_field(
    method: str, path: str, json: Any, status: int, param: str | None, words: str, redis_url: str, tmp_path: Path
) -> None:
    answer = call("orchestrator", redis_url, tmp_path, method, path, json=json)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param)
    assert words in error["message"]
