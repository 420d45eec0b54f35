"""Runs that start from another run's M1: what they take over, and what is refused before any work."""

import asyncio
from pathlib import Path

import pytest

from orchestrator.machine import write_record
from orchestrator.phases import adoption as adopt
from orchestrator.runs.context import RunContext, Services
from orchestrator.runs.lease import acquire
from orchestrator.settings import OrchestratorSettings
from selfreward.client.generator import GeneratorClient
from selfreward.client.http import ServiceClient
from selfreward.loop import paths
from selfreward.loop.audit.audit import audit
from selfreward.loop.record import RunState, Transition, now
from selfreward.loop.seed.read import SeedData, read_seed_data, snapshot
from selfreward.recipe.recipe import Recipe
from selfreward.redis.connection import connect
from selfreward.store.artifacts import ArtifactStore
from tests.support.small_recipe import small_recipe
from tests.support.source_run import SOURCE, STAGES, leave_source


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return small_recipe(tmp_path, [f"loop.start_from={SOURCE}"])


@pytest.fixture
def seed(recipe: Recipe) -> SeedData:
    return read_seed_data(recipe)


@pytest.fixture
def store(store_root: str, recipe: Recipe, seed: SeedData) -> ArtifactStore:
    store = ArtifactStore(store_root)
    leave_source(store, recipe.model_copy(update={"loop": recipe.loop.model_copy(update={"start_from": None})}), seed)
    return store


def test_the_models_become_the_runs_own_with_their_evaluation_and_without_the_checkers_labels(
    store: ArtifactStore, recipe: Recipe, seed: SeedData, redis_url: str
) -> None:
    async def take_over() -> RunState:
        async with connect(redis_url) as redis, ServiceClient("http://nothing") as service:
            settings = OrchestratorSettings(redis_url=redis_url)
            services = Services(settings, redis, store, GeneratorClient(service), service)
            lease = await acquire(redis, "a", 60)
            assert lease is not None
            context = RunContext(
                services, lease, RunState(run="new", recipe=recipe, recipe_hash=recipe.hash, created_at=now())
            )
            for stage in (*STAGES, "M1"):  # M1 twice, as after a crash
                await context.update(stage=stage, phase="adopt")
                await adopt.adopt(context)
            journal = [Transition(stage=stage, phase="adopt", seconds=0, finished_at=now()) for stage in STAGES]
            await context.update(journal=journal, state="stopped")
            await write_record(context)
            return context.state

    for name, rows in snapshot(seed).items():
        store.write_jsonl(paths.data("new", name), rows())
    state = asyncio.run(take_over())
    assert [model.name for model in state.models] == list(STAGES)
    assert [model.artifact for model in state.models] == [paths.weights("new", stage) for stage in STAGES]
    theirs = {model["name"]: model["digest"] for model in store.read_json(f"runs/{SOURCE}/run.json")["models"]}
    assert {model.name: model.digest for model in state.models} == theirs
    for stage in STAGES:
        assert list(store.read_jsonl(f"runs/new/evaluation/{stage}/samples.jsonl")) == [{"of": f"{stage} samples"}]
    assert list(store.read_jsonl(paths.data("new", "judge_pairs"))) == [{"pair": 1}]
    assert not store.exists("runs/new/evaluation/M1/labels.json")
    assert audit(store, "new") == []
    store.fs.rm(store.path(f"runs/{SOURCE}"), recursive=True)
    assert audit(store, "new") == []
