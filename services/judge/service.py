"""What every route judges through, whichever contract it speaks: checks, admission, judging, metrics."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import Request

from selfreward.client.http import WrongPolicyVersion
from selfreward.contracts.comparisons import MetaRequest, PairRequest, PairResponse, RankRequest, RankResponse
from selfreward.contracts.judging import JudgeRequest, JudgeResponse
from selfreward.server.errors import ApiError
from services.judge.checks import (
    check_aggregation,
    check_criteria,
    check_items,
    check_kind,
    check_pairs,
    check_policy,
    find_rubric,
)
from services.judge.engine.cache import cache_mode
from services.judge.engine.engine import Engine, EngineUnavailable
from services.judge.metrics import BATCH_SIZE, DURATION, REQUESTS, observe, observe_pairs, observe_ranks
from services.judge.rubrics.rubric import Rubric, RubricError
from services.judge.rubrics.spec import COMPARING, POINTWISE
from services.judge.rubrics.store import RubricBody, RubricTaken, reload_rubric, store_rubric
from services.judge.serving.deadline import timeout_of, while_wanted
from services.judge.serving.errors import invalid_fields, overloaded
from services.judge.serving.limits import Limits
from services.judge.serving.tracing import describe
from services.judge.settings import JudgeSettings
from services.judge.verdicts.debate import compare_by_debate, requests_of
from services.judge.verdicts.pairs import compare_judgments, compare_responses
from services.judge.verdicts.pointwise import judge_batch
from services.judge.verdicts.ranks import rank

Result = TypeVar("Result", JudgeResponse, PairResponse, RankResponse)


class JudgeService:
    """The rubrics, the engine that judges by them, and the bounds on what is taken on."""

    def __init__(self, settings: JudgeSettings, rubrics: dict[str, Rubric], engine: Engine) -> None:
        self.settings = settings
        self.rubrics = rubrics
        self.engine = engine
        self.limits = Limits()

    def rubric(self, wanted: str) -> Rubric:
        """A rubric by name or id; ApiError (404) when there is none.

        One that is not known here may have been put through another replica: the folder is looked at again.
        """
        try:
            return find_rubric(self.rubrics, wanted)
        except ApiError:
            name = wanted.partition("@")[0]
            found = reload_rubric(self.settings.judge_rubrics, name) if self.settings.judge_rubrics else None
            if found is None:
                raise
            self.rubrics[name] = found
            return find_rubric(self.rubrics, wanted)

    def uses_reference(self, wanted: str) -> bool:
        """Whether a rubric compares with a reference; True for one that is not there, which judging refuses."""
        try:
            return self.rubric(wanted).uses_reference
        except ApiError:
            return True

    async def put_rubric(self, name: str, body: RubricBody) -> Rubric:
        """Keep a rubric in the folder of own ones, and judge by it from now on. Raises ApiError (409, 422)."""
        if self.settings.judge_rubrics is None:
            message = "there is no folder for rubrics: set SELFREWARD_JUDGE_RUBRICS"
            raise ApiError(409, message, "name", "no_rubric_folder")
        try:
            stored = await asyncio.to_thread(store_rubric, self.settings.judge_rubrics, name, body)
        except RubricTaken as error:
            raise ApiError(409, str(error), "name", "rubric_taken") from error
        except RubricError as error:
            raise invalid_fields([(error.field or "(body)", str(error))]) from error
        self.rubrics[name] = stored
        return stored

    async def judge(self, request: Request, body: JudgeRequest, contract: str = "native") -> JudgeResponse:
        """Judge a batch for the client behind `request`, and count it under `contract`.

        Raises ApiError, WrongPolicyVersion or EngineUnavailable; the application's handlers answer them.
        """
        with self.counted(body.rubric, contract):
            rubric = self.rubric(body.rubric)
            check_items(body.items, rubric, self.settings.judge_max_items)
            check_aggregation(body.aggregation, rubric)
            check_policy(body.policy)
            result = await self._perform(
                request,
                rubric,
                len(body.items),
                body.votes,
                lambda engine: judge_batch(engine, rubric, body, answer_id(request)),
            )
            observe(rubric.name, result.data)
            return result

    async def compare(
        self, request: Request, body: PairRequest | MetaRequest, contract: str = "native"
    ) -> PairResponse:
        """Compare pairs of responses or of judgments. Raises as `judge` does."""
        with self.counted(body.rubric, contract):
            rubric = self.rubric(body.rubric)
            check_kind(rubric, ("meta",) if isinstance(body, MetaRequest) else COMPARING)
            items = body.entries if isinstance(body, MetaRequest) else body.items
            check_pairs(items, rubric, self.settings.judge_max_items)
            check_policy(body.policy)

            def work(engine: Engine) -> Coroutine[Any, Any, PairResponse]:
                if isinstance(body, MetaRequest):
                    return compare_judgments(engine, rubric, body, answer_id(request))
                if rubric.debate is not None:
                    return compare_by_debate(engine, rubric, rubric.debate, body, answer_id(request))
                return compare_responses(engine, rubric, body, answer_id(request))

            looks = len(items) * (2 if body.swap else 1)
            result = await self._perform(request, rubric, looks * requests_of(rubric), body.votes, work)
            observe_pairs(rubric.name, result.data)
            return result

    async def rank(self, request: Request, body: RankRequest, contract: str = "native") -> RankResponse:
        """Rank candidates, listwise or by a pointwise rubric. Raises as `judge` does."""
        with self.counted(body.rubric, contract):
            rubric, items = self.rubric(body.rubric), body.entries
            check_kind(rubric, ("rank", *POINTWISE))
            check_pairs(items, rubric, self.settings.judge_max_items)
            check_criteria(rubric)
            check_policy(body.policy)
            looks = 2 if body.swap else 1
            questions = sum(looks if rubric.spec.kind == "rank" else len(item.candidates) for item in items)
            result = await self._perform(
                request, rubric, questions, body.votes, lambda engine: rank(engine, rubric, body, answer_id(request))
            )
            observe_ranks(rubric.name, result.data)
            return result

    async def _perform(
        self,
        request: Request,
        rubric: Rubric,
        questions: int,
        votes: int,
        work: Callable[[Engine], Coroutine[Any, Any, Result]],
    ) -> Result:
        """Admit so many questions of the caller and have them answered, within its limits and its patience."""
        seconds, cache = timeout_of(request), cache_mode(request.headers)
        self.admit(questions)
        with self.limits.of(request.state.key).admitted(questions):
            BATCH_SIZE.observe(questions)
            describe(rubric=rubric.id, items=questions, votes=votes, request_id=request.state.request_id)
            engine = self.engine.for_request(request.state.key.name, cache)
            result = await while_wanted(request, work(engine), seconds)
        describe(policy_version=result.judge_version)
        return result

    @contextmanager
    def counted(self, wanted: str, contract: str) -> Iterator[None]:
        """Count one request for rubric `wanted` by what becomes of it, and how long it takes."""
        started, status = time.perf_counter(), 500
        try:
            yield
            status = 200
        except ApiError as error:
            status = error.status
            raise
        except WrongPolicyVersion:
            status = 409
            raise
        except EngineUnavailable:
            status = 503
            raise
        finally:
            name = wanted.partition("@")[0]
            REQUESTS.labels(name if name in self.rubrics else "unknown", contract, str(status)).inc()
            DURATION.observe(time.perf_counter() - started)

    def admit(self, items: int) -> None:
        """Raise ApiError (429) when too many items wait for the engine already; `items` are its requests."""
        waiting = self.engine.slots.waiting
        if waiting and waiting + items > self.settings.judge_max_waiting:
            raise overloaded(waiting)


def answer_id(request: Request) -> str:
    """Id of the answer to a request."""
    return f"judge-{request.state.request_id}"
