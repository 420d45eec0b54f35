"""Jobs in Redis: the items to judge as JSON, cut into chunks, and the results as JSON lines."""

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from selfreward.contracts.judge_jobs import ENDED, Job, JobResult
from selfreward.contracts.judging import JudgeItem, JudgeRequest, JudgeResponse
from services.judge.jobs.chunks import ChunkStore

_ITEMS = TypeAdapter(list[JudgeItem])
_VERSION = "version:"


class Chunk(NamedTuple):
    """A request with the items of one chunk, and the name of the API key that created the job."""

    request: JudgeRequest
    owner: str


class JobStore(ChunkStore):
    """All jobs."""

    kind = "judge-job"

    async def create(self, job_id: str, rubric: str, request: JudgeRequest, owner: str) -> Job:
        """Store a job and queue its first chunks, in one step. Idempotent: an existing job of that id stays as it is.

        `owner` is the name of the API key that creates the job.
        """
        existing = await self.get(job_id)
        if existing is not None:
            return existing

        # The job itself, with the request but for its items.
        items = [
            item if item.id is not None else item.model_copy(update={"id": str(index)})
            for index, item in enumerate(request.items)
        ]
        starts = range(0, len(items), self.chunk_size)
        job = {
            "state": "queued",
            "owner": owner,
            "rubric": rubric,
            "request": request.model_copy(update={"rubric": rubric, "items": items[:1]}).model_dump_json(),
            "items": len(items),
            "chunk": self.chunk_size,
            "chunks": len(starts),
            "judged": 0,
            "unscored": 0,
            "created_at": time.time(),
        }
        async with self.redis.pipeline(transaction=True) as steps:
            for index, start in enumerate(starts):
                chunk = _ITEMS.dump_json(items[start : start + self.chunk_size]).decode()
                steps.hset(self.keys(job_id).chunks, str(index), chunk)
            self.add(steps, job_id, job, self.keep_seconds)
            await steps.execute()
        return _job(job_id, job)

    async def get(self, job_id: str, owner: str | None = None) -> Job | None:
        """A job; None when it does not exist or has expired, or when it has another owner (`owner` None: any)."""
        fields = await self.fields(job_id, owner)
        return _job(job_id, fields) if fields else None

    async def listed(self, owner: str, limit: int) -> list[Job]:
        """Up to `limit` newest jobs of an owner, the newest first."""
        return [_job(job_id, fields) for job_id, fields in await self.newest(owner, limit)]

    async def begin(self, job_id: str, chunk: int) -> Chunk | None:
        """The request for a chunk; None when the chunk has a result already or its job has ended."""
        begun = await self.begin_chunk(job_id, chunk)
        if begun is None:
            return None
        fields, items = begun
        update = {"items": _ITEMS.validate_json(items)}
        request = JudgeRequest.model_validate_json(fields["request"]).model_copy(update=update)
        return Chunk(request, fields.get("owner", ""))

    async def store_result(self, job_id: str, chunk: int, judged: JudgeResponse) -> bool:
        """Store a chunk's result and queue the job's next chunk. False when it has one already or its job has ended."""
        # The result as JSON lines, whose indices count through the job.
        start = chunk * int(await self.redis.hget(self.keys(job_id).work, "chunk") or 0)
        lines = [
            JobResult(
                **{**dict(judgment), "index": start + judgment.index}, judge_version=judged.judge_version
            ).model_dump_json()
            for judgment in judged.data
        ]
        counts = {
            "judged": len(lines),
            "unscored": sum(judgment.score is None for judgment in judged.data),
            f"{_VERSION}{judged.judge_version}": len(lines),
        }
        return await self.keep_chunk(job_id, chunk, "".join(f"{line}\n" for line in lines), "", counts)

    async def ready(self, job: Job) -> list[range]:
        """The items whose results can be read, as a range for each chunk, in order.

        While the job runs they end before the first chunk without a result.
        """
        size = int(await self.redis.hget(self.keys(job.id).work, "chunk") or self.chunk_size)
        chunks = await self.finished_chunks(job.id)
        if job.state not in ENDED:
            chunks = [chunk for position, chunk in enumerate(chunks) if chunk == position]
        return [range(chunk * size, min((chunk + 1) * size, job.items)) for chunk in chunks]

    async def lines(self, job: Job, items: Sequence[range]) -> AsyncIterator[str]:
        """Yield the results of ranges of items as JSON lines. Each range is within a chunk; one chunk is in memory."""
        keys = self.keys(job.id)
        size = int(await self.redis.hget(keys.work, "chunk") or self.chunk_size)
        for part in items:
            chunk = part.start // size
            stored = await self.redis.hget(keys.results, str(chunk))
            lines = (stored or "").split("\n")[part.start - chunk * size : part.stop - chunk * size]
            yield "".join(f"{line}\n" for line in lines)


def page(ready: Sequence[range], offset: int, limit: int | None) -> list[range]:
    """The ranges of `ready` from item `offset` on, with at most `limit` items."""
    parts, remaining = [], limit
    for items in ready:
        part = range(max(items.start, offset), items.stop)
        if remaining is not None:
            part = part[:remaining]
            remaining -= len(part)
        if part:
            parts.append(part)
    return parts


def _job(job_id: str, fields: dict[str, Any]) -> Job:
    return Job.model_validate(
        {
            "id": job_id,
            **{name: fields[name] for name in ("state", "rubric", "items", "judged", "unscored", "created_at")},
            "judge_versions": {
                name.removeprefix(_VERSION): count for name, count in fields.items() if name.startswith(_VERSION)
            },
            "finished_at": fields.get("finished_at"),
            "error": fields.get("error") or None,
            "results": f"/v1/jobs/{job_id}/results",
        }
    )
