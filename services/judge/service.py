"""The service behind every route, whatever its contract: check, admit, judge, count."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
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
from services.judge.engine.engine import Engine, EngineRefused, EngineUnavailable
from services.judge.engine.lookup import cache_mode
from services.judge.metrics import BATCH_SIZE, DURATION, REQUESTS, observe_judgments, observe_pairs, observe_ranks
from services.judge.rubrics.rubric import Rubric, RubricError
from services.judge.rubrics.spec import COMPARING, POINTWISE
from services.judge.rubrics.store import RubricBody, RubricTaken, reload_rubric, store_rubric
from services.judge.serving.deadline import timeout_of, while_wanted
from services.judge.serving.errors import invalid_fields, overloaded
from services.judge.serving.limits import Limits
from services.judge.serving.tracing import describe
from services.judge.settings import JudgeSettings
from services.judge.verdicts.debate import compare_by_debate, requests_of
from services.judge.verdicts.jury import Jury
from services.judge.verdicts.pairs import compare_judgments, compare_responses
from services.judge.verdicts.pointwise import judge_batch
from services.judge.verdicts.ranks import rank

Result = TypeVar("Result", JudgeResponse, PairResponse, RankResponse)


class JudgeService:
    """The rubrics, the engine that judges by them, and the limits of each API key."""

    def __init__(
        self,
        settings: JudgeSettings,
        rubrics: dict[str, Rubric],
        engine: Engine,
        limits: Limits,
        named_engines: Mapping[str, Engine],
    ) -> None:
        self.settings = settings
        self.rubrics = rubrics
        self.engine = engine
        self.limits = limits
        self.named_engines = named_engines

    def rubric(self, name_or_id: str) -> Rubric:
        """A rubric by name or id. Raises ApiError (404) when it is not known.

        Looks for an unknown rubric in the folder of own rubrics, because it may have been added through another
        replica.
        """
        try:
            return find_rubric(self.rubrics, name_or_id)
        except ApiError:
            name = name_or_id.partition("@")[0]
            folder = self.settings.judge_rubrics
            rubric = reload_rubric(folder, name, self.named_engines) if folder else None
            if rubric is None:
                raise
            self.rubrics[name] = rubric
            return find_rubric(self.rubrics, name_or_id)

    def jury(self, rubric: Rubric) -> Jury:
        """The engines that judge by a rubric: those that it names, else the judge's own."""
        if not rubric.spec.engines:
            return Jury({None: self.engine})
        return Jury({name: self.named_engines[name] for name in rubric.spec.engines})

    def uses_reference(self, name_or_id: str) -> bool:
        """Whether a rubric compares with a reference. True for an unknown rubric, which judging refuses later."""
        try:
            return self.rubric(name_or_id).uses_reference
        except ApiError:
            return True

    async def put_rubric(self, name: str, body: RubricBody) -> Rubric:
        """Store a rubric in the folder of own rubrics, and judge by it from now on. Raises ApiError (409, 422)."""
        if self.settings.judge_rubrics is None:
            message = "there is no folder for rubrics: set SELFREWARD_JUDGE_RUBRICS"
            raise ApiError(409, message, "name", "no_rubric_folder")
        try:
            folder, engines = self.settings.judge_rubrics, self.named_engines
            stored = await asyncio.to_thread(store_rubric, folder, name, body, engines)
        except RubricTaken as error:
            raise ApiError(409, str(error), "name", "rubric_taken") from error
        except RubricError as error:
            raise invalid_fields([(error.field or "(body)", str(error))]) from error
        self.rubrics[name] = stored
        return stored

    async def judge(self, request: Request, body: JudgeRequest, contract: str = "native") -> JudgeResponse:
        """Judge a batch for the client of `request`, and count it under `contract`.

        Raises ApiError, WrongPolicyVersion, EngineUnavailable or EngineRefused, which the application answers.
        """
        with self._counted(body.rubric, contract):
            rubric = self.rubric(body.rubric)
            check_items(body.items, rubric, self.settings.judge_max_items)
            check_aggregation(body.aggregation, rubric)
            check_policy(body.policy, rubric)
            result = await self._perform(
                request,
                rubric,
                len(body.items),
                body.votes,
                lambda jury: judge_batch(jury, rubric, body, answer_id(request)),
            )
            observe_judgments(rubric.name, result.data)
            return result

    async def compare(
        self, request: Request, body: PairRequest | MetaRequest, contract: str = "native"
    ) -> PairResponse:
        """Compare pairs of responses or of judgments. Raises as `judge` does."""
        with self._counted(body.rubric, contract):
            rubric = self.rubric(body.rubric)
            check_kind(rubric, ("meta",) if isinstance(body, MetaRequest) else COMPARING)
            items = body.entries if isinstance(body, MetaRequest) else body.items
            check_pairs(items, rubric, self.settings.judge_max_items)
            check_policy(body.policy, rubric)

            def work(jury: Jury) -> Coroutine[Any, Any, PairResponse]:
                if isinstance(body, MetaRequest):
                    return compare_judgments(jury, rubric, body, answer_id(request))
                if rubric.debate is not None:
                    return compare_by_debate(jury.first, rubric, rubric.debate, body, answer_id(request))
                return compare_responses(jury, rubric, body, answer_id(request))

            engine_requests = len(items) * (2 if body.swap else 1) * requests_of(rubric)
            result = await self._perform(request, rubric, engine_requests, body.votes, work)
            observe_pairs(rubric.name, result.data)
            return result

    async def rank(self, request: Request, body: RankRequest, contract: str = "native") -> RankResponse:
        """Rank candidates, listwise or by a pointwise rubric. Raises as `judge` does."""
        with self._counted(body.rubric, contract):
            rubric, items = self.rubric(body.rubric), body.entries
            check_kind(rubric, ("rank", *POINTWISE))
            check_pairs(items, rubric, self.settings.judge_max_items)
            check_criteria(rubric)
            check_policy(body.policy, rubric)
            orders = 2 if body.swap else 1
            result = await self._perform(
                request,
                rubric,
                sum(orders if rubric.spec.kind == "rank" else len(item.candidates) for item in items),
                body.votes,
                lambda jury: rank(jury, rubric, body, answer_id(request)),
            )
            observe_ranks(rubric.name, result.data)
            return result

    async def _perform(
        self,
        request: Request,
        rubric: Rubric,
        engine_requests: int,
        votes: int,
        work: Callable[[Jury], Coroutine[Any, Any, Result]],
    ) -> Result:
        """Admit so many requests of the caller to each engine and do the work, within its limits and its timeout."""
        jury = self.jury(rubric)
        seconds, cache, caller = timeout_of(request), cache_mode(request.headers), request.state.key.name
        if getattr(request.state, "background", False):
            # A line of a batch was admitted with the batch, and takes turns beside its key's other requests.
            admitted: AbstractAsyncContextManager[None] = nullcontext()
            caller = f"{caller} (batches)"
        else:
            self._check_backlog(jury.waiting, engine_requests)
            admitted = self.limits.of(request.state.key).admitted(engine_requests * len(jury.engines))
        async with admitted:
            BATCH_SIZE.observe(engine_requests)
            describe(rubric=rubric.id, items=engine_requests, votes=votes, request_id=request.state.request_id)
            result = await while_wanted(request, work(jury.for_request(caller, cache)), seconds)
        describe(policy_version=result.judge_version)
        return result

    @contextmanager
    def _counted(self, rubric: str, contract: str) -> Iterator[None]:
        """Count one request for a rubric (its name or id) with the status of its answer, and measure its duration."""
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
        except EngineRefused:
            status = 424
            raise
        finally:
            name = rubric.partition("@")[0]
            REQUESTS.labels(name if name in self.rubrics else "unknown", contract, str(status)).inc()
            DURATION.observe(time.perf_counter() - started)

    def _check_backlog(self, waiting: int, engine_requests: int) -> None:
        """Backpressure: raise ApiError (429) when too many engine requests wait for a slot already."""
        if waiting and waiting + engine_requests > self.settings.judge_max_waiting:
            raise overloaded(waiting)


def answer_id(request: Request) -> str:
    """The id of the answer to a request."""
    return f"judge-{request.state.request_id}"
