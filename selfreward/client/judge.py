"""Async client of the judge service: one request, any number of items as a stream, and background jobs."""

import asyncio
import json
import uuid
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Unpack
from urllib.parse import quote

import httpx

from selfreward.backoff import backoff
from selfreward.client.http import ServiceClient
from selfreward.client.judge_inputs import (
    Comparable,
    Judgeable,
    JudgeOptions,
    MetaJudgeable,
    PairwiseOptions,
    Rankable,
    as_item,
    as_meta,
    as_pair,
    as_ranking,
    batches,
    number_items,
    one_batch,
)
from selfreward.contracts.comparisons import (
    MetaRequest,
    PairRequest,
    PairResponse,
    PairVerdict,
    RankRequest,
    RankResponse,
    RankVerdict,
)
from selfreward.contracts.judge_jobs import ENDED, MOST_JOB_ITEMS, Job, JobList, JobRequest, JobResult
from selfreward.contracts.judging import JudgeItem, JudgePrompts, JudgeRequest, JudgeResponse, Judgment
from selfreward.settings import Settings, key_of

BATCH_SIZE = 64
IN_FLIGHT = 4
"""Concurrent batches of a stream. With BATCH_SIZE items each they fill a judge with its default concurrency of 64."""
RESULTS_PER_PAGE = 256
"""Job results in one answer: with a few votes each, some megabytes at most."""
_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.1, 5.0


class Judged(NamedTuple):
    """An item of a stream with its judgment, the rubric's id and the judging version.

    The judgment's `index` is the item's position in the stream.
    """

    item: JudgeItem
    judgment: Judgment
    rubric: str
    judge_version: str


