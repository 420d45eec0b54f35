"""What every route judges through, whichever contract it speaks: checks, admission, judging, metrics."""

import time

from fastapi import Request

from selfreward.contracts import JudgeRequest, JudgeResponse
from selfreward.http import WrongPolicyVersion
from services.judge.deadline import timeout_of, while_wanted
from services.judge.engine import Engine
from services.judge.judging import EngineUnavailable, judge_batch
from services.judge.limits import Limits
from services.judge.lookup import cache_mode
from services.judge.metrics import BATCH_SIZE, DURATION, REQUESTS, observe
from services.judge.refusal import Refused, check_items, check_policy, find_rubric, overloaded
from services.judge.rubric import Rubric
from services.judge.settings import JudgeSettings
from services.judge.tracing import describe


class JudgeService:
    """The rubrics, the engine that judges by them, and the bounds on what is taken on."""

    def __init__(self, settings: JudgeSettings, rubrics: dict[str, Rubric], engine: Engine) -> None:
        self.settings = settings
        self.rubrics = rubrics
        self.engine = engine
        self.limits = Limits()

    def rubric(self, wanted: str) -> Rubric:
        """A rubric by name or id; Refused (404) when there is none."""
        return find_rubric(self.rubrics, wanted)

    async def judge(self, request: Request, body: JudgeRequest, contract: str = "native") -> JudgeResponse:
        """Judge a batch for the client behind `request`, and count it under `contract`.

        Raises Refused, WrongPolicyVersion or EngineUnavailable; the application's handlers answer them.
        """
        started = time.perf_counter()
        name, status = body.rubric.partition("@")[0], 500
        try:
            rubric = self.rubric(body.rubric)
            check_items(body.items, rubric, self.settings.judge_max_items)
            check_policy(body.policy)
            seconds, cache = timeout_of(request), cache_mode(request.headers)
            self.admit(len(body.items))
            with self.limits.of(request.state.key).admitted(len(body.items)):
                BATCH_SIZE.observe(len(body.items))
                engine = self.engine.for_request(request.state.key.name, cache)
                describe(rubric=rubric.id, items=len(body.items), votes=body.votes, request_id=request.state.request_id)
                work = judge_batch(engine, rubric, body, f"judge-{request.state.request_id}")
                result = await while_wanted(request, work, seconds)
            describe(policy_version=result.judge_version)
            observe(rubric.name, result.data)
            status = 200
            return result
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
            REQUESTS.labels(name if name in self.rubrics else "unknown", contract, str(status)).inc()
            DURATION.observe(time.perf_counter() - started)

    def admit(self, items: int) -> None:
        """Raise Refused (429) when too many items wait for the engine already."""
        waiting = self.engine.slots.waiting
        if waiting and waiting + items > self.settings.judge_max_waiting:
            raise overloaded(waiting)
