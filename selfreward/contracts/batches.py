"""The wire contract of OpenAI's Batch API: files, batches, and lists of both with cursors."""

from typing import Generic, Literal, TypeVar

from pydantic import Field

from selfreward.contracts.base import Contract

BatchStatus = Literal["validating", "in_progress", "completed", "failed", "expired", "cancelled"]
Purpose = Literal["batch", "batch_output"]
Listed = TypeVar("Listed", bound=Contract)
WINDOW_SECONDS = 24 * 3600
MOST_LINES = 100_000
"""Requests of one batch; OpenAI allows 50,000."""


class ExpiresAfter(Contract):
    """When files expire: `seconds` after they are made, an hour to 30 days."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2_592_000)


class FileObject(Contract):
    """A file. Times are seconds since 1970, `bytes` is its size."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: Purpose
    status: Literal["processed"] = "processed"


class FileDeleted(Contract):
    """The answer to the deletion of a file."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class BatchRequest(Contract):
    """Body of `POST /v1/batches`. `endpoint` is the route that every line of the file is for."""

    input_file_id: str
    endpoint: str
    completion_window: Literal["24h"]
    metadata: dict[str, str] | None = Field(default=None, max_length=16)
    output_expires_after: ExpiresAfter | None = None


class BatchCounts(Contract):
    """Lines: in all, answered with success (the output file has them), and answered with an error (the error file)."""

    total: int
    completed: int
    failed: int


class BatchProblem(Contract):
    """Why a batch failed as a whole."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BatchErrors(Contract):
    """The problems of a batch that failed."""

    object: Literal["list"] = "list"
    data: list[BatchProblem]


class Batch(Contract):
    """A batch. Times are seconds since 1970. The ids of the two files are there once the batch has ended."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchErrors | None = None
    input_file_id: str
    completion_window: Literal["24h"] = "24h"
    status: BatchStatus
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: BatchCounts
    metadata: dict[str, str] | None = None


class Page(Contract, Generic[Listed]):
    """A part of a list. `after=<last_id>` asks for the next one."""

    object: Literal["list"] = "list"
    data: list[Listed]
    first_id: str | None
    last_id: str | None
    has_more: bool
