"""`/v1/jobs`: asynchronous jobs. Send up to 100,000 items, and fetch the results later.

Only the API key that created a job and keys with the scope `admin` see it; for all others it does not exist.
"""

from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse

from selfreward.contracts.judge_jobs import MOST_JOB_ITEMS, MOST_LISTED, Job, JobList, JobRequest
from selfreward.server.errors import ApiError
from services.judge.checks import check_items, check_policy
from services.judge.jobs.shares import Shares
from services.judge.jobs.store import JobStore, page
from services.judge.metrics import REQUESTS
from services.judge.service import JudgeService
from services.judge.serving.errors import redis_needed
from services.judge.serving.idempotency import name_of

CONTRACT = "jobs"
_JSON_LINES = "application/x-ndjson"


def add_jobs(app: FastAPI, service: JudgeService, store: JobStore, shares: Shares) -> None:
    """Add the routes of jobs."""

    async def visible_job(request: Request, job_id: str) -> Job:
        job = await store.get(job_id, request.state.key.sees)
        if job is None:
            message = f"job {job_id!r} is not known: check its id; jobs are forgotten some time after they end"
            raise ApiError(404, message, "job_id", "job_not_found")
        return job

    @app.post("/v1/jobs", status_code=202, response_model=Job, tags=[CONTRACT])
    async def create_job(request: Request, body: JobRequest) -> Response:
        """Accept a batch to judge in the background. The header `Location` has the path of the job."""
        rubric, key = service.rubric(body.rubric), request.state.key
        check_items(body.items, rubric, min(MOST_JOB_ITEMS, key.job_items or MOST_JOB_ITEMS))
        check_policy(body.policy, rubric)
        await service.limits.of(key).admit_job(len(body.items))
        # One idempotency key, one job: if the answer is lost before it is stored, the repeated request finds the job.
        name = name_of(request)
        async with redis_needed("jobs"):
            await shares.admit(key.name, store.keys(f"job-{name}").work, len(await request.body()))
            job = await store.create(f"job-{name}", rubric.id, body, key.name)
        REQUESTS.labels(rubric.name, CONTRACT, "202").inc()
        headers = {"Location": f"/v1/jobs/{job.id}"}
        return Response(job.model_dump_json(), 202, media_type="application/json", headers=headers)

    @app.get("/v1/jobs", response_model=JobList, tags=[CONTRACT])
    async def list_jobs(request: Request, limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 20) -> Response:
        """The newest jobs of the requesting key, the newest first."""
        async with redis_needed("jobs"):
            jobs = JobList(data=await store.listed(request.state.key.name, limit))
        return Response(jobs.model_dump_json(), media_type="application/json")

    @app.get("/v1/jobs/{job_id}", response_model=Job, tags=[CONTRACT])
    async def show_job(request: Request, job_id: str) -> Response:
        """The state and progress of a job."""
        async with redis_needed("jobs"):
            job = await visible_job(request, job_id)
        return Response(job.model_dump_json(), media_type="application/json")

    @app.get("/v1/jobs/{job_id}/results", tags=[CONTRACT], response_class=StreamingResponse)
    async def job_results(
        request: Request,
        job_id: str,
        offset: Annotated[int, Query(ge=0, le=MOST_JOB_ITEMS)] = 0,
        limit: Annotated[int | None, Query(ge=1, le=MOST_JOB_ITEMS)] = None,
    ) -> StreamingResponse:
        """The results as JSON lines, in the order of the items, from `offset` on. `X-Next-Offset` is the next offset.

        While the job runs, the lines end before the first item without a result. Those of an ended job leave
        out items without a result.
        """
        async with redis_needed("jobs"):
            job = await visible_job(request, job_id)
            items = page(await store.ready(job), offset, limit)
        headers = {"X-Next-Offset": str(items[-1].stop if items else offset), "X-Job-State": job.state}
        return StreamingResponse(store.lines(job, items), media_type=_JSON_LINES, headers=headers)

    @app.delete("/v1/jobs/{job_id}", response_model=Job, tags=[CONTRACT])
    async def cancel_job(request: Request, job_id: str) -> Response:
        """Cancel a job. A job that has ended stays as it is. The results so far stay until they expire."""
        async with redis_needed("jobs"):
            await visible_job(request, job_id)
            await store.end(job_id, "cancelled")
            job = await visible_job(request, job_id)
        return Response(job.model_dump_json(), media_type="application/json")
