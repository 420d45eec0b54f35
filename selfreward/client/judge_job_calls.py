"""What the judge's clients ask of a job (`/v1/jobs`) once it is submitted: its state, its end, its results, no more."""

import asyncio
import random
from urllib.parse import quote

from selfreward.client.http import ServiceClient
from selfreward.contracts.judge_jobs import ENDED, Job, JobList, JobResult

RESULTS_AT_ONCE = 256
"""Results in one answer: with a few votes each, some megabytes at most."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


async def newest(service: ServiceClient, limit: int) -> list[Job]:
    """This key's newest jobs, the newest first."""
    return JobList.model_validate_json((await service.request("GET", f"/v1/jobs?limit={limit}")).content).data


async def show(service: ServiceClient, job_id: str) -> Job:
    """A job as it is now."""
    return Job.model_validate_json((await service.request("GET", _path(job_id))).content)


async def cancel(service: ServiceClient, job_id: str) -> Job:
    """Cancel a job, unless it has ended; the job as it is then."""
    return Job.model_validate_json((await service.request("DELETE", _path(job_id))).content)


async def ended(service: ServiceClient, job_id: str, seconds: float) -> Job:
    """Look at a job until it has ended, every 5 s at last. TimeoutError when it goes on for longer than `seconds`."""
    job, pause = None, _FIRST_PAUSE
    try:
        async with asyncio.timeout(seconds):
            while True:
                job = await show(service, job_id)
                if job.state in ENDED:
                    return job
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                pause = min(2 * pause, _LONGEST_PAUSE)
    except TimeoutError:
        found = "no state" if job is None else f"state {job.state!r}, {job.judged} of {job.items} items judged"
        raise TimeoutError(f"job {job_id} has {found} after {seconds:g} s: wait longer, or cancel it") from None


async def results(service: ServiceClient, job_id: str, offset: int) -> list[JobResult]:
    """The next `RESULTS_AT_ONCE` results that there are, from the item `offset` on; none at the end of them."""
    reply = await service.request("GET", f"{_path(job_id)}/results?offset={offset}&limit={RESULTS_AT_ONCE}")
    # JSON may hold other line ends than this one within its texts.
    return [JobResult.model_validate_json(line) for line in reply.content.split(b"\n")[:-1]]


def _path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"
