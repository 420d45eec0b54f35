"""A run of which only the watch after M2's evaluation and what follows is left, on a real Redis and real artifacts.

The generator is a stand-in.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI

from orchestrator.machine import advance
from orchestrator.runs.context import RunContext, Services
from orchestrator.runs.followers import Followers
from orchestrator.runs.lease import acquire
from orchestrator.runs.state import create, load
from orchestrator.settings import OrchestratorSettings
from selfreward.client.generator import GeneratorClient
from selfreward.client.http import ServiceClient
from selfreward.loop import paths
from selfreward.loop.load import RunRecipe
from selfreward.loop.methods import method_of
from selfreward.loop.record import ModelRecord, RunState, Transition, now
from selfreward.recipe.recipe import Recipe
from selfreward.redis.announcements import announce, current
from selfreward.redis.connection import RedisClient, connect
from selfreward.store.artifacts import ArtifactStore
from tests.support.factories import voted
from tests.support.followed import read
from tests.support.listening import listening

Check = Callable[[RunContext], Awaitable[None]]
DATA = {"ift": "i", "eft": "e", "eft_eval": "v", "prompts": "p", "heldout": "h"}
GOOD, BAD = [(5,), (1,)], [(1,), (5,)]
"""Votes on a good and on a bad answer: in the humans' order, and against it."""


def recipe(retention: dict[str, int] | None = None, **watchdogs: Any) -> Recipe:
    values = {"name": "r", "model": "m", "data": DATA, "loop": {"iterations": 1}, "watchdogs": watchdogs}
    return RunRecipe.model_validate({**values, "retention": retention or {}})


def artifacts(store: ArtifactStore) -> None:
    """M1 judges as people do; M2, the last model, judges the other way round. Nothing else is wrong."""
    responses = [{"text": "good", "rank": 1}, {"text": "bad", "rank": 2}]
    store.write_jsonl(paths.data("one", "eft_eval"), [{"prompt_id": "e", "prompt": [], "responses": responses}])
    for model, votes in (("M1", GOOD), ("M2", BAD)):
        store.write_jsonl(f"runs/one/evaluation/{model}/samples.jsonl", [voted("h", *GOOD).model_dump(mode="json")])
        store.write_jsonl(f"runs/one/evaluation/{model}/eft_eval.jsonl", [voted("e", *votes).model_dump(mode="json")])


def generator(redis_url: str) -> FastAPI:
    """Serves whatever is announced, at once."""
    app = FastAPI()

    @app.get("/admin/weights")
    async def weights() -> dict[str, Any]:
        async with connect(redis_url) as redis:
            record = await current(redis)
        shown = {"label": record.label, "artifact": record.artifact} if record else {"label": None, "artifact": None}
        return {**shown, "state": "serving", "refused": []}

    return app


async def at_the_last_watch(redis: RedisClient, run_recipe: Recipe) -> RunState:
    """A run of which only the watch after M2's evaluation and what follows is left, with M0 to M2 announced."""
    models = []
    for name in method_of(run_recipe).stages(run_recipe):
        announced = await announce(redis, f"runs/one/weights/{name}", "d")
        models.append(ModelRecord(name=name, policy_version=announced.label, artifact=announced.artifact, digest="d"))
    places = [
        (stage, phase)
        for stage in method_of(run_recipe).stages(run_recipe)
        for phase in method_of(run_recipe).phases(run_recipe, stage)
    ]
    places = places[: places.index(("M2", "watch_model"))]
    journal = [Transition(stage=stage, phase=phase, seconds=0, finished_at=now()) for stage, phase in places]
    state = RunState(
        run="one",
        recipe=run_recipe,
        recipe_hash=run_recipe.hash,
        created_at=now(),
        models=models,
        journal=journal,
        state="running",
    )
    await create(redis, state)
    return state


def on_run(redis_url: str, store_root: str, run_recipe: Recipe, check: Check, **options: Any) -> None:
    """Have `check` look at the run; `options` are settings of the orchestrator."""

    async def main(url: str) -> None:
        async with connect(redis_url) as redis, ServiceClient(url) as service:
            store = ArtifactStore(store_root)
            artifacts(store)
            chosen = {"redis_url": redis_url, "generator_url": url, "poll_s": 0.02, "reload_timeout_s": 5, **options}
            settings = OrchestratorSettings.model_validate(chosen)
            services = Services(settings, redis, store, GeneratorClient(service), service)
            lease = await acquire(redis, "a", 60)
            assert lease is not None
            await check(RunContext(services, lease, await at_the_last_watch(redis, run_recipe)))

    with listening(generator(redis_url)) as url:
        asyncio.run(main(url))


async def ended(context: RunContext) -> RunState:
    """The stored record once the run has been advanced to its end, as the leader does from the record alone."""
    state = await load(context.services.redis, "one")
    assert state is not None
    await advance(RunContext(context.services, context.lease, state))
    state = await load(context.services.redis, "one")
    assert state is not None
    return state


async def messages(context: RunContext) -> list[dict[str, Any]]:
    followers = Followers(context.services.redis, most=1)
    return [event async for _, event in read(followers.follow(followers.join("one")))]


class Crash(BaseException):
    """The process ends here: nothing of ours catches it."""
