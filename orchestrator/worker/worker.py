"""The worker answers and judges prompts from the queue, many at a time, so that the two overlap on the engine.

Delivery is at least once and results are idempotent by key, so a worker may crash at any moment.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import ValidationError
from redis.exceptions import RedisError

from orchestrator import metrics
from orchestrator.runs.results import Results
from orchestrator.runs.state import stopped_runs
from orchestrator.settings import OrchestratorSettings
from orchestrator.worker.compare import compare_texts
from orchestrator.worker.revise import Ask, revise
from orchestrator.worker.search import search_answer
from selfreward.backoff import jittered
from selfreward.client.generator import GeneratorClient
from selfreward.client.http import ServiceError, WrongPolicyVersion
from selfreward.client.judge import AsyncJudgeClient
from selfreward.contracts.base import Message
from selfreward.contracts.comparisons import PairRequest, PairResponse
from selfreward.contracts.judging import JudgeItem, JudgeResponse
from selfreward.contracts.rollouts import Response, Rollout
from selfreward.loop.own_verdicts import final_answer
from selfreward.loop.tasks import EVALUATION_SETS, QUEUE, Compare, Search, Task, seed_of
from selfreward.redis.connection import RedisClient, retry_while_redis_is_away
from selfreward.redis.queue import Work, WorkQueue
from selfreward.server.background import cancel_and_wait

_TAKEN_AT_ONCE = 32
Reply = TypeVar("Reply")
_ENGINE_REFUSED = 424
"""The judge's answer where its engine refuses every request until a setting is mended."""
_log = logging.getLogger(__name__)


class JudgingFailed(ServiceError):
    """The engine failed for some answers of a batch; another delivery may succeed."""


def phase_of(part: str) -> str:
    """The phase that waits for a part's tasks, whose results share a hash. Most parts have the name of their phase."""
    return {"eft": "rollouts", **dict.fromkeys(EVALUATION_SETS, "evaluate")}.get(part, part)


