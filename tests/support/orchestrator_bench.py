"""A worker of a run on real Redis and the real judge; only the engine behind them is a stand-in."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from orchestrator.runs.context import RunContext, Services
from orchestrator.runs.lease import acquire
from orchestrator.settings import OrchestratorSettings
from orchestrator.worker.worker import RolloutWorker
from selfreward.client.generator import VERSION_HEADER, GeneratorClient
from selfreward.client.http import ServiceClient
from selfreward.client.judge import AsyncJudgeClient
from selfreward.contracts.base import Message
from selfreward.loop.record import RunState, now
from selfreward.loop.tasks import PromptItem, Task
from selfreward.recipe.recipe import Recipe
from selfreward.redis.connection import connect
from selfreward.redis.queue import WorkQueue
from selfreward.server.background import cancel_and_wait
from selfreward.store.artifacts import ArtifactStore
from services.judge.app import create_app as create_judge
from services.judge.settings import JudgeSettings
from tests.support.factories import recipe
from tests.support.methods import rollout_tasks

RECIPE = recipe()


@dataclass
class Engine:
    """An OpenAI-compatible engine: its votes on an answer are 0, 1, 2, ...; it fails or changes version when told.

    `winner` decides comparisons, given what the judge asks. `steps` are the next steps that it writes where it is told
    to stop after one, by the beginning of the answer.
    """

    version: str = "policy@3"
    fail: Callable[[str], bool] = lambda _: False
    why: str = "refused by the stand-in"
    status: int = 400
    winner: Callable[[str], str] = lambda _: "A"
    steps: dict[str, list[str]] = field(default_factory=dict)
    inflight: int = 0
    most_inflight: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a chat request."""
        body = json.loads(request.content)
        self.bodies.append(body)
        if body["model"] != self.version:
            return httpx.Response(409, json={"error": {"message": f"{self.version} is served"}})
        if self.fail(body["messages"][-1]["content"]):
            return httpx.Response(self.status, json={"error": {"message": self.why}})
        self.inflight += 1
        self.most_inflight = max(self.most_inflight, self.inflight)
        await asyncio.sleep(0.005)
        self.inflight -= 1
        asked = body["messages"][-1]["content"]
        compared = next((label for label in ("Winner:", "Answer:") if label in asked), None)
        said = (
            f"{compared} {self.winner(asked)}" if compared else "Fine. Score: {}" if "Score" in asked else "answer {}"
        )
        choices = [
            {"index": index, "finish_reason": "stop", "message": {"content": said.format(index % 6)}}
            for index in range(body["n"])
        ]
        if "stop" in body:
            begun = asked if body["messages"][-1]["role"] == "assistant" else ""
            for choice, text in zip(choices, self.steps[begun], strict=True):
                choice["message"] = {"content": text}
        return httpx.Response(
            200,
            json={"choices": choices, "usage": {"completion_tokens": 3 * body["n"]}, "model": self.version},
            headers={VERSION_HEADER: self.version},
        )


@dataclass
class Bench:
    """A run's context and a worker on a stand-in engine."""

    context: RunContext
    worker: RolloutWorker
    engine: Engine

    @property
    def queue(self) -> WorkQueue:
        """The worker's queue."""
        return self.worker.queue

    def tasks(self, count: int) -> list[Task]:
        """Tasks of `count` prompts: `question 0`, ..."""
        items = [
            PromptItem(prompt_id=f"p{n}", prompt=[Message(role="user", content=f"question {n}")]) for n in range(count)
        ]
        return rollout_tasks("one", RECIPE, "M2", items, "policy@3")


@asynccontextmanager
async def bench(redis_url: str, store_root: str, deliveries: int = 5, **settings: Any) -> AsyncIterator[Bench]:
    """A worker that does not run yet; an item goes to the dead letters after so many deliveries."""
    engine = Engine()
    transport = httpx.MockTransport(engine)
    judge_app = create_judge(JudgeSettings(judge_engine_attempts=1), engine_transport=transport)
    chosen = {"poll_s": 0.02, "claim_after_s": 10, "policy_wait_s": 0.2, **settings}
    service = OrchestratorSettings(redis_url=redis_url, artifacts=store_root, worker_name="w", **chosen)
    async with (
        connect(redis_url) as redis,
        judge_app.router.lifespan_context(judge_app),
        ServiceClient("http://engine", transport=transport, attempts=1) as generator,
        ServiceClient("http://judge", transport=httpx.ASGITransport(judge_app), attempts=1) as judge,
    ):
        services = Services(service, redis, ArtifactStore(store_root), GeneratorClient(generator), judge)
        lease = await acquire(redis, "a", 60)
        assert lease is not None
        state = RunState(run="one", recipe=RECIPE, recipe_hash=RECIPE.hash, created_at=now())
        context = RunContext(services, lease, state.model_copy(update={"stage": "M2", "phase": "rollouts"}))
        worker = RolloutWorker(service, redis, services.generator, AsyncJudgeClient(judge))
        worker.queue.max_deliveries = deliveries
        yield Bench(context, worker, engine)


async def length_becomes(queue: WorkQueue, length: int) -> None:
    async with asyncio.timeout(20):
        while await queue.length() != length:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def working(worker: RolloutWorker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        await cancel_and_wait([task])


def enter(context: RunContext, run_recipe: Recipe, stage: str) -> None:
    """Put the context at a stage of another recipe's run."""
    context.state = RunState(
        run="one", recipe=run_recipe, recipe_hash=run_recipe.hash, created_at=now(), stage=stage, phase="rollouts"
    )
