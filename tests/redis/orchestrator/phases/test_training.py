"""Following a training job through the trainer's own records in a real Redis."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from orchestrator.phases.training import follow
from orchestrator.runs.context import RunContext, Services
from orchestrator.runs.errors import RunFailed, RunStopped
from orchestrator.runs.lease import acquire
from orchestrator.runs.state import ask_to_stop, load, public
from orchestrator.settings import OrchestratorSettings
from selfreward.client.generator import GeneratorClient
from selfreward.client.http import ServiceClient
from selfreward.contracts.base import Message
from selfreward.contracts.training import TRAIN_QUEUE, TrainJob, TrainStatus, status_key
from selfreward.loop.record import RunState, now
from selfreward.redis.connection import RedisClient, connect
from selfreward.redis.queue import Work, WorkQueue
from selfreward.store.artifacts import ArtifactStore
from tests.support.factories import recipe
from tests.support.orchestrator_bench import length_becomes

RECIPE = recipe()
CANARY = [Message(role="user", content="hello")]


def with_context(redis_url: str, store_root: str, check: Callable[[RunContext], Awaitable[None]]) -> None:
    async def main() -> None:
        async with connect(redis_url) as redis, ServiceClient("http://nothing") as service:
            settings = OrchestratorSettings(redis_url=redis_url, poll_s=0.02)
            services = Services(settings, redis, ArtifactStore(store_root), GeneratorClient(service), service)
            lease = await acquire(redis, "a", 60)
            assert lease is not None
            state = RunState(run="one", recipe=RECIPE, recipe_hash=RECIPE.hash, created_at=now())
            await check(RunContext(services, lease, state.model_copy(update={"stage": "SFT", "phase": "train"})))

    asyncio.run(main())


def job(context: RunContext) -> TrainJob:
    """The training job of the present stage."""
    return context.method.train_job(context.run, context.recipe, context.state.stage, CANARY)


async def report(redis: RedisClient, **fields: object) -> None:
    status = TrainStatus.model_validate({"id": "one-sft", **fields})
    await redis.set(status_key("one-sft"), status.model_dump_json())


async def taken(queue: WorkQueue) -> Work:
    async with asyncio.timeout(20):
        while True:
            for work in await queue.take("trainer", block_ms=50):
                return work


def test_a_job_is_submitted_once_and_followed_to_its_digest(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        redis = context.services.redis
        following = asyncio.create_task(follow(context, job(context)))
        queue = WorkQueue(redis, TRAIN_QUEUE)
        submitted = TrainJob.model_validate((await taken(queue)).body)
        assert (submitted.id, submitted.method, submitted.recipe_hash) == ("one-sft", "sft", RECIPE.hash)
        await report(redis, state="running", step=3, total_steps=9, metrics={"loss": 1.0})
        await asyncio.sleep(0.1)
        again = asyncio.create_task(follow(context, job(context)))
        await asyncio.sleep(0.1)
        assert await queue.length() == 1
        await report(redis, state="done", step=9, total_steps=9, digest="abc")
        assert (await following).digest == (await again).digest == "abc"

    with_context(redis_url, store_root, check)


def test_a_run_is_paused_while_the_trainer_waits_for_room(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        redis = context.services.redis
        following = asyncio.create_task(follow(context, job(context)))
        await report(redis, state="waiting", error="disk: 1 MiB free below 256 at work")
        async with asyncio.timeout(20):
            while (state := await load(redis, "one")) is None or not state.blocked:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        shown = public(state.model_copy(update={"state": "running"}), set())
        assert (shown["state"], shown["message"]) == ("paused", "disk: 1 MiB free below 256 at work")
        await report(redis, state="done", digest="abc")
        assert (await following).digest == "abc"
        assert context.state.blocked == ""

    with_context(redis_url, store_root, check)


def test_a_failure_is_the_runs_and_a_resume_does_not_see_it_again(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        redis, queue = context.services.redis, WorkQueue(context.services.redis, TRAIN_QUEUE)
        following = asyncio.create_task(follow(context, job(context)))
        work = await taken(queue)
        await report(redis, state="failed", error="chat template emits no end of turn")
        with pytest.raises(RunFailed, match="emits no end of turn"):
            await following
        await queue.done(work)
        resumed = asyncio.create_task(follow(context, job(context)))
        assert (await taken(queue)).key == "one-sft"
        await report(redis, state="done", digest="abc")
        assert (await resumed).digest == "abc"

    with_context(redis_url, store_root, check)


def test_a_job_that_was_given_up_fails_the_run(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        queue = WorkQueue(context.services.redis, TRAIN_QUEUE)
        following = asyncio.create_task(follow(context, job(context)))
        work = await taken(queue)
        await queue.dead_letter(work, "no consumer finished it")
        with pytest.raises(RunFailed, match="no consumer finished it"):
            await following

    with_context(redis_url, store_root, check)


def test_a_stop_leaves_the_job_in_hand_alone(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        following = asyncio.create_task(follow(context, job(context)))
        queue = WorkQueue(context.services.redis, TRAIN_QUEUE)
        await length_becomes(queue, 1)
        await ask_to_stop(context.services.redis, "one")
        with pytest.raises(RunStopped):
            await following
        assert await queue.length() == 1

    with_context(redis_url, store_root, check)
