"""The generator's HTTP application: OpenAI routes, health, metrics and weights."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.types import Scope

from selfreward.client.aiohttp_transport import AiohttpTransport
from selfreward.client.generator import VERSION_HEADER
from selfreward.redis.announcements import Announced
from selfreward.redis.connection import connect
from selfreward.server.background import cancel_and_wait, restart_forever
from selfreward.server.budget import ByteBudget
from selfreward.server.descriptors import bound_by_descriptors
from selfreward.server.errors import ApiError, add_error_handlers
from selfreward.server.health import add_health, told
from selfreward.server.keys import KeyScope, LiveKeyring
from selfreward.server.middleware import RequestGuard
from selfreward.store.artifacts import ArtifactStore
from services.generator import metrics
from services.generator.engine.control import control_client
from services.generator.engine.node import check_nodes
from services.generator.engine.process import SERVED_NAME, EngineFailed
from services.generator.gateway.proxy import Proxy
from services.generator.gateway.trial import GrammarTrial
from services.generator.replica.follower import Follower
from services.generator.replica.gate import Gate
from services.generator.replica.replica import Replica
from services.generator.replica.swap import WeightsRefused
from services.generator.replica.watch import watch
from services.generator.settings import GeneratorSettings

DESCRIPTORS_EACH = 3
"""A request has a connection from the client, one to the engine, and may leave another idle that streams had."""
_PROXIED = ("/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize")
_COUNTED = (*_PROXIED, "/v1/models", "/admin/weights")
_ANY_KEY = ("/metrics", "/openapi.json")
_log = logging.getLogger(__name__)


def create_app(settings: GeneratorSettings) -> FastAPI:
    """One replica. The engine starts in the background: `/readyz` says when it serves.

    Raises KeysError for an unusable keys file, StartRefused for nodes that cannot start together.
    """
    # What may refuse the start comes first, before there is anything to close.
    check_nodes(settings)
    keyring = LiveKeyring(settings)
    # The replica, and what it listens to.
    inflight = bound_by_descriptors("SELFREWARD_MAX_INFLIGHT", settings.max_inflight, DESCRIPTORS_EACH)
    gate = Gate(inflight, settings.max_queued, settings.queue_seconds)
    control = control_client()
    replica = Replica(settings, ArtifactStore(settings.artifacts, settings.artifact_cache), gate, control)
    redis = connect(settings.redis_url)
    follower = Follower(redis, replica, settings.poll_seconds)
    # Connections to the engine. vLLM closes idle ones after 5 s: none may be about to be closed when it is used.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=512, keepalive_expiry=4)
    timeout = httpx.Timeout(settings.request_seconds, connect=10)
    http = httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False)
    transport = AiohttpTransport(inflight, proxies=False)
    trial = GrammarTrial(lambda: replica.serving.folder if replica.serving else None)
    proxy = Proxy(replica, gate, http, transport, trial)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loops = (follower.run(), replica.heal(), restart_forever("watch", lambda: watch(replica)))
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            # A poll that ends by itself leaves its Redis connection intact; a swap or a start is not waited for.
            follower.stopping.set()
            await asyncio.wait(tasks[:1], timeout=1)
            await cancel_and_wait(tasks)
            await replica.stop()
            await trial.close()
            await http.aclose()
            await transport.aclose()
            await control.aclose()
            await redis.aclose()

    app = FastAPI(title="selfreward generator", lifespan=lifespan)
    app.state.replica = replica
    app.add_middleware(
        RequestGuard,
        keyring=keyring,
        needed_scope=_needed_scope,
        max_body_bytes=settings.max_body_bytes,
        limit_setting="SELFREWARD_MAX_BODY_BYTES",
        budget=ByteBudget(settings.max_bytes_in_flight, "SELFREWARD_MAX_BYTES_IN_FLIGHT"),
        on_answer=_count_answer,
    )
    add_error_handlers(app)
    _add_proxied(app, proxy)
    _add_models(app, replica)
    _add_health(app, replica, gate)
    _add_weights(app, replica, follower)
    return app


def _add_proxied(app: FastAPI, proxy: Proxy) -> None:
    def carry(route: str) -> None:
        async def endpoint(request: Request) -> Response:
            return await proxy.answer(request, route)

        app.add_route(route, endpoint, methods=["POST"])

    for route in _PROXIED:
        carry(route)


def _add_models(app: FastAPI, replica: Replica) -> None:
    def cards() -> list[dict[str, Any]]:
        serving = replica.serving
        if serving is None:
            return []
        common = {"object": "model", "created": 0, "owned_by": "selfreward", "max_model_len": replica.max_model_len}
        names = [SERVED_NAME, serving.label]
        return [
            {"id": name, **common, "root": serving.artifact or serving.label, "parent": parent}
            for name, parent in zip(names, (None, SERVED_NAME), strict=True)
        ]

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The served model under its two names: `policy`, and its version."""
        return {"object": "list", "data": cards()}

    @app.get("/v1/models/{name}")
    async def model(name: str) -> dict[str, Any]:
        """One of the models."""
        for card in cards():
            if card["id"] == name:
                return card
        raise ApiError(404, f"model {name!r} is not served here", "model", "model_not_found")


