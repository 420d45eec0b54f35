"""Async client of the judge service: one batch, or any number of items as a stream."""

import asyncio
import json
import uuid
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Unpack
from urllib.parse import quote

import httpx

from selfreward.client import judge_job_calls as calls
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
    numbered,
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
from selfreward.contracts.judge_jobs import MOST_JOB_ITEMS, Job, JobRequest, JobResult
from selfreward.contracts.judging import JudgeItem, JudgePrompts, JudgeRequest, JudgeResponse, Judgment
from selfreward.settings import Settings, key_of

BATCH_SIZE = 64
IN_FLIGHT = 4
"""Batches on the way at once: with BATCH_SIZE items each, enough to keep a judge busy that takes 64 at a time."""


class Judged(NamedTuple):
    """An item of a stream, its judgment (`index` counts through the stream), and by which rubric and version."""

    item: JudgeItem
    judgment: Judgment
    rubric: str
    judge_version: str


class AsyncJudgeClient:
    """Sends answers to the judge and returns a judgment for each, in order. Use as an async context manager.

    `judge` is the service's address, by default `SELFREWARD_JUDGE_URL` (then `api_key` is `SELFREWARD_API_KEY` unless
    given), or a ServiceClient with deadlines and retries of your own, which is then yours to close.
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
        """Close the connections, unless they belong to a ServiceClient that was given."""
        if self._owns_service:
            await self.service.close()

    async def judge(self, items: Iterable[Judgeable], **options: Unpack[JudgeOptions]) -> JudgeResponse:
        """Judge up to 1024 answers in one request, all by one version.

        Raises WrongPolicyVersion when the pinned version is not served, ServiceError on any other failure.
        """
        batch = one_batch((as_item(item) for item in items), "judge_many takes any number")
        request = JudgeRequest(items=batch, **options)
        reply = await self._post("/v1/judge", request.model_dump(mode="json"))
        return JudgeResponse.model_validate_json(reply.content)

    async def judge_batch(self, items: Sequence[JudgeItem], start: int, options: JudgeOptions) -> list[Judged]:
        """One batch of a stream, whose first item is the stream's item `start`."""
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
        """Judge any number of answers, in their order; at most `batch_size * in_flight` of them are held at a time.

        Batches may be judged by different versions unless `policy` pins one. Raises as `judge` does.
        """
        waiting: deque[asyncio.Task[list[Judged]]] = deque()
        try:
            start = 0
            async for batch in batches(items, batch_size):
                work = self.judge_batch(numbered(batch, start), start, options)
                waiting.append(asyncio.ensure_future(work))
                start += len(batch)
                if len(waiting) == in_flight:
                    for judged in await waiting.popleft():
                        yield judged
            while waiting:
                for judged in await waiting.popleft():
                    yield judged
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def compare(self, pairs: Iterable[Comparable], **options: Unpack[PairwiseOptions]) -> list[PairVerdict]:
        """Compare up to 1024 pairs of answers, each in both orders, by a pairwise rubric or a constitution.

        Raises as `judge` does.
        """
        return (await self.decide(PairRequest(items=one_batch(as_pair(pair) for pair in pairs), **options))).data

    async def meta(self, judgments: Iterable[MetaJudgeable], **options: Unpack[PairwiseOptions]) -> list[PairVerdict]:
        """Compare up to 1024 pairs of judgments, each of one answer, in both orders. Raises as `judge` does."""
        return (await self.decide(MetaRequest(items=one_batch(as_meta(pair) for pair in judgments), **options))).data

    async def decide(self, request: PairRequest | MetaRequest) -> PairResponse:
        """`compare` or `meta` with all that the judge answers: the verdicts, by which rubric and which version."""
        route = "meta" if isinstance(request, MetaRequest) else "pairwise"
        reply = await self._post(f"/v1/judge/{route}", request.model_dump(mode="json", exclude_unset=True))
        return PairResponse.model_validate_json(reply.content)

    async def rank(self, items: Iterable[Rankable], **options: Unpack[PairwiseOptions]) -> list[RankVerdict]:
        """Order the 2 to 64 candidates of each of up to 1024 prompts, best first. Raises as `judge` does.

        A rubric of kind `rank` looks at all candidates together, a pointwise one scores each by itself.
        """
        request = RankRequest(items=one_batch(as_ranking(item) for item in items), **options)
        reply = await self._post("/v1/judge/rank", request.model_dump(mode="json", exclude_unset=True))
        return RankResponse.model_validate_json(reply.content).data

    async def prompts(self, items: Sequence[JudgeItem], rubric: str = "additive5") -> JudgePrompts:
        """The filled judge conversations of a batch, letter for letter as `judge` would send them to the model."""
        body = {"items": [item.model_dump(mode="json") for item in items]}
        reply = await self._post(f"/v1/rubrics/{rubric}/prompt", body)
        return JudgePrompts.model_validate_json(reply.content)

    async def submit_job(
        self, items: Iterable[Judgeable], *, idempotency_key: str | None = None, **options: Unpack[JudgeOptions]
    ) -> Job:
        """Have up to 100,000 answers judged in the background. Items without an id are named by their position.

        The same `idempotency_key` (1 to 255 printable characters) with the same items gives the same job while that is
        kept, also to another process; without one each call makes a job. Raises as `judge` does.
        """
        batch = one_batch((as_item(item) for item in items), "send several jobs", MOST_JOB_ITEMS)
        body = JobRequest(items=batch, **options).model_dump(mode="json")
        # Retries of this call must not make a second job, so it always has a key.
        reply = await self._post("/v1/jobs", body, {"Idempotency-Key": idempotency_key or uuid.uuid4().hex})
        return Job.model_validate_json(reply.content)

    async def jobs(self, limit: int = 20) -> list[Job]:
        """This key's newest jobs, at most 100, the newest first."""
        return await calls.newest(self.service, limit)

    async def job(self, job_id: str) -> Job:
        """A job's state and progress. ServiceError with status 404 when there is none, here and in all that follow."""
        return await calls.show(self.service, job_id)

    async def wait_job(self, job_id: str, seconds: float) -> Job:
        """The job when it has ended: `state` is `done`, `cancelled` or `failed`, and `error` says why it failed.

        Raises TimeoutError when it goes on for longer than `seconds`; the job is left as it is.
        """
        return await calls.ended(self.service, job_id, seconds)

    async def job_results(self, job_id: str, offset: int = 0) -> AsyncIterator[JobResult]:
        """The results of a job that there are, in the order of the items from `offset` on, 256 held at a time.

        While the job goes on they end before the first item without one: go on later from the last one's `index` + 1.
        """
        while found := await calls.results(self.service, job_id, offset):
            for result in found:
                yield result
            offset = found[-1].index + 1

    async def cancel_job(self, job_id: str) -> Job:
        """Cancel a job, which keeps its results so far; one that has ended stays as it is."""
        return await calls.cancel(self.service, job_id)

    async def rubrics(self) -> list[dict[str, Any]]:
        """The judge's rubrics: id, name and title of each."""
        return list((await self.service.request("GET", "/v1/rubrics")).json()["data"])

    async def rubric(self, rubric: str) -> dict[str, Any]:
        """A rubric as the judge describes it: `id` (name and content hash), scale, sampling, template.

        ServiceError with status 404 when the judge has none of that name or id.
        """
        reply = await self.service.request("GET", f"/v1/rubrics/{quote(rubric, safe='@:')}")
        return dict(reply.json())

    async def _post(self, path: str, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> httpx.Response:
        try:
            return await self.service.request("POST", path, json=body, headers=headers)
        except UnicodeEncodeError:
            # Lone surrogates: a JSON file may hold them, UTF-8 cannot, and the judge would leave them out itself.
            text = json.dumps(body, ensure_ascii=False).encode("utf-8", "ignore")
            return await self.service.request("POST", path, json=json.loads(text), headers=headers)
