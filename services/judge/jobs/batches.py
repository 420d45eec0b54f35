"""Batches in Redis: the lines of a file as work in chunks, and the two files that come of them.

The output file has the lines that were answered with success, the error file all others, both in the order of the
input. They are views of the batch's results, so no replica can die between an answer and its place in a file.
"""

import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, NamedTuple

from selfreward.contracts.batches import (
    WINDOW_SECONDS,
    Batch,
    BatchCounts,
    BatchErrors,
    BatchProblem,
    BatchRequest,
    BatchStatus,
    FileObject,
)
from services.judge.jobs.chunks import LIVE, ChunkStore
from services.judge.jobs.lines import Answered, expired_line, requests_in

PREFIX = "batch_"
Part = Literal["output", "errors"]
_STATUSES: dict[str, BatchStatus] = {"queued": "validating", "running": "in_progress", "done": "completed"}


class BatchChunk(NamedTuple):
    """The lines of one chunk, the position of the first in the batch, and what all lines of the batch share."""

    lines: list[str]
    start: int
    endpoint: str
    owner: str
    expires_at: float


class BatchStore(ChunkStore):
    """All batches."""

    kind = "judge-batch"

    async def create(
        self, batch_id: str, request: BatchRequest, owner: str, source: str, file: Mapping[str, Any]
    ) -> Batch:
        """Make a batch of the file with the text at the key `source`, and queue its first chunks, in one step.

        Idempotent: an existing batch of that id stays as it is.
        """
        existing = await self.get(batch_id, None)
        if existing is not None:
            return existing
        expiry, created = request.output_expires_after, time.time()
        batch: dict[str, Any] = {
            "state": "queued",
            "owner": owner,
            "endpoint": request.endpoint,
            "input_file_id": request.input_file_id,
            "metadata": json.dumps(request.metadata),
            "lines": int(file["lines"]),
            "chunk": self.chunk_size,
            "chunks": int(file["chunks"]),
            "created_at": created,
            "expires_at": created + WINDOW_SECONDS,
            "keep": expiry.seconds if expiry else self.keep_seconds,
        }
        async with self.redis.pipeline(transaction=True) as steps:
            # A copy, so that the file may be deleted, or expire, before the batch has ended.
            steps.copy(source, self.keys(batch_id).chunks)
            self.add(steps, batch_id, batch, WINDOW_SECONDS + batch["keep"])
            await steps.execute()
        return _batch(batch_id, batch)

    async def current(self, batch_id: str, owner: str | None) -> dict[str, Any]:
        """The fields of a batch, which ends here if its time is over; empty as `fields` is."""
        fields = await self.fields(batch_id, owner)
        if fields and fields["state"] in LIVE and time.time() > float(fields["expires_at"]):
            await self.end(batch_id, "expired")
            fields = await self.fields(batch_id, owner)
        return fields

    async def get(self, batch_id: str, owner: str | None) -> Batch | None:
        """A batch; None when it does not exist, or has another owner (`owner` None: any)."""
        fields = await self.current(batch_id, owner)
        return _batch(batch_id, fields) if fields else None

    async def listed(self, owner: str, limit: int, after: str | None) -> list[Batch]:
        """Up to `limit` batches of an owner that are older than `after`, the newest first."""
        found = [await self.get(batch_id, owner) for batch_id, _ in await self.newest(owner, limit, after)]
        return [batch for batch in found if batch is not None]

    async def begin(self, batch_id: str, chunk: int) -> BatchChunk | None:
        """A chunk to answer; None when it is answered already or its batch has ended."""
        if not await self.current(batch_id, None):
            return None
        begun = await self.begin_chunk(batch_id, chunk)
        if begun is None:
            return None
        fields, text = begun
        start, expires_at = chunk * int(fields["chunk"]), float(fields["expires_at"])
        return BatchChunk(requests_in(text), start, fields["endpoint"], fields["owner"], expires_at)

    async def repeated(self, batch_id: str, names: Mapping[int, str], expires_at: float) -> set[int]:
        """Which lines have a `custom_id` that an earlier line had; `names` are the ids by the line's position."""
        key = f"{self.keys(batch_id).work}:ids"
        async with self.redis.pipeline(transaction=True) as steps:
            for line, name in names.items():
                steps.hsetnx(key, name, line)
                steps.hget(key, name)
            steps.expire(key, max(1, int(expires_at - time.time())))
            replies = await steps.execute()
        return {line for line, first in zip(names, replies[1::2], strict=False) if int(first) != line}

    async def answered(self, batch_id: str, chunk: int, lines: list[Answered], expires_at: float) -> bool:
        """Store the answers to a chunk. False when it has some already or the batch has ended."""
        output = "".join(line.text for line in lines if line.ok)
        errors = "".join(line.text for line in lines if not line.ok)
        completed = sum(line.ok for line in lines)
        counts = {
            "completed": completed,
            "failed": len(lines) - completed,
            "output_bytes": len(output.encode()),
            "error_bytes": len(errors.encode()),
        }
        keep = int(await self.redis.hget(self.keys(batch_id).work, "keep") or self.keep_seconds)
        seconds = keep + max(0, int(expires_at - time.time()))
        return await self.keep_chunk(batch_id, chunk, output, errors, counts, seconds)

    async def file(self, file_id: str, owner: str | None) -> tuple[FileObject, str, Part] | None:
        """The file `file-<id>-output` or `-errors` of an ended batch, with the batch's id; None without one."""
        name, _, part = file_id.removeprefix("file-").rpartition("-")
        fields = await self.current(f"{PREFIX}{name}", owner) if part in ("output", "errors") else {}
        files = _files(f"{PREFIX}{name}", fields) if fields else {}
        if file_id not in files:
            return None
        return files[file_id], f"{PREFIX}{name}", "output" if part == "output" else "errors"

    async def files(self, owner: str) -> list[FileObject]:
        """All files of the ended batches of an owner, the newest batch first."""
        found = await self.newest(owner, len(await self.redis.zrange(self.index(owner), 0, -1)))
        return [file for batch_id, fields in found for file in _files(batch_id, fields).values()]

    async def text(self, batch_id: str, part: Part) -> AsyncIterator[str]:
        """Yield the lines of one of a batch's files. One chunk is in memory."""
        keys, fields = self.keys(batch_id), await self.fields(batch_id)
        for chunk in range(int(fields.get("chunks", 0))):
            text = await self.redis.hget(keys.results if part == "output" else keys.errors, str(chunk))
            left = None
            if part == "errors" and fields["state"] == "expired":
                left = await self.redis.hget(keys.chunks, str(chunk))
            start = chunk * int(fields["chunk"])
            late = [expired_line(batch_id, start + at, line).text for at, line in enumerate(requests_in(left or ""))]
            if text or late:
                yield "".join([text or "", *late])

    async def delete_file(self, batch_id: str, part: Part) -> None:
        """Remove one of the two files of a batch, which stays."""
        keys = self.keys(batch_id)
        await self.redis.delete(keys.results if part == "output" else keys.errors)
        await self.redis.hset(keys.work, f"{part}_deleted", 1)


