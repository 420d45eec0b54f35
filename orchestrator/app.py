"""The orchestrator's HTTP API: start, follow, stop, resume and export runs. Every replica works and may lead."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ValidationError
from redis.exceptions import RedisError
from starlette.types import Scope

from orchestrator import metrics
from orchestrator.leader import Leader
from orchestrator.phases.disk import NoRoom
from orchestrator.runs import events
from orchestrator.runs.context import Services
from orchestrator.runs.followers import EventStream, Followers, TooManyFollowers
from orchestrator.runs.state import acknowledge, ask_to_run, ask_to_stop, load, load_page, public, remove, stopped_runs
from orchestrator.settings import OrchestratorSettings
from orchestrator.submission.quotas import RETRY_AFTER_S, TooManyRuns
from orchestrator.submission.submission import RunExists, check_place, submit
from orchestrator.worker.worker import RolloutWorker
from selfreward.client.aiohttp_transport import AiohttpTransport
from selfreward.client.generator import GeneratorClient
from selfreward.client.http import ServiceClient, ServiceError
from selfreward.client.judge import AsyncJudgeClient
from selfreward.contracts.base import Contract, explain
from selfreward.contracts.training import TRAIN_QUEUE
from selfreward.loop.export import Layout, export_pairs
from selfreward.loop.load import parse_recipe
from selfreward.loop.record import RunState
from selfreward.loop.rows import SeedError
from selfreward.loop.tasks import QUEUE
from selfreward.recipe.recipe import RecipeError
from selfreward.redis.connection import connect
from selfreward.redis.queue import WorkQueue
from selfreward.server.background import cancel_and_wait, restart_forever
from selfreward.server.budget import ByteBudget
from selfreward.server.disk import is_full
from selfreward.server.errors import ApiError, add_error_handlers, error_response
from selfreward.server.health import Probe, add_health, told
from selfreward.server.keys import KeyScope, LiveKeyring
from selfreward.server.middleware import RequestGuard
from selfreward.settings import key_of
from selfreward.store.artifacts import ArtifactStore

_OPEN_PATHS = ("/healthz", "/readyz", "/metrics")


class RunRequest(Contract):
    """Body of `POST /v1/runs`. `run` is the id; by default it consists of the recipe's name and the time."""

    recipe: dict[str, Any]
    run: str | None = None


class UnknownRun(LookupError):
    """There is no run of that id."""


_ERRORS: dict[type[Exception], tuple[int, str]] = {
    RecipeError: (422, "invalid_recipe"),
    SeedError: (422, "invalid_seed_data"),
    RunExists: (409, "run_exists"),
    NoRoom: (507, "disk_full"),
    TooManyRuns: (429, "too_many_runs"),
    TooManyFollowers: (429, "too_many_followers"),
    UnknownRun: (404, "unknown_run"),
    FileNotFoundError: (404, "not_found"),
    ServiceError: (503, "service_unavailable"),
    RedisError: (503, "redis_unavailable"),
    ValueError: (422, "invalid_request"),
}
"""Status and code of each error that a request may end with; the first class that matches counts."""


