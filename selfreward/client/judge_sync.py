"""Blocking client of the judge service, for scripts, notebooks and trainers.

It runs the async client on an event loop in a thread of its own. So retries and deadlines are written once, the client
works where an event loop is running already (a notebook), and any number of threads may share one client.
"""

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar, Unpack

from selfreward.client.http import ServiceClient, ServiceError
from selfreward.client.judge import BATCH_SIZE, IN_FLIGHT, AsyncJudgeClient, Judged
from selfreward.client.judge_inputs import (
    Comparable,
    Judgeable,
    JudgeOptions,
    MetaJudgeable,
    PairwiseOptions,
    Rankable,
    number_items,
)
from selfreward.contracts.comparisons import PairVerdict, RankVerdict
from selfreward.contracts.judge_jobs import Job, JobResult
from selfreward.contracts.judging import JudgeItem, JudgePrompts, JudgeResponse
from selfreward.settings import Settings, key_of

Result = TypeVar("Result")
_PATIENCE_SECONDS = 4 * 3600.0
"""For the items that are in flight at once, behind an engine that takes one a minute."""


class JudgeClient:
    """Sends answers to the judge and returns a judgment for each, in order. Use as a context manager, or `close` it.

    The arguments are those of AsyncJudgeClient: an address and its key, by default `SELFREWARD_JUDGE_URL` and
    `SELFREWARD_API_KEY`, or a ServiceClient with deadlines and retries of your own. This client closes that
    ServiceClient too, because its connections belong to this client's event loop.
    """

    def __init__(self, judge: str | ServiceClient | None = None, api_key: str | None = None) -> None:
        self._client = AsyncJudgeClient(judge, api_key)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def __enter__(self) -> "JudgeClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread."""
        with self._starting:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._client.service.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def judge(self, items: Iterable[Judgeable], **options: Unpack[JudgeOptions]) -> JudgeResponse:
        """Judge up to 1024 answers in one request: `client.judge([("prompt", "response")], rubric="additive5")`.

        Raises WrongPolicyVersion when the pinned version is not served, ServiceError on any other failure.
        """
        return self._wait(self._client.judge(items, **options))

    def judge_many(
        self,
        items: Iterable[Judgeable],
        *,
        batch_size: int = BATCH_SIZE,
        in_flight: int = IN_FLIGHT,
        **options: Unpack[JudgeOptions],
    ) -> Iterator[Judged]:
        """Judge any number of answers, in their order. At most `batch_size * in_flight` items are in memory.

        Reads the iterable in the caller's thread. Raises as `judge` does.
        """
        pending: deque[Future[list[Judged]]] = deque()
        iterator, start = iter(items), 0
        try:
            while batch := list(itertools.islice(iterator, batch_size)):
                pending.append(self._submit(self._client.judge_batch(number_items(batch, start), start, options)))
                start += len(batch)
                if len(pending) == in_flight:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def compare(self, pairs: Iterable[Comparable], **options: Unpack[PairwiseOptions]) -> list[PairVerdict]:
        """Compare up to 1024 pairs of answers, each in both orders: `client.compare([("prompt", "a", "b")])`."""
        return self._wait(self._client.compare(pairs, **options))

    def meta(self, judgments: Iterable[MetaJudgeable], **options: Unpack[PairwiseOptions]) -> list[PairVerdict]:
        """Compare up to 1024 pairs of judgments: `client.meta([("prompt", "answer", "judgment a", "judgment b")])`."""
        return self._wait(self._client.meta(judgments, **options))

    def rank(self, items: Iterable[Rankable], **options: Unpack[PairwiseOptions]) -> list[RankVerdict]:
        """Order candidates, best first: `client.rank([("prompt", ["one", "another"])])`.

        The rubric is of kind `rank` or of a pointwise kind. Raises as `judge` does.
        """
        return self._wait(self._client.rank(items, **options))

    def prompts(self, items: Sequence[JudgeItem], rubric: str = "additive5") -> JudgePrompts:
        """The filled judge conversations of a batch, letter for letter as `judge` would send them to the model."""
        return self._wait(self._client.prompts(items, rubric))

    def submit_job(
        self, items: Iterable[Judgeable], *, idempotency_key: str | None = None, **options: Unpack[JudgeOptions]
    ) -> Job:
        """Judge up to 100,000 answers in the background. Arguments and errors are those of AsyncJudgeClient."""
        return self._wait(self._client.submit_job(items, idempotency_key=idempotency_key, **options))

    def jobs(self, limit: int = 20) -> list[Job]:
        """The newest jobs of this API key, at most 100, the newest first."""
        return self._wait(self._client.jobs(limit))

    def job(self, job_id: str) -> Job:
        """The state and progress of a job.

        Raises ServiceError with status 404 for an unknown job, as all methods below that take a job id.
        """
        return self._wait(self._client.job(job_id))

    def wait_job(self, job_id: str, seconds: float) -> Job:
        """Wait until the job has ended, whatever its `state` then. Raises TimeoutError after `seconds`."""
        return self._wait(self._client.wait_job(job_id, seconds))

    def job_results(self, job_id: str, offset: int = 0) -> Iterator[JobResult]:
        """The available results of a job, in the order of the items, from item `offset` on. 256 are in memory.

        While the job runs they end before the first item without a result. To continue later, call again with the last
        result's `index` + 1 as `offset`.
        """
        while page := self._wait(self._client.job_results_page(job_id, offset)):
            yield from page
            offset = page[-1].index + 1

    def cancel_job(self, job_id: str) -> Job:
        """Cancel a job; its results so far stay available. A job that has ended stays as it is."""
        return self._wait(self._client.cancel_job(job_id))

    def rubrics(self) -> list[dict[str, Any]]:
        """The judge's rubrics: id, name, kind and title of each."""
        return self._wait(self._client.rubrics())

    def rubric(self, rubric: str) -> dict[str, Any]:
        """One rubric by name or id. Raises ServiceError with status 404 when the judge does not know it."""
        return self._wait(self._client.rubric(rubric))

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        future = self._submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C in this thread must not leave the request running in the other one
            raise

    def _submit(self, work: Coroutine[Any, Any, Result]) -> "Future[Result]":
        with self._starting:
            if self._loop is None:
                # Start the thread with the first request: a client may be made before the process forks.
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="judge-client", daemon=True)
                self._thread.start()
            elif self._thread is None or not self._thread.is_alive():
                work.close()
                raise RuntimeError("this JudgeClient was used before the process forked: make one in each process")
            return asyncio.run_coroutine_threadsafe(work, self._loop)


def reachable_judge() -> JudgeClient:
    """A client of the configured judge. Raises ServiceError with the remedy at once when no judge answers."""
    settings = Settings()
    url = settings.judge_url
    with JudgeClient(ServiceClient(url, key_of(settings), deadline=10, attempts=2)) as probe:
        try:
            probe.rubrics()
        except ServiceError as error:
            if error.status is not None and error.status < 500:
                raise
            raise ServiceError(f"no judge answers at {url}: {error}; start one or set SELFREWARD_JUDGE_URL") from error
    return JudgeClient(ServiceClient(url, key_of(settings), deadline=_PATIENCE_SECONDS))
