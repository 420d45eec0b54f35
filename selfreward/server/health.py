"""The routes of every service for probes and Prometheus: `/healthz`, `/metrics` and, where it says more, `/readyz`."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


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