def create_app(settings: OrchestratorSettings) -> FastAPI:
    """One replica: the HTTP API, a worker, and a candidate for the lease.

    Raises KeysError for an unusable keys file, and StartRefused when Kubernetes Jobs are wanted outside Kubernetes.
    """
    # What may refuse the start comes first.
    keyring = LiveKeyring(settings)
    trainer_jobs = None
    if settings.trainer_cronjob or settings.trainer_runtime:
        from orchestrator.cluster.jobs import in_cluster

        trainer_jobs = in_cluster(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        key = key_of(settings)
        connections = settings.worker_concurrency + 8
        redis = connect(settings.redis_url)
        async with (
            ServiceClient(settings.generator_url, key, transport=AiohttpTransport(connections)) as generator,
            # A result is stored under its task, so the judge need not keep its votes in Redis as well.
            ServiceClient(
                settings.judge_url, key, transport=AiohttpTransport(connections), headers={"X-Selfreward-Cache": "off"}
            ) as judge,
        ):
            store = ArtifactStore(settings.artifacts, settings.artifact_cache)
            services = Services(settings, redis, store, GeneratorClient(generator), judge, trainer_jobs)
            worker = RolloutWorker(settings, redis, services.generator, AsyncJudgeClient(judge))
            app.state.services = services
            # Connections of their own: whoever watches takes none from the work.
            watching = connect(settings.redis_url)
            app.state.followers = Followers(watching, settings.max_followers)
            app.state.tasks = [
                asyncio.create_task(restart_forever("worker", worker.run)),
                asyncio.create_task(restart_forever("leader", Leader(services).run)),
                asyncio.create_task(restart_forever("followers", app.state.followers.run)),
            ]
            yield
            await cancel_and_wait(app.state.tasks)
            await watching.aclose()
        await redis.aclose()

    app = FastAPI(title="selfreward orchestrator", lifespan=lifespan)
    app.add_middleware(
        RequestGuard,
        keyring=keyring,
        needed_scope=_needed_scope,
        max_body_bytes=settings.max_recipe_bytes,
        limit_setting="SELFREWARD_MAX_RECIPE_BYTES",
        budget=ByteBudget(settings.max_bytes_in_flight, "SELFREWARD_MAX_BYTES_IN_FLIGHT"),
        open_paths=_OPEN_PATHS,
    )
    _add_errors(app)
    _add_runs(app)
    _add_health(app)
    return app


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _existing(services: Services, run: str) -> RunState:
    state = await load(services.redis, run)
    if state is None:
        raise _unknown(run)
    return state


def _unknown(run: str | None) -> UnknownRun:
    return UnknownRun(f"run {run!r} does not exist; GET /v1/runs lists all")


async def _shown(services: Services, run: str) -> dict[str, Any]:
    return public(await _existing(services, run), await stopped_runs(services.redis))


def _add_runs(app: FastAPI) -> None:
    @app.post("/v1/runs", status_code=201)
    async def start(request: Request, body: RunRequest) -> JSONResponse:
        """Check a recipe and its seed data completely, then queue the run. Starting it again returns it (200)."""
        recipe = parse_recipe(body.recipe, source="in the request")
        state, new = await submit(_services(request), recipe, body.run)
        shown = public(state, await stopped_runs(_services(request).redis))
        return JSONResponse(shown, 201 if new else 200, {"Location": f"/v1/runs/{state.run}"})

    @app.get("/v1/runs")
    async def runs(
        request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100, after: str | None = None
    ) -> dict[str, Any]:
        """Runs, newest first, without their recipes and journals. `next` is the `after` of the next page, or null."""
        redis = _services(request).redis
        stopped = await stopped_runs(redis)
        try:
            states, following = await load_page(redis, limit, after)
        except LookupError:
            raise _unknown(after) from None
        rows = [public(state, stopped) for state in states]
        data = [{key: row[key] for key in row if key not in ("recipe", "journal")} for row in rows]
        return {"data": data, "next": following}

    @app.delete("/v1/runs/{run}", status_code=204)
    async def forget(request: Request, run: str) -> Response:
        """Delete the record and the events of a run that has ended. Its artifacts stay."""
        services = _services(request)
        await _existing(services, run)
        if not await remove(services.redis, run):
            message = f"run {run!r} has not ended: stop it, and delete it when it has"
            raise ApiError(409, message, "run", "run_not_ended")
        return Response(status_code=204)

    @app.get("/v1/runs/{run}")
    async def show(request: Request, run: str) -> dict[str, Any]:
        """One run: state, models, finished phases with their durations, recipe."""
        return await _shown(_services(request), run)

    @app.get("/v1/runs/{run}/events")
    async def follow(request: Request, run: str, last_event_id: str = Header("0")) -> StreamingResponse:
        """Progress as server-sent events, from after `Last-Event-ID` (all when left out) to the terminal one."""
        after = _event_id(last_event_id)
        await _existing(_services(request), run)
        return EventStream(request.app.state.followers, run, after)

    @app.post("/v1/runs/{run}/stop", status_code=202)
    async def stop(request: Request, run: str) -> dict[str, Any]:
        """Stop after the work in hand. A run that has ended stays as it is."""
        services = _services(request)
        if (await _existing(services, run)).state in ("queued", "running"):
            await ask_to_stop(services.redis, run)
        return await _shown(services, run)

    @app.post("/v1/runs/{run}/resume", status_code=202)
    async def resume(request: Request, run: str) -> dict[str, Any]:
        """Go on with a run that has ended and is not done where it was, past the alarms that ended it."""
        services = _services(request)
        state = await _existing(services, run)
        if state.state != "done":
            if run in await stopped_runs(services.redis):
                await check_place(services)
            await events.emit(services.redis, run, message=f"resumed after: {state.message}" if state.message else "")
            await acknowledge(services.redis, run, state.halted_by)
            await ask_to_run(services.redis, run)
        return await _shown(services, run)

    @app.get("/v1/runs/{run}/export")
    async def export(request: Request, run: str, stage: str, layout: Layout = "pairs") -> Response:
        """The pairs that trained `stage`, as JSON Lines in TRL's conversational formats: preference or KTO."""
        services = _services(request)
        state = await _existing(services, run)
        data = await run_in_threadpool(export_pairs, services.store, state.run, stage, layout)
        headers = {"Content-Disposition": f'attachment; filename="{run}-{stage}.jsonl"'}
        return Response(data, media_type="application/x-ndjson", headers=headers)


def _event_id(given: str) -> str:
    """A Redis stream id, or ValueError: anything else would make the stream's reader fail half-way."""
    milliseconds, _, sequence = given.partition("-")
    if not milliseconds.isdecimal() or (sequence and not sequence.isdecimal()):
        raise ValueError(f"Last-Event-ID {given!r} is not an id of this service: send one back as it came, or none")
    return given


def _add_health(app: FastAPI) -> None:
    async def redis_trouble() -> str | None:
        try:
            await app.state.services.redis.ping()
        except RedisError as error:
            return f"Redis does not answer: {error}"
        return None

    asked = Probe(redis_trouble)

    async def readyz(request: Request) -> JSONResponse:
        """Redis answers."""
        if trouble := await asked.result():
            return JSONResponse({"status": "not ready", "reason": told(request, trouble)}, 503)
        return JSONResponse({"status": "ready"})

    async def observe_queues() -> str:
        redis = app.state.services.redis
        for name in (QUEUE, TRAIN_QUEUE):
            await metrics.observe_queue(WorkQueue(redis, name), name)
        return ""

    # Both routes are open.
    add_health(app, ready=readyz, more_metrics=Probe(observe_queues).result)


def _needed_scope(_: Scope) -> KeyScope:
    return "run"


def _add_errors(app: FastAPI) -> None:
    add_error_handlers(app)

    async def answer(_: Request, error: Exception) -> JSONResponse:
        if isinstance(error, ValidationError):
            return error_response(ApiError(422, explain(error), code="invalid_request"))
        status, code = next(answered for known, answered in _ERRORS.items() if isinstance(error, known))
        headers = {"Retry-After": str(RETRY_AFTER_S)} if isinstance(error, TooManyRuns) else None
        param = "run" if isinstance(error, UnknownRun) else None
        if isinstance(error, RecipeError) and error.key:
            param = f"recipe.{error.key}"
        return error_response(ApiError(status, str(error), param, code, headers))

    for known in _ERRORS:
        app.add_exception_handler(known, answer)

    @app.exception_handler(OSError)
    async def disk_full(_: Request, error: OSError) -> JSONResponse:
        if not is_full(error):
            raise error
        return error_response(ApiError(507, f"disk: {error}; free some", code="disk_full"))