class AsyncJudgeClient:
    """Sends answers to the judge and returns a judgment for each, in order. Use as an async context manager.

    `judge` is the service's address, by default `SELFREWARD_JUDGE_URL` (then `api_key` is `SELFREWARD_API_KEY` unless
    given), or a ServiceClient with deadlines and retries of your own. You close that ServiceClient yourself.
    """

    def __init__(self, judge: str | ServiceClient | None = None, api_key: str | None = None) -> None:
        self._owns_service = not isinstance(judge, ServiceClient)
        if judge is None:
            settings = Settings()
            # The configured key goes to the configured judge only, never to an address that a caller names.
            judge, api_key = settings.judge_url, api_key or key_of(settings)
        self.service = judge if isinstance(judge, ServiceClient) else ServiceClient(judge, api_key)

    async def __aenter__(self) -> "AsyncJudgeClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, unless they belong to a ServiceClient of the caller."""
        if self._owns_service:
            await self.service.close()

    async def judge(self, items: Iterable[Judgeable], **options: Unpack[JudgeOptions]) -> JudgeResponse:
        """Judge up to 1024 answers in one request, all by one policy version.

        Raises WrongPolicyVersion when the pinned version is not served, ServiceError on any other failure.
        """
        batch = one_batch((as_item(item) for item in items), "judge_many takes any number")
        request = JudgeRequest(items=batch, **options)
        reply = await self._post("/v1/judge", request.model_dump(mode="json"))
        return JudgeResponse.model_validate_json(reply.content)

    async def judge_batch(self, items: Sequence[JudgeItem], start: int, options: JudgeOptions) -> list[Judged]:
        """Judge one batch of a stream. `start` is the position of the batch's first item in the stream."""
        answer = await self.judge(items, **options)
        return [
            Judged(item, judgment.model_copy(update={"index": index}), answer.rubric, answer.judge_version)
            for index, (item, judgment) in enumerate(zip(items, answer.data, strict=True), start)
        ]

    async def judge_stream(
        self,
        items: AsyncIterable[Judgeable] | Iterable[Judgeable],
        *,
        batch_size: int = BATCH_SIZE,
        in_flight: int = IN_FLIGHT,
        **options: Unpack[JudgeOptions],
    ) -> AsyncIterator[Judged]:
        """Judge any number of answers, in their order. At most `batch_size * in_flight` items are in memory.

        Different versions may judge different batches unless `policy` pins one. Raises as `judge` does.
        """
        pending: deque[asyncio.Task[list[Judged]]] = deque()
        try:
            # Keep `in_flight` batches on the way, and wait for the oldest.
            start = 0
            async for batch in batches(items, batch_size):
                pending.append(asyncio.ensure_future(self.judge_batch(number_items(batch, start), start, options)))
                start += len(batch)
                if len(pending) == in_flight:
                    for judged in await pending.popleft():
                        yield judged

            # Wait for the rest.
            while pending:
                for judged in await pending.popleft():
                    yield judged
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def compare(self, pairs: Iterable[Comparable], **options: Unpack[PairwiseOptions]) -> list[PairVerdict]:
        """Compare up to 1024 pairs of answers, each in both orders, by a pairwise rubric or a constitution.

        Raises as `judge` does.
        """
        return (await self.decide(PairRequest(items=one_batch(as_pair(pair) for pair in pairs), **options))).data

    async def meta(self, judgments: Iterable[MetaJudgeable], **options: Unpack[PairwiseOptions]) -> list[PairVerdict]:
        """Compare up to 1024 pairs of judgments, the two of a pair on one answer, in both orders.

        Raises as `judge` does.
        """
        return (await self.decide(MetaRequest(items=one_batch(as_meta(pair) for pair in judgments), **options))).data

    async def decide(self, request: PairRequest | MetaRequest) -> PairResponse:
        """Send a request of `compare` or `meta` and return the whole response, with the rubric's id and the version."""
        route = "meta" if isinstance(request, MetaRequest) else "pairwise"
        reply = await self._post(f"/v1/judge/{route}", request.model_dump(mode="json", exclude_unset=True))
        return PairResponse.model_validate_json(reply.content)

    async def rank(self, items: Iterable[Rankable], **options: Unpack[PairwiseOptions]) -> list[RankVerdict]:
        """Order the 2 to 64 candidates of each of up to 1024 prompts, best first. Raises as `judge` does.

        A rubric of kind `rank` compares all candidates in one prompt, a pointwise rubric scores each by itself.
        """
        request = RankRequest(items=one_batch(as_ranking(item) for item in items), **options)
        reply = await self._post("/v1/judge/rank", request.model_dump(mode="json", exclude_unset=True))
        return RankResponse.model_validate_json(reply.content).data

    async def prompts(self, items: Sequence[JudgeItem], rubric: str = "additive5") -> JudgePrompts:
        """The filled judge conversations of a batch, letter for letter as `judge` would send them to the model."""
        body = {"items": [item.model_dump(mode="json") for item in items]}
        reply = await self._post(f"/v1/rubrics/{quote(rubric, safe='@:')}/prompt", body)
        return JudgePrompts.model_validate_json(reply.content)

    async def submit_job(
        self, items: Iterable[Judgeable], *, idempotency_key: str | None = None, **options: Unpack[JudgeOptions]
    ) -> Job:
        """Judge up to 100,000 answers in the background. The id of an item without one is its position.

        Idempotent with an `idempotency_key` (1 to 255 printable characters): the same key with the same items returns
        the same job as long as the judge keeps it, also from another process. Each call without a key makes a new job.
        Raises as `judge` does.
        """
        batch = one_batch((as_item(item) for item in items), "send several jobs", MOST_JOB_ITEMS)
        body = JobRequest(items=batch, **options).model_dump(mode="json")
        # Retries of this call must not make a second job, so it always has a key.
        reply = await self._post("/v1/jobs", body, {"Idempotency-Key": idempotency_key or uuid.uuid4().hex})
        return Job.model_validate_json(reply.content)

    async def jobs(self, limit: int = 20) -> list[Job]:
        """The newest jobs of this API key, at most 100, the newest first."""
        reply = await self.service.request("GET", f"/v1/jobs?limit={limit}")
        return JobList.model_validate_json(reply.content).data

    async def job(self, job_id: str) -> Job:
        """The state and progress of a job.

        Raises ServiceError with status 404 for an unknown job, as all methods below that take a job id.
        """
        return Job.model_validate_json((await self.service.request("GET", _job_path(job_id))).content)

    async def wait_job(self, job_id: str, seconds: float) -> Job:
        """Wait until the job has ended: its `state` is `done`, `cancelled` or `failed`; `error` says why it failed.

        Polls at growing intervals of up to 5 s. Raises TimeoutError after `seconds`; the job then goes on.
        """
        job, waits = None, backoff(_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                while True:
                    job = await self.job(job_id)
                    if job.state in ENDED:
                        return job
                    await asyncio.sleep(next(waits))
        except TimeoutError:
            state = "no state" if job is None else f"state {job.state!r}, {job.judged} of {job.items} items judged"
            raise TimeoutError(f"job {job_id} has {state} after {seconds:g} s: wait longer, or cancel it") from None

    async def job_results(self, job_id: str, offset: int = 0) -> AsyncIterator[JobResult]:
        """The available results of a job, in the order of the items, from item `offset` on. 256 are in memory.

        While the job runs they end before the first item without a result. To continue later, call again with the last
        result's `index` + 1 as `offset`.
        """
        while page := await self.job_results_page(job_id, offset):
            for result in page:
                yield result
            offset = page[-1].index + 1

    async def job_results_page(self, job_id: str, offset: int) -> list[JobResult]:
        """Up to `RESULTS_PER_PAGE` available results of a job from item `offset` on; empty after the last one."""
        path = f"{_job_path(job_id)}/results?offset={offset}&limit={RESULTS_PER_PAGE}"
        reply = await self.service.request("GET", path)
        # Split at line feeds only: JSON texts may contain the other line ends that `splitlines` splits at.
        return [JobResult.model_validate_json(line) for line in reply.content.split(b"\n")[:-1]]

    async def cancel_job(self, job_id: str) -> Job:
        """Cancel a job; its results so far stay available. A job that has ended stays as it is."""
        return Job.model_validate_json((await self.service.request("DELETE", _job_path(job_id))).content)

    async def rubrics(self) -> list[dict[str, Any]]:
        """The judge's rubrics: id, name, kind and title of each."""
        return list((await self.service.request("GET", "/v1/rubrics")).json()["data"])

    async def rubric(self, rubric: str) -> dict[str, Any]:
        """One rubric by name or id: its `id` (name and content hash), scale, sampling, template and the rest.

        Raises ServiceError with status 404 when the judge does not know the rubric.
        """
        reply = await self.service.request("GET", f"/v1/rubrics/{quote(rubric, safe='@:')}")
        return dict(reply.json())

    async def _post(self, path: str, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> httpx.Response:
        try:
            return await self.service.request("POST", path, json=body, headers=headers)
        except UnicodeEncodeError:
            # A JSON file may hold lone surrogates, which UTF-8 cannot encode. The judge would drop them too.
            text = json.dumps(body, ensure_ascii=False).encode("utf-8", "ignore")
            return await self.service.request("POST", path, json=json.loads(text), headers=headers)


def _job_path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"