def _files(batch_id: str, fields: Mapping[str, Any]) -> dict[str, FileObject]:
    """The files of a batch by id; there are none before it has ended, and none without lines."""
    if fields["state"] in LIVE:
        return {}
    name, ended = batch_id.removeprefix(PREFIX), float(fields.get("finished_at") or 0)
    left = int(fields["lines"]) - int(fields.get("completed", 0)) - int(fields.get("failed", 0))
    lines = {
        "output": int(fields.get("completed", 0)),
        "errors": int(fields.get("failed", 0)) + (left if fields["state"] == "expired" else 0),
    }
    return {
        f"file-{name}-{part}": FileObject(
            id=f"file-{name}-{part}",
            bytes=int(fields.get("output_bytes" if part == "output" else "error_bytes", 0)),
            created_at=int(ended),
            expires_at=int(ended + int(fields["keep"])),
            filename=f"{batch_id}_{part}.jsonl",
            purpose="batch_output",
        )
        for part, count in lines.items()
        if count and f"{part}_deleted" not in fields
    }


def _batch(batch_id: str, fields: Mapping[str, Any]) -> Batch:
    state, ended = fields["state"], int(float(fields.get("finished_at") or 0)) or None
    status = _STATUSES.get(state, state)
    names = {part: f"file-{batch_id.removeprefix(PREFIX)}-{part}" for part in ("output", "errors")}
    files = _files(batch_id, fields)
    problem = BatchProblem(code="batch_failed", message=fields.get("error") or "")
    started = fields.get("started_at")
    return Batch(
        id=batch_id,
        endpoint=fields["endpoint"],
        input_file_id=fields["input_file_id"],
        status=status,
        errors=BatchErrors(data=[problem]) if state == "failed" else None,
        output_file_id=names["output"] if names["output"] in files else None,
        error_file_id=names["errors"] if names["errors"] in files else None,
        created_at=int(float(fields["created_at"])),
        in_progress_at=int(float(started)) if started else None,
        expires_at=int(float(fields["expires_at"])),
        completed_at=ended if status == "completed" else None,
        failed_at=ended if status == "failed" else None,
        expired_at=ended if status == "expired" else None,
        cancelling_at=ended if status == "cancelled" else None,
        cancelled_at=ended if status == "cancelled" else None,
        request_counts=BatchCounts(
            total=int(fields["lines"]), completed=int(fields.get("completed", 0)), failed=int(fields.get("failed", 0))
        ),
        metadata=json.loads(fields["metadata"]),
    )
