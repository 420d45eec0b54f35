"""A jury of two engines, each told apart by its host, and the rubric that names them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from starlette.responses import Response

from tests.support.judge_engine import Engine, completion

TABLE = """
small = { url = "http://small/v1", model = "small-judge", key = "its-key", parameters = { service_tier = "flex" } }
large = { url = "http://large", model = "large-judge" }
"""  # pragma: allowlist secret - a test's own
RUBRIC = 'title = "T"\nengines = ["small", "large"]\nmin_valid_votes = 1\n'
TEMPLATE = "<q>{prompt}</q> <a>{response}</a> Score: <grade>"
Texts = Callable[[dict[str, Any]], str]


class Hosts(httpx.AsyncBaseTransport):
    """A network in which each engine is the host of its name."""

    def __init__(self, **engines: Engine) -> None:
        self._apps = {name: httpx.ASGITransport(engine.app) for name, engine in engines.items()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """What the engine answers."""
        if request.url.host not in self._apps:
            raise httpx.ConnectError(f"nothing listens at {request.url.host}")
        return await self._apps[request.url.host].handle_async_request(request)


def saying(text: str | Texts) -> Engine:
    """An engine whose votes all are this text, which may depend on the request."""

    def reply(sent: dict[str, Any]) -> Response:
        return completion(*[text(sent) if callable(text) else text] * sent["n"], version=None)

    return Engine(reply)


def a_rubric(folder: Path, spec: str = RUBRIC, template: str = TEMPLATE, name: str = "jury") -> Path:
    """A folder of rubrics with this one."""
    (folder / name).mkdir(parents=True)
    (folder / name / "rubric.toml").write_text(spec)
    (folder / name / "template.txt").write_text(template)
    return folder
