"""`/v1/files`: OpenAI's files, for batches. A file belongs to the API key that uploaded it, as a job does.

The upload is streamed: it is in memory, on disk or in Redis by parts, and never as a whole.
"""

import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from selfreward.contracts.base import explain
from selfreward.contracts.batches import ExpiresAfter, FileDeleted, FileObject, Page, Purpose
from selfreward.server.errors import ApiError
from services.judge.jobs.batches import BatchStore, Part
from services.judge.jobs.files import FileStore
from services.judge.jobs.shares import Shares
from services.judge.serving.errors import invalid_fields, redis_needed

CONTRACT = "batches"
_PART_BYTES = 1 << 20
_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file", "purpose"],
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "purpose": {"type": "string", "enum": ["batch"]},
                    "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                    "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
                },
            }
        }
    },
}


def add_files(app: FastAPI, files: FileStore, batches: BatchStore, shares: Shares) -> None:
    """Add the routes of files."""

    async def found(request: Request, file_id: str) -> tuple[FileObject, tuple[str, Part] | None]:
        """A file that the key may see and, for one of a batch, which it is."""
        owner = request.state.key.sees
        file = await files.get(file_id, owner)
        if file is not None:
            return file, None
        made = await batches.file(file_id, owner)
        if made is None:
            message = f"file {file_id!r} is not known: check its id; files are forgotten when they expire"
            raise ApiError(404, message, "file_id", "file_not_found")
        return made[0], (made[1], made[2])

    @app.post("/v1/files", response_model=FileObject, tags=[CONTRACT], openapi_extra={"requestBody": _FORM})
    async def upload(request: Request) -> Response:
        """Upload the lines of a batch. This is OpenAI's contract."""
        async with request.form(max_files=1, max_fields=8) as form:
            file, purpose = form.get("file"), form.get("purpose")
            if not isinstance(file, UploadFile):
                raise invalid_fields([("file", "file is missing: send it as a part of a multipart form")])
            if purpose != "batch":
                raise invalid_fields([("purpose", f"purpose = {purpose!r:.60}: files are for batches, write 'batch'")])
            expiry = _expiry(form)
            owner, file_id = request.state.key.name, f"file-{uuid.uuid4().hex}"
            async with redis_needed("files", seconds=600):
                await shares.admit(owner, files.key(file_id), file.size or 0)
                try:
                    stored = await files.put(file_id, owner, file.filename or "batch.jsonl", _parts(file), expiry)
                except ApiError:
                    await shares.forget(owner, files.key(file_id))
                    raise
        return Response(stored.model_dump_json(), media_type="application/json")

    @app.get("/v1/files", response_model=Page[FileObject], tags=[CONTRACT])
    async def list_files(
        request: Request,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
        order: Literal["asc", "desc"] = "desc",
        purpose: Purpose | None = None,
    ) -> Response:
        """The files of the requesting key, those of its ended batches too."""
        async with redis_needed("files"):
            owner = request.state.key.name
            every = [*await files.listed(owner), *await batches.files(owner)]
        chosen = [file for file in every if purpose in (None, file.purpose)]
        # Stable, so that files of one second keep the order of their making.
        chosen.sort(key=lambda file: file.created_at, reverse=True)
        if order == "asc":
            chosen.reverse()
        ids = [file.id for file in chosen]
        rest = chosen[ids.index(after) + 1 :] if after in ids else [] if after else chosen
        return page_of(rest[:limit], more=len(rest) > limit)

    @app.get("/v1/files/{file_id}", response_model=FileObject, tags=[CONTRACT])
    async def show_file(request: Request, file_id: str) -> Response:
        """One file."""
        async with redis_needed("files"):
            file, _ = await found(request, file_id)
        return Response(file.model_dump_json(), media_type="application/json")

    @app.get("/v1/files/{file_id}/content", tags=[CONTRACT], response_class=StreamingResponse)
    async def file_content(request: Request, file_id: str) -> StreamingResponse:
        """The lines of a file."""
        async with redis_needed("files"):
            _, made = await found(request, file_id)
        text = files.text(file_id) if made is None else batches.text(*made)
        return StreamingResponse(text, media_type="application/x-ndjson")

    @app.delete("/v1/files/{file_id}", response_model=FileDeleted, tags=[CONTRACT])
    async def delete_file(request: Request, file_id: str) -> Response:
        """Delete a file. A batch over it goes on."""
        async with redis_needed("files"):
            _, made = await found(request, file_id)
            if made is None:
                owner = (await files.record(file_id, None)).get("owner", "")
                await files.delete(file_id)
                await shares.forget(owner, files.key(file_id))
            else:
                await batches.delete_file(*made)
        return Response(FileDeleted(id=file_id).model_dump_json(), media_type="application/json")


def page_of(listed: list[Any], *, more: bool) -> Response:
    """The answer with a part of a list."""
    ids = [entry.id for entry in listed] or [None]
    answer = Page[Any](data=listed, first_id=ids[0], last_id=ids[-1], has_more=more)
    return Response(answer.model_dump_json(), media_type="application/json")


def _expiry(form: FormData) -> int | None:
    given = {name: form[f"expires_after[{name}]"] for name in ("anchor", "seconds") if f"expires_after[{name}]" in form}
    try:
        return ExpiresAfter.model_validate(given).seconds if given else None
    except ValidationError as error:
        raise invalid_fields([("expires_after", f"expires_after:\n{explain(error)}")]) from None


async def _parts(file: UploadFile) -> AsyncIterator[bytes]:
    while part := await file.read(_PART_BYTES):
        yield part
