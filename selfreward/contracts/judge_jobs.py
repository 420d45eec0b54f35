"""The wire contract of asynchronous jobs: what is sent, what a job's state is, what a line of its results is."""

from typing import Literal

from pydantic import Field

from selfreward.contracts.base import Contract
from selfreward.contracts.judging import JudgeItem, JudgeRequest, Judgment

JobState = Literal["queued", "running", "done", "cancelled", "failed"]
ENDED: tuple[JobState, ...] = ("done", "cancelled", "failed")
MOST_JOB_ITEMS = 100_000
MOST_LISTED = 100
"""Jobs of one key that can be listed; older ones are still found by their id."""


class JobRequest(JudgeRequest):
    """Body of `POST /v1/jobs`: that of `POST /v1/judge`, with room for many more items."""

    items: list[JudgeItem] = Field(min_length=1, max_length=MOST_JOB_ITEMS)


class Job(Contract):
    """A job. `judged` counts the items that have a result, of which `unscored` have no score.

    `judge_versions` counts results by the policy version that gave them: a job that pins none may see several. Times
    are seconds since 1970. `error` says why a job failed.
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
    """Answer of `GET /v1/jobs`: jobs of the key that asks, the newest first."""

    data: list[Job]


class JobResult(Judgment):
    """One line of a job's results: a judgment, and the policy version that gave it."""

    judge_version: str
