"""Of all routes that vLLM has, development routes included, the gateway passes on those of its list and no other."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from services.generator.app import create_app
from services.generator.engine.process import engine_command, engine_environment
from services.generator.settings import GeneratorSettings

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")
LISTED = {"/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"}
# The gateway answers these by itself, with what it knows.
OWN = {"/metrics", "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc", "/v1/models"}

# vLLM's application is built as its server builds it, from the command line that we start it with; no engine starts.
ENGINE_ROUTES = """
import json, sys
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

arguments = make_arg_parser(FlexibleArgumentParser()).parse_args(sys.argv[1:])
assert (arguments.host, arguments.trust_remote_code, arguments.load_format) == ("127.0.0.1", False, "safetensors")
print(json.dumps([route.path for route in build_app(arguments, ("generate",)).routes]))
"""


@pytest.fixture(scope="module")
def engine_routes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Paths of the routes of the engine's own server."""
    settings = GeneratorSettings()
    folder = tmp_path_factory.mktemp("model")
    arguments = engine_command(settings, folder, 1)[3:]
    ended = subprocess.run(
        [sys.executable, "-c", ENGINE_ROUTES, *arguments],
        env=engine_environment(settings, os.environ, str(folder)),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    paths: list[str] = json.loads(ended.stdout.splitlines()[-1])
    return paths


async def answer(app: FastAPI, method: str, path: str) -> tuple[int, str]:
    """Status and body of a request that no client has tidied."""
    body = [json.dumps({"model": "policy", "messages": [], "prompt": "x", "tokens": [1]}).encode()]
    status, content = 0, b""

    async def receive() -> dict[str, Any]:
        if not body:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": body.pop(), "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status, content
        status = message.get("status", status)
        content += message.get("body", b"")

    scope = {"type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode()}
    address = {
        "scheme": "http",
        "server": ("gateway", 80),
        "client": ("caller", 1),
        "root_path": "",
        "query_string": b"",
    }
    await app({**scope, **address, "headers": []}, receive, send)
    return status, content.decode()


def disguises(path: str) -> list[str]:
    """Other spellings that a server might take for `path`."""
    inner = path.lstrip("/")
    return [
        f"/{path}",
        f"{path}/",
        f"/v1{path}",
        f"/v1/..{path}",
        f"/tokenize/..{path}",
        f"/v1/chat/completions/../../..{path}",
        f"/%2e%2e{path}",
        f"/v1/models/..%2f{inner}",
        f"/admin{path}",
        f"{path};x=1",
        f"{path}%00",
        path.upper(),
    ]


def test_only_listed_routes_of_the_engine_are_reachable(
    engine_routes: list[str], redis_url: str, tmp_path: Path
) -> None:
    """No engine runs here: what would be passed on waits for one and is told so; all else is no route."""
    settings = GeneratorSettings(redis_url=redis_url, artifacts=str(tmp_path), work_dir=tmp_path, queue_seconds=0)
    app = create_app(settings)
    assert {"/collective_rpc", "/pause", "/update_weights", "/v1/responses", *LISTED} <= set(engine_routes)
    paths = [path.replace("{response_id}", "x") for path in engine_routes]
    tried = [*paths, *(other for path in paths for other in disguises(path)), "/metrics/x"]

    async def scenario() -> set[tuple[str, str]]:
        passed_on = set()
        async with app.router.lifespan_context(app):
            for path in dict.fromkeys(tried):
                for method in METHODS:
                    status, body = await answer(app, method, path)
                    if status == 503:
                        assert json.loads(body)["error"]["code"] == "not_serving"
                        passed_on.add((method, path))
                    elif path in OWN and method in ("GET", "HEAD"):
                        assert status in (200, 405), (method, path, body)
                    else:
                        assert status in (307, 404, 405), (method, path, status, body)
        return passed_on

    assert asyncio.run(scenario()) == {("POST", path) for path in LISTED}
