"""`/v1/batches`: OpenAI's Batch API over the judge's routes, and over chat completions of its engine.

A line of a batch is answered as the same request to its route would be, by any replica. Only the API key that created a
batch and keys with the scope `admin` see it; for all others it does not exist.
"""

from typing import Annotated

from fastapi import FastAPI, Query, Request, Response

from selfreward.contracts.batches import MOST_LINES, Batch, BatchRequest, Page
from selfreward.server.errors import ApiError
from selfreward.server.middleware import authorize
from services.judge.api.files import CONTRACT, page_of
from services.judge.jobs.batches import PREFIX, BatchStore
from services.judge.jobs.files import FileStore
from services.judge.jobs.lines import CHAT, ROUTES
from services.judge.jobs.shares import Shares
from services.judge.service import JudgeService
from services.judge.serving.errors import invalid_fields, redis_needed
from services.judge.serving.idempotency import name_of


def add_batches(app: FastAPI, service: JudgeService, files: FileStore, batches: BatchStore, shares: Shares) -> None:
    """Add the routes of batches."""

    async def visible(request: Request, batch_id: str) -> Batch:
        batch = await batches.get(batch_id, request.state.key.sees)
        if batch is None:
            message = f"batch {batch_id!r} is not known: check its id; batches are forgotten some time after they end"
            raise ApiError(404, message, "batch_id", "batch_not_found")
        return batch

    @app.post("/v1/batches", response_model=Batch, tags=[CONTRACT])
    async def create_batch(request: Request, body: BatchRequest) -> Response:
        """Answer every line of an uploaded file in the background. This is OpenAI's contract."""
        # Check the request.
        key = request.state.key
        if body.endpoint not in (*ROUTES, CHAT):
            message = f"endpoint = {body.endpoint!r:.80}: use one of {', '.join((*ROUTES, CHAT))}"
            raise invalid_fields([("endpoint", message)])
        if body.endpoint == CHAT:
            authorize(key, "infer")
        _check_metadata(body.metadata or {})

        # Make the batch. One idempotency key, one batch.
        name = name_of(request)
        async with redis_needed("batches"):
            file = await files.record(body.input_file_id, key.sees)
            if not file:
                message = f"input_file_id = {body.input_file_id!r:.80} is not known: upload it with POST /v1/files"
                raise ApiError(404, message, "input_file_id", "file_not_found")
            lines, most = int(file["lines"]), min(MOST_LINES, key.job_items or MOST_LINES)
            if lines > most:
                message = f"input_file_id has {lines} lines, {most} are allowed: make several batches"
                raise invalid_fields([("input_file_id", message)])
            await service.limits.of(key).admit_job(lines)
            await shares.admit(key.name, batches.keys(f"{PREFIX}{name}").work, int(file["bytes"]))
            source = files.text_key(body.input_file_id)
            batch = await batches.create(f"{PREFIX}{name}", body, key.name, source, file)
        return _answer(batch)

    @app.get("/v1/batches", response_model=Page[Batch], tags=[CONTRACT])
    async def list_batches(
        request: Request, after: str | None = None, limit: Annotated[int, Query(ge=1, le=100)] = 20
    ) -> Response:
        """The batches of the requesting key, the newest first."""
        async with redis_needed("batches"):
            listed = await batches.listed(request.state.key.name, limit + 1, after)
        return page_of(listed[:limit], more=len(listed) > limit)

    @app.get("/v1/batches/{batch_id}", response_model=Batch, tags=[CONTRACT])
    async def show_batch(request: Request, batch_id: str) -> Response:
        """The state and progress of a batch."""
        async with redis_needed("batches"):
            return _answer(await visible(request, batch_id))

    @app.post("/v1/batches/{batch_id}/cancel", response_model=Batch, tags=[CONTRACT])
    async def cancel_batch(request: Request, batch_id: str) -> Response:
        """Cancel a batch. One that has ended stays as it is. The answers so far are in its files."""
        async with redis_needed("batches"):
            await visible(request, batch_id)
            await batches.end(batch_id, "cancelled")
            return _answer(await visible(request, batch_id))


def _answer(batch: Batch) -> Response:
    return Response(batch.model_dump_json(), media_type="application/json")


def _check_metadata(metadata: dict[str, str]) -> None:
    for name, value in metadata.items():
        if len(name) > 64 or len(value) > 512:
            message = f"metadata.{name:.64} is too long: a name has 64 characters and a value 512 at most"
            raise invalid_fields([("metadata", message)])
