"""The wire contract of asynchronous judging jobs: the request, the job with its state, and the lines of its results."""

from typing import Literal

from pydantic import Field

from selfreward.contracts.base import Contract
from selfreward.contracts.judging import JudgeItem, JudgeRequest, Judgment

JobState = Literal["queued", "running", "done", "cancelled", "failed"]
ENDED: tuple[JobState, ...] = ("done", "cancelled", "failed")
"""States in which a job no longer changes."""
MOST_JOB_ITEMS = 100_000
MOST_LISTED = 100
"""Jobs of one API key that a list may have. Older jobs can still be requested by their id."""


class JobRequest(JudgeRequest):
    """Body of `POST /v1/jobs`: the body of `POST /v1/judge` with up to 100,000 items."""

    items: list[JudgeItem] = Field(min_length=1, max_length=MOST_JOB_ITEMS)


class Job(Contract):
    """A job. `judged` counts the items with a result, `unscored` those of them without a score.

    `judge_versions` counts results by the policy version that gave them; a job that pins no version may have several.
    Times are seconds since 1970. `error` says why a job failed. `results` is the path of the results.
    """

    id: str
    state: JobState
    rubric: str
    items: int
    judged: int
    unscored: int
    judge_versions: dict[str, int]
    created_at: float
    finished_at: float | None
    error: str | None
    results: str


class JobList(Contract):
    """Answer of `GET /v1/jobs`: the jobs of the requesting API key, the newest first."""

    data: list[Job]


class JobResult(Judgment):
    """One line of a job's results: a judgment with the policy version that gave it."""

    judge_version: str
