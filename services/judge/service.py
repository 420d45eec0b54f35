"""What every route judges through, whichever contract it speaks: checks, admission, judging, metrics."""

import asyncio
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import Request

from selfreward.contracts import JudgeRequest, JudgeResponse
from selfreward.http import WrongPolicyVersion
from selfreward.verdicts import MetaRequest, PairRequest, PairResponse, RankRequest, RankResponse
from services.judge.engine import Engine
from services.judge.errors import error_response
from services.judge.judging import EngineUnavailable
from services.judge.kinds import POINTWISE
from services.judge.metrics import BATCH_SIZE, DURATION, REQUESTS, observe, observe_pairs, observe_ranks
from services.judge.pairs import compare_judgements, compare_responses
from services.judge.pointwise import judge_batch
from services.judge.ranks import rank
from services.judge.refusal import (
    Refused,
    check_aggregation,
    check_criteria,
    check_items,
    check_kind,
    check_pairs,
    check_policy,
    find_rubric,
    overloaded,
)
from services.judge.rubric import Rubric
from services.judge.settings import JudgeSettings

Result = TypeVar("Result")


class JudgeService:
    """The rubrics, the engine that judges by them, and the bounds on what is taken on."""

    def __init__(self, settings: JudgeSettings, rubrics: dict[str, Rubric], engine: Engine) -> None:
        self.settings = settings
        self.rubrics = rubrics
        self.engine = engine

    def rubric(self, wanted: str) -> Rubric:
        """A rubric by name or id; Refused (404) when there is none."""
        return find_rubric(self.rubrics, wanted)

    async def judge(self, request: Request, body: JudgeRequest, contract: str = "native") -> JudgeResponse:
        """Judge a batch for the client behind `request`, and count it under `contract`.

        Raises Refused, WrongPolicyVersion or EngineUnavailable; the application's handlers answer them.
        """
        with self.counted(body.rubric, contract):
            rubric = self.rubric(body.rubric)
            check_items(body.items, rubric, self.settings.judge_max_items)
            check_aggregation(body.aggregation, rubric)
            check_policy(body.policy)
            self.admit(len(body.items))
            result = await while_connected(request, judge_batch(self.engine, rubric, body, answer_id(request)))
            observe(rubric.name, result.data)
            return result

    async def compare(
        self, request: Request, body: PairRequest | MetaRequest, contract: str = "native"
    ) -> PairResponse:
        """Compare pairs of responses or of judgments. Raises as `judge` does."""
        with self.counted(body.rubric, contract):
            rubric = self.rubric(body.rubric)
            check_kind(rubric, ("meta",) if isinstance(body, MetaRequest) else ("pairwise", "constitution"))
            items = body.entries if isinstance(body, MetaRequest) else body.items
            check_pairs(items, rubric, self.settings.judge_max_items)
            check_policy(body.policy)
            self.admit(len(items) * (2 if body.swap else 1))
            name = answer_id(request)
            result = await while_connected(
                request,
                compare_judgements(self.engine, rubric, body, name)
                if isinstance(body, MetaRequest)
                else compare_responses(self.engine, rubric, body, name),
            )
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
            self.admit(sum(looks if rubric.spec.kind == "rank" else len(item.candidates) for item in items))
            result = await while_connected(request, rank(self.engine, rubric, body, answer_id(request)))
            observe_ranks(rubric.name, result.data)
            return result

    @contextmanager
    def counted(self, wanted: str, contract: str) -> Iterator[None]:
        """Count one request for rubric `wanted` by what becomes of it, and how long it takes."""
        started, status = time.perf_counter(), 500
        try:
            yield
            status = 200
        except Refused as refused:
            status = refused.response.status_code
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
        """Raise Refused (429) when too many items wait for the engine already; `items` are its requests."""
        waiting = self.engine.slots.waiting
        if waiting and waiting + items > self.settings.judge_max_waiting:
            raise overloaded(waiting)
        BATCH_SIZE.observe(items)


def answer_id(request: Request) -> str:
    """Id of the answer to a request."""
    return f"judge-{request.state.request_id}"


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work, but drop it when the client goes away: judging for nobody would delay everybody else."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait([working, gone], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Refused(error_response(499, "the client went away", "client_closed_request"))
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