class RolloutWorker:
    """Works on the queue until cancelled. Another worker claims the items in progress when it stops."""

    def __init__(
        self, settings: OrchestratorSettings, redis: RedisClient, generator: GeneratorClient, judge: AsyncJudgeClient
    ) -> None:
        self.settings = settings
        self.redis = redis
        self.generator = generator
        self.judge = judge
        self.queue = WorkQueue(redis, QUEUE, claim_after_ms=int(settings.claim_after_s * 1000))
        self._active: dict[asyncio.Task[None], Work] = {}
        self._stopped: set[str] = set()
        self._stopped_read = float("-inf")

    async def run(self) -> None:
        """Work until cancelled."""
        heartbeats = asyncio.create_task(self._heartbeats())
        try:
            while True:
                free = self.settings.worker_concurrency - len(self._active)
                if not free:
                    await asyncio.wait(self._active, return_when=asyncio.FIRST_COMPLETED)
                    continue
                for work in await self._take(min(free, _TAKEN_AT_ONCE)):
                    task = asyncio.create_task(self._survive(work))
                    self._active[task] = work
                    task.add_done_callback(lambda finished: self._active.pop(finished, None))
        finally:
            await cancel_and_wait([heartbeats, *self._active])

    async def _take(self, count: int) -> list[Work]:
        """New items. None while Redis is unreachable, so that its outage does not end the work in progress."""
        try:
            taken = await self.queue.take(self.settings.worker_name, count=count, block_ms=500)
        except RedisError as error:
            _log.warning("cannot take work", extra={"error": repr(error)})
            await asyncio.sleep(jittered(1.0))
            return []
        if taken:
            await retry_while_redis_is_away(self._read_stopped_runs, "which runs are stopped")
        redelivered = sum(work.deliveries > 1 for work in taken)
        metrics.REDELIVERIES.labels(QUEUE).inc(redelivered)
        # After an outage of Redis, this worker may claim items that it still works on.
        in_progress = {work.entry_id for work in self._active.values()}
        return [work for work in taken if work.entry_id not in in_progress]

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self.settings.claim_after_s / 3)
            try:
                if self._active:
                    await self.queue.heartbeat(self.settings.worker_name, *self._active.values())
            except RedisError as error:
                _log.warning("heartbeat failed", extra={"error": repr(error)})

    async def _survive(self, work: Work) -> None:
        """Handle one item. An unexpected error must not end the other items; the queue delivers the item again."""
        try:
            await self.handle(work)
        except Exception:
            _log.exception("an item failed unexpectedly and is delivered again", extra={"key": work.key})

    async def handle(self, work: Work) -> None:
        """Handle one item. A failed item is delivered again or becomes a dead letter."""
        # Read the task.
        try:
            task = Task.model_validate(work.body)
        except ValidationError as error:
            why = f"not a task: {error}"
            await retry_while_redis_is_away(lambda: self.queue.dead_letter(work, why), "a dead letter")
            metrics.DEAD_LETTERS.labels(QUEUE).inc()
            return
        results = Results(self.redis, task.run, task.stage, phase_of(task.part))
        # Drop it if it has a result. A finished task may be queued again: by a command that was sent twice, or because
        # Redis lost its last second.
        if task.run in self._stopped or await retry_while_redis_is_away(lambda: results.has(task.key), "a result"):
            await retry_while_redis_is_away(lambda: self.queue.done(work), "finished work")
            return
        # Do it.
        try:
            rollout = await self.perform(task, last=work.deliveries >= self.queue.max_deliveries)
        except (ServiceError, ValidationError) as error:
            _log.warning("prompt failed", extra={"run": task.run, "prompt": task.prompt_id, "error": str(error)})
            why = f"{type(error).__name__}: {error}"
            # Until the setting that the judge names is mended, answers would be sampled for nothing.
            is_refused = isinstance(error, ServiceError) and error.status == _ENGINE_REFUSED
            is_last = is_refused or work.deliveries >= self.queue.max_deliveries
            give_up = self.queue.dead_letter if is_last else self.queue.failed
            await retry_while_redis_is_away(lambda: give_up(work, why), "a failure")
            if is_last:
                metrics.DEAD_LETTERS.labels(QUEUE).inc()
            return
        # Store the result. It is held until then, even if Redis is unreachable or full.
        await retry_while_redis_is_away(
            lambda: self.queue.done_with(work, results.key, rollout.model_dump_json()), "a result"
        )

    async def perform(self, task: Task, last: bool = False) -> Rollout:
        """Answer and judge one prompt.

        Raises ServiceError (JudgingFailed if the engine failed some votes, unless this is the `last` try), and
        WrongPolicyVersion if the pinned version is not served within `policy_wait_s`.
        """
        # Answer.
        if task.search is not None and task.compare is not None:
            return await self._search(task, task.search, task.compare, last)
        responses = task.responses
        if task.generate is not None:
            responses = [*await self._wait_for_version(lambda: self._generate(task)), *task.responses]
        if task.revise:
            (first,) = responses
            responses = await self._wait_for_version(lambda: revise(self._asker(task), task.prompt, first, task.revise))
        # Judge or compare.
        judged = None
        if task.judge is not None:
            judged = await self._wait_for_version(lambda: self._judge(task, responses))
            failed = sum(judgment.failure_kind == "error" for judgment in judged.data)
            if failed and not last:
                raise JudgingFailed(f"the engine failed the judgments of {failed} of {len(responses)} answers")
        if task.compare is not None:
            return await self._compare(task, task.compare, responses, last)
        return task.rollout(
            responses,
            judgments=judged.data if judged else [],
            judge_version=judged.judge_version if judged else None,
            rubric=judged.rubric if judged else None,
        )

    async def _compare(self, task: Task, compare: Compare, responses: list[Response], last: bool) -> Rollout:
        rollout = await self._wait_for_version(lambda: compare_texts(self.judge, task, compare, responses))
        failed = sum(match.status == "error" for match in rollout.matches)
        if failed and not last:
            raise JudgingFailed(f"the engine failed {failed} of {len(rollout.matches)} comparisons")
        return rollout

    async def _search(self, task: Task, search: Search, compare: Compare, last: bool) -> Rollout:
        async def sample(messages: list[Message], seed: int, fields: dict[str, Any]) -> list[Response]:
            return await self._wait_for_version(lambda: self._chat(task, messages, seed, **fields))

        async def decide(request: PairRequest) -> PairResponse:
            reply = await self._wait_for_version(lambda: self.judge.decide(request))
            failed = sum(vote.status == "error" for verdict in reply.data for vote in verdict.votes)
            # Fail now, not at the end: without these verdicts the search would take other steps.
            if failed and not last:
                raise JudgingFailed(f"the engine failed {failed} comparisons of {len(request.items)} pairs of steps")
            return reply

        return await search_answer(task, search, compare, sample, decide)

    async def _generate(self, task: Task) -> list[Response]:
        return await self._chat(task, task.prompt, task.seed) if task.generate else task.responses

    def _asker(self, task: Task) -> Ask:
        async def ask(text: str, name: str) -> Response:
            (answer,) = await self._chat(task, [Message(role="user", content=text)], seed_of(task.seed, name))
            return answer

        return ask

    async def _chat(self, task: Task, messages: list[Message], seed: int, **extra: Any) -> list[Response]:
        """Answers of the pinned version, sampled as the task says. Raises WrongPolicyVersion for any other version.

        `extra` are further fields of the request.
        """
        sampling = task.generate.model_dump() if task.generate else {}
        generation = await self.generator.chat(messages, model=task.policy, seed=seed, **sampling, **extra)
        if generation.policy_version != task.policy:
            raise WrongPolicyVersion(f"asked for {task.policy}, answered by {generation.policy_version}", 409)
        return generation.responses

    async def _judge(self, task: Task, responses: list[Response]) -> JudgeResponse:
        if task.judge is None:
            raise ValueError(f"task {task.key} asks for no judgment")
        texts = [response.text for response in responses]
        if task.answer_format is not None:
            texts = [final_answer(text, task.answer_format) or "" for text in texts]
        items = [JudgeItem(prompt=task.prompt, response=text) for text in texts]
        pinned = task.policy if task.judge.annotator == "policy" else None
        sampling = task.judge.model_dump(exclude={"annotator"})
        return await self.judge.judge(items, policy=pinned, seed=task.seed, **sampling)

    async def _wait_for_version(self, call: Callable[[], Awaitable[Reply]]) -> Reply:
        """Repeat a call until the replicas serve the pinned version, for at most `policy_wait_s`."""
        deadline = time.monotonic() + self.settings.policy_wait_s
        while True:
            try:
                return await call()
            except WrongPolicyVersion:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(jittered(1.0))

    async def _read_stopped_runs(self) -> None:
        """Read which runs are stopped, at most once a second, since a stop need not be instant."""
        if time.monotonic() - self._stopped_read > 1:
            self._stopped = await stopped_runs(self.redis)
            self._stopped_read = time.monotonic()
