"""The routes of every service for probes and Prometheus: `/healthz`, `/metrics` and, where it says more, `/readyz`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Result = TypeVar("Result")


class Probe(Generic[Result]):
    """Asks `check` at most once every `seconds`, one call at a time, for however many callers.

    So open routes, which anybody may ask as often as they like, cause no work. `check` should return what is wrong and
    not raise it.
    """

    def __init__(self, check: Callable[[], Coroutine[Any, Any, Result]], seconds: float = 1.0) -> None:
        self._check = check
        self._seconds = seconds
        self._asked: asyncio.Task[Result] | None = None
        self._again_at = 0.0

    async def result(self) -> Result:
        """The last answer, or a new one if it is older."""
        if self._asked is None or (self._asked.done() and time.monotonic() >= self._again_at):
            self._again_at = time.monotonic() + self._seconds
            self._asked = asyncio.create_task(self._check())
        return await asyncio.shield(self._asked)

    def forget(self) -> None:
        """Have the next caller ask again: what was true before is so no more."""
        self._asked = None


def told(request: Request, reason: str) -> str:
    """`reason`, which may name paths, addresses and the ends of logs, for callers with a known key.

    Others, whose requests the guard lets in on open routes too, learn only that there is one.
    """
    return reason if request.state.key is not None else "not ready: ask with an API key to learn why"


def healthy() -> str | None:
    """For services that are well while they answer."""
    return None


async def no_more_metrics() -> str:
    """For services whose metrics are all in this process."""
    return ""


def add_health(
    app: FastAPI,
    *,
    trouble: Callable[[], str | None] = healthy,
    ready: Callable[..., Awaitable[Response]] | None = None,
    more_metrics: Callable[[], Awaitable[str]] = no_more_metrics,
) -> None:
    """Add the routes.

    `trouble` says why the process should be restarted, None while it should not. `ready` is the endpoint `/readyz`;
    without it there is no such route. `more_metrics` is called before each answer of `/metrics`, so it may set gauges;
    what it returns, in Prometheus' text format, follows the process's own metrics.
    """

    @app.get("/healthz")
    async def healthz(response: Response) -> dict[str, str]:
        """200 while the process lives and needs no restart, else 503 with the reason."""
        reason = trouble()
        response.status_code = 503 if reason else 200
        return {"status": reason or "ok"}

    if ready:
        app.add_api_route("/readyz", ready)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        more = await more_metrics()
        return Response(generate_latest() + more.encode(), media_type=CONTENT_TYPE_LATEST)
