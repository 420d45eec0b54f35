"""The judge's HTTP application: all parts put together. Any number of replicas may share one address."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from selfreward.client.http import WrongPolicyVersion
from selfreward.redis.connection import connect, connect_briefly
from selfreward.server.budget import ByteBudget
from selfreward.server.errors import ApiError, add_error_handlers, error_response, invalid_request
from selfreward.server.health import Probe, add_health, told
from selfreward.server.keys import KeyScope, LiveKeyring
from selfreward.server.middleware import RequestGuard
from selfreward.settings import base_url
from services.judge.api.batches import add_batches
from services.judge.api.files import add_files
from services.judge.api.jobs import add_jobs
from services.judge.api.native import add_native
from services.judge.api.nemo_compare import add_nemo_compare
from services.judge.api.nemo_gym import add_nemo_gym
from services.judge.api.openapi import add_openapi, contract_of
from services.judge.api.openrlhf import add_openrlhf
from services.judge.api.rerank import add_rerank
from services.judge.api.slime import add_slime
from services.judge.api.vllm_score import add_vllm
from services.judge.engine.cache import ResultCache
from services.judge.engine.connect import connect_engine
from services.judge.engine.engine import Engine, EngineRefused, EngineUnavailable
from services.judge.engine.named import key_of, load_engines
from services.judge.engine.readiness import trouble_of
from services.judge.jobs.batches import BatchStore
from services.judge.jobs.files import FileStore
from services.judge.jobs.lines import LineAnswerer
from services.judge.jobs.shares import Bound, Shares
from services.judge.jobs.store import JobStore
from services.judge.jobs.worker import JobWorker
from services.judge.metrics import REFUSED, REQUESTS, WAITING
from services.judge.rubrics.rubric import SHIPPED, load_rubrics
from services.judge.service import JudgeService
from services.judge.serving.idempotency import Idempotency
from services.judge.serving.limits import Limits
from services.judge.serving.shared_limits import SharedLimits
from services.judge.serving.tracing import provider_from_environment, trace_requests
from services.judge.settings import JudgeSettings, engine_key, engine_url

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_READY_SECONDS = 5.0
"""How long what the engine said counts: whoever may ask the judge makes it ask the engine no more often."""
_ANY_KEY = ("/metrics", "/openapi.json")
_REFUSALS = {401: "unauthenticated", 403: "forbidden", 413: "too_large"}


def create_app(
    settings: JudgeSettings,
    engine_transport: httpx.AsyncBaseTransport | None = None,
    tracer_provider: "TracerProvider | None" = None,
) -> FastAPI:
    """One replica. `engine_transport` replaces the network to the engine, `tracer_provider` the place where traces go.

    Raises RubricError for an unusable rubric, KeysError for an unusable keys file, EnginesError for unusable engines.
    """
    # What may refuse the start comes first.
    table = load_engines(settings.judge_engines)
    rubrics = load_rubrics([SHIPPED, *([settings.judge_rubrics] if settings.judge_rubrics else [])], table)
    keyring = LiveKeyring(settings)
    # The engine with a cache of its answers, and the engines of juries, whose versions mean nothing to the cache.
    provider = tracer_provider or provider_from_environment()
    cache = None
    if settings.judge_cache_seconds:
        cache = ResultCache(
            connect_briefly(settings.judge_cache_url or settings.redis_url), settings.judge_cache_seconds
        )

    def connected(url: str, key: str | None, model: str, parameters: Mapping[str, Any]) -> Engine:
        return connect_engine(settings, url, key, model, parameters, engine_transport, provider)

    url, key = engine_url(settings), engine_key(settings)
    own = connected(url, key, settings.judge_engine_model, settings.judge_engine_parameters)
    engine = replace(own, cache=cache)
    named_engines = {
        name: connected(base_url(each.url), key_of(each), each.model, each.parameters) for name, each in table.items()
    }
    engines = [engine, *named_engines.values()]
    WAITING.set_function(lambda: sum(each.slots.waiting for each in engines))
    # The service with the limits of its keys, and its jobs in the background.
    limits_redis = connect_briefly(settings.redis_url, decode_responses=True)
    service = JudgeService(settings, rubrics, engine, Limits(SharedLimits(limits_redis)), named_engines)
    redis = connect(settings.redis_url)
    keep = settings.judge_job_keep_seconds
    jobs, batches, files = JobStore(redis, keep), BatchStore(redis, keep), FileStore(redis, keep)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker = JobWorker(service, jobs, batches, LineAnswerer(app, engine), settings.judge_job_claim_seconds)
        async with AsyncExitStack() as clients:
            for each in engines:
                await clients.enter_async_context(each.service)
                await clients.enter_async_context(each.probe)
            async with redis, limits_redis, worker.running():
                yield
        if cache:
            await cache.close()
        if provider:
            await asyncio.to_thread(provider.shutdown)

    # Middleware that is added later is passed earlier: tracing, then the guard, then idempotency.
    app = FastAPI(title="selfreward judge", lifespan=lifespan)
    app.state.draining = False
    app.add_middleware(Idempotency, redis=redis, keep_seconds=settings.judge_idempotency_seconds)
    _add_error_handlers(app)
    add_native(app, service)
    shares = Shares(redis, Bound(settings.judge_key_works, settings.judge_key_bytes))
    add_jobs(app, service, jobs, shares)
    add_files(app, files, batches, shares)
    add_batches(app, service, files, batches, shares)
    for add_contract in (add_vllm, add_rerank, add_openrlhf, add_slime, add_nemo_gym, add_nemo_compare):
        add_contract(app, service)
    _add_health(app, engine)
    add_openapi(app)
    app.add_middleware(
        RequestGuard,
        keyring=keyring,
        needed_scope=_needed_scope(app),
        max_body_bytes=settings.judge_max_body_bytes,
        limit_setting="SELFREWARD_JUDGE_MAX_BODY_BYTES",
        budget=ByteBudget(settings.max_bytes_in_flight, "SELFREWARD_MAX_BYTES_IN_FLIGHT"),
        streamed={"/v1/files": (settings.judge_max_file_bytes, "SELFREWARD_JUDGE_MAX_FILE_BYTES")},
        on_answer=_count_refusal,
    )
    if provider:
        trace_requests(app, provider)
    return app


def _needed_scope(app: FastAPI) -> Callable[[Scope], KeyScope | None]:
    """Gives `admin` for routes declared with `openapi_extra={"x-scope": "admin"}`, and `judge` for most others."""
    admin_routes = [
        route
        for route in app.routes
        if isinstance(route, APIRoute) and (route.openapi_extra or {}).get("x-scope") == "admin"
    ]

    def needed_scope(scope: Scope) -> KeyScope | None:
        if scope["path"] in _ANY_KEY:
            return None
        return "admin" if any(route.matches(scope)[0] is Match.FULL for route in admin_routes) else "judge"

    return needed_scope


def _count_refusal(scope: Scope, status: int) -> None:
    if status in _REFUSALS:
        key = scope["state"]["key"]
        REFUSED.labels(key.name if key else "", _REFUSALS[status]).inc()


def _add_health(app: FastAPI, engine: Engine) -> None:
    asked = Probe(lambda: trouble_of(engine.probe, engine.model), _READY_SECONDS)

    async def readyz(request: Request) -> Response:
        """Ready when the judging engine has the configured model and this replica is not about to leave."""
        if app.state.draining:
            raise ApiError(503, "this replica is about to leave", code="draining")
        if trouble := await asked.result():
            raise ApiError(503, told(request, trouble), code="engine_unavailable")
        return Response('{"status":"ready"}', media_type="application/json")

    add_health(app, ready=readyz)


def _add_error_handlers(app: FastAPI) -> None:
    add_error_handlers(app)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        refusal = invalid_request(error)
        if request.method == "POST":
            REQUESTS.labels("unknown", contract_of(request.app, request.scope["path"]), str(refusal.status)).inc()
        return error_response(refusal)

    @app.exception_handler(WrongPolicyVersion)
    async def wrong_version(_: Request, error: WrongPolicyVersion) -> Response:
        return error_response(ApiError(409, str(error), "policy", "wrong_policy_version"))

    @app.exception_handler(EngineUnavailable)
    async def unavailable(_: Request, error: EngineUnavailable) -> Response:
        return error_response(ApiError(503, str(error), code="engine_unavailable"))

    @app.exception_handler(EngineRefused)
    async def refused(_: Request, error: EngineRefused) -> Response:
        # A status that no client tries again: the same request would be refused again.
        return error_response(ApiError(424, str(error), code="engine_refused"))
