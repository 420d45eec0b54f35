"""The judge's HTTP API. Stateless: any number of replicas may stand behind one address."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException

from selfreward.announcements import policy_number
from selfreward.contracts import Contract, JudgeItem, JudgePrompts, JudgeRequest, JudgeResponse
from selfreward.generator_client import VERSION_HEADER
from selfreward.http import ServiceClient, ServiceError, WrongPolicyVersion
from selfreward.settings import key_of
from selfreward.telemetry import metrics_page
from services.judge.engine import Engine
from services.judge.errors import error_response, invalid_request
from services.judge.judging import EngineUnavailable, judge_batch
from services.judge.metrics import BATCH_SIZE, DURATION, REQUESTS, WAITING, observe
from services.judge.middleware import Gate
from services.judge.rubric import SHIPPED, Rubric, load_rubrics
from services.judge.settings import JudgeSettings, engine_key, engine_url

_READY_DEADLINE = 3.0


class PromptRequest(Contract):
    """Body of `POST /v1/rubrics/{id}/prompt`."""

    items: list[JudgeItem] = Field(min_length=1, max_length=1024)


class Refused(Exception):
    """A request that is answered with an error; carries the answer."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def create_app(settings: JudgeSettings, engine_transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """The judge. `engine_transport` replaces the network towards the engine.

    Raises RubricError when a rubric cannot be used.
    """
    rubrics = load_rubrics([SHIPPED, *([settings.judge_rubrics] if settings.judge_rubrics else [])])

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        url, key = engine_url(settings), engine_key(settings)
        async with (
            ServiceClient(
                url,
                key,
                deadline=settings.judge_engine_deadline,
                attempts=settings.judge_engine_attempts,
                max_connections=settings.judge_concurrency,
                transport=engine_transport,
            ) as service,
            ServiceClient(
                url, key, deadline=_READY_DEADLINE, attempts=1, max_connections=2, transport=engine_transport
            ) as probe,
        ):
            app.state.engine = Engine(service, settings.judge_engine_model, settings.judge_concurrency)
            app.state.probe = probe
            WAITING.set_function(lambda: app.state.engine.slots.waiting)
            yield

    app = FastAPI(title="selfreward judge", lifespan=lifespan)
    app.add_middleware(Gate, api_key=key_of(settings), max_body_bytes=settings.judge_max_body_bytes)
    _add_error_handlers(app)

    @app.post("/v1/judge", response_model=JudgeResponse)
    async def judge(request: Request, body: JudgeRequest) -> Response:
        """Judge each item by `votes` sampled judgments and return their mean, every vote with it."""
        started = time.perf_counter()
        name, status = body.rubric.partition("@")[0], 500
        try:
            rubric = find_rubric(rubrics, body.rubric)
            _check_items(body.items, rubric, settings.judge_max_items)
            _check_policy(body.policy)
            engine: Engine = app.state.engine
            waiting = engine.slots.waiting
            if waiting and waiting + len(body.items) > settings.judge_max_waiting:
                raise Refused(_overloaded(waiting))
            BATCH_SIZE.observe(len(body.items))
            result = await _while_connected(
                request, judge_batch(engine, rubric, body, f"judge-{request.state.request_id}")
            )
            observe(rubric.name, result.data)
            status = 200
            return Response(
                result.model_dump_json(),
                media_type="application/json",
                headers={VERSION_HEADER: result.judge_version},
            )
        except Refused as refused:
            status = refused.response.status_code
            raise
        except WrongPolicyVersion:
            status = 409
            raise
        except EngineUnavailable:
            status = 503
            raise
        finally:
            REQUESTS.labels(name if name in rubrics else "unknown", "native", str(status)).inc()
            DURATION.observe(time.perf_counter() - started)

    @app.get("/v1/rubrics")
    async def list_rubrics() -> dict[str, Any]:
        """All rubrics by name."""
        return {
            "data": [{"id": rubric.id, "name": name, "title": rubric.spec.title} for name, rubric in rubrics.items()]
        }

    @app.get("/v1/rubrics/{rubric_id}")
    async def show_rubric(rubric_id: str) -> dict[str, Any]:
        """One rubric with its template, by name or by `name@sha256:<12 hex>`."""
        return find_rubric(rubrics, rubric_id).describe()

    @app.post("/v1/rubrics/{rubric_id}/prompt", response_model=JudgePrompts)
    async def fill_prompt(rubric_id: str, body: PromptRequest) -> Response:
        """The conversations that `POST /v1/judge` would send for these items, letter for letter."""
        rubric = find_rubric(rubrics, rubric_id)
        _check_items(body.items, rubric, settings.judge_max_items)
        filled = JudgePrompts(rubric=rubric.id, messages=[rubric.messages(item) for item in body.items])
        return Response(filled.model_dump_json(), media_type="application/json")

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> Response:
        """Ready when the judging engine answers."""
        try:
            await app.state.probe.request("GET", "/v1/models")
        except ServiceError as error:
            return error_response(503, f"the judging engine does not answer: {error}", "service_unavailable")
        return Response('{"status":"ready"}', media_type="application/json")

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        page, media_type = metrics_page()
        return Response(page, media_type=media_type)

    return app


def find_rubric(rubrics: dict[str, Rubric], wanted: str) -> Rubric:
    """A rubric by name or id; Refused (404) when it is unknown or its text is no longer the one that the id names."""
    rubric = rubrics.get(wanted.partition("@")[0])
    if rubric is not None and wanted in (rubric.name, rubric.id):
        return rubric
    known = ", ".join(known.id for known in rubrics.values())
    message = (
        f"rubric {wanted!r} is not known: use one of {known}, or add a folder for it under SELFREWARD_JUDGE_RUBRICS"
    )
    raise Refused(error_response(404, message, "not_found_error", param="rubric", code="rubric_not_found"))


def _check_items(items: list[JudgeItem], rubric: Rubric, max_items: int) -> None:
    """What the contract cannot say: the configured size, and what this rubric needs. Raises Refused (422)."""
    problems = []
    if len(items) > max_items:
        problems.append(("items", f"items has {len(items)} entries, {max_items} are allowed: send several requests"))
    for index, item in enumerate(items):
        if item.id is not None and not item.id.isprintable():
            path = f"items.{index}.id"
            problems.append((path, f"{path} = {item.id!r} has unprintable characters: leave them out"))
        for field in ("prompt", "response"):
            if getattr(item, field) == []:
                problems.append((f"items.{index}.{field}", f"items.{index}.{field} has no message: give at least one"))
        if "reference" in rubric.template.fields and item.reference is None:
            path = f"items.{index}.reference"
            problems.append((path, f"{path} is missing: rubric {rubric.name!r} compares with a reference"))
    if problems:
        message = "\n".join(line for _, line in problems)
        raise Refused(
            error_response(422, message, "invalid_request_error", param=problems[0][0], code="invalid_request")
        )


def _check_policy(policy: str | None) -> None:
    """A pin must be `policy@N`. Raises Refused (422)."""
    try:
        if policy is not None:
            policy_number(policy)
    except ValueError as error:
        message = f"policy = {policy!r}: {error}, or leave it out for the newest"
        raise Refused(
            error_response(422, message, "invalid_request_error", param="policy", code="invalid_request")
        ) from error


def _overloaded(waiting: int) -> Response:
    message = f"{waiting} items are already waiting for the judging engine: try again, or run more replicas"
    return error_response(429, message, "rate_limit_error", code="overloaded", headers={"Retry-After": "1"})


async def _while_connected(request: Request, work: Coroutine[Any, Any, JudgeResponse]) -> JudgeResponse:
    """Do the work, but drop it when the client goes away: judging for nobody would delay everybody else."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait([working, gone], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Refused(error_response(499, "the client went away", "client_closed_request"))
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return error.response

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        if request.url.path == "/v1/judge":
            REQUESTS.labels("unknown", "native", "422").inc()
        return invalid_request(error.errors())

    @app.exception_handler(WrongPolicyVersion)
    async def wrong_version(_: Request, error: WrongPolicyVersion) -> Response:
        return error_response(409, str(error), "conflict_error", param="policy", code="wrong_policy_version")

    @app.exception_handler(EngineUnavailable)
    async def unavailable(_: Request, error: EngineUnavailable) -> Response:
        return error_response(
            503, str(error), "service_unavailable", code="engine_unavailable", headers={"Retry-After": "2"}
        )

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return error_response(error.status_code, str(error.detail), "invalid_request_error", headers=error.headers)