def _needed_scope(scope: Scope) -> KeyScope | None:
    """What is served may be seen with `infer`; only changing it needs `admin`."""
    path = scope["path"]
    if path in _ANY_KEY:
        return None
    return "admin" if path.startswith("/admin/") and scope["method"] not in ("GET", "HEAD") else "infer"


def _count_answer(scope: Scope, status: int) -> None:
    path = scope["path"]
    metrics.REQUESTS.labels(path if path in _COUNTED else "other", str(status)).inc()


def _add_health(app: FastAPI, replica: Replica, gate: Gate) -> None:
    async def readyz(request: Request) -> JSONResponse:
        """Engine up, not paused, expected version, last canary passed: 200. Else 503, with the reasons for a key."""
        reasons = [told(request, reason) for reason in await replica.unready()]
        label = replica.serving.label if replica.serving else None
        refused = {label: told(request, refusal.reason) for label, refusal in replica.refused.items()}
        body = {"ready": not reasons, "version": label, "reasons": reasons, "refused": refused}
        return JSONResponse(body, status_code=503 if reasons else 200)

    async def engine_metrics() -> str:
        """The engine's own metrics, after the gauges of the gate have been set."""
        metrics.INFLIGHT.clear()
        metrics.INFLIGHT.labels(gate.label).set(gate.inflight)
        metrics.QUEUED.set(gate.queued)
        metrics.READY.set(gate.reason is None)
        try:
            return metrics.engine_families(await replica.admin().metrics())
        except EngineFailed as error:
            _log.warning("no engine metrics", extra={"reason": str(error)})
            return ""

    # A lost engine is healed here, so it is no reason to restart the gateway: `/healthz` does not ask for it.
    add_health(app, ready=readyz, more_metrics=engine_metrics)


def _add_weights(app: FastAPI, replica: Replica, follower: Follower) -> None:
    def status() -> dict[str, Any]:
        serving = replica.serving
        return {
            "state": replica.state,
            "label": serving.label if serving else None,
            "version": serving.version if serving else None,
            "artifact": serving.artifact if serving else None,
            "digest": serving.digest if serving else None,
            "announced": follower.announced.model_dump() if follower.announced else None,
            "refused": [{"label": label, **refusal._asdict()} for label, refusal in replica.refused.items()],
            "swaps": replica.swaps,
            "last_swap_seconds": replica.last_swap,
        }

    @app.get("/admin/weights")
    async def weights() -> dict[str, Any]:
        """What is served and announced, and what was refused for which reason."""
        return status()

    @app.post("/admin/weights")
    async def put_weights(wanted: Announced) -> JSONResponse:
        """Serve these weights now, until another announcement."""
        replica.target = wanted.label
        try:
            await replica.adopt(wanted)
        except WeightsRefused as refused:
            raise ApiError(422, str(refused), "artifact", "weights_refused") from refused
        except EngineFailed as failed:
            raise ApiError(503, str(failed), code="engine_lost") from failed
        headers = {VERSION_HEADER: wanted.label}
        return JSONResponse(status(), headers=headers)
