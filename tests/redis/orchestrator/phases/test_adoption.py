"""Runs that start from another run's M1: what they take over, and what is refused before any work."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from orchestrator.machine import write_record
from orchestrator.phases import adoption as adopt
from orchestrator.runs.context import RunContext, Services
from orchestrator.runs.lease import acquire
from orchestrator.settings import OrchestratorSettings
from selfreward.client.generator import GeneratorClient
from selfreward.client.http import ServiceClient
from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import Response
from selfreward.loop import paths
from selfreward.loop.audit.audit import audit
from selfreward.loop.record import RunState, Transition, now
from selfreward.loop.seed import SeedData, read_seed_data, snapshot
from selfreward.loop.tasks import PromptItem, evaluation_tasks
from selfreward.recipe.recipe import Recipe, RecipeError
from selfreward.redis.connection import connect
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import Lineage, WeightsManifest
from tests.support.small_recipe import small_recipe

SOURCE, STAGES = "source", ("M0", "SFT", "M1")


def _source(store: ArtifactStore, recipe: Recipe, seed: SeedData) -> None:
    """What a run leaves behind by the end of M1, as far as it is taken over."""
    models = []
    for stage in STAGES:

        def fill(folder: Path, stage: str = stage) -> None:
            (folder / "model.safetensors").write_text(f"weights of {stage}")

        lineage = Lineage(run=SOURCE, stage=stage, parent=None if stage == "M0" else paths.weights(SOURCE, "M0"))
        described = WeightsManifest(files={}, lineage=lineage)
        _, digest = store.publish(paths.weights(SOURCE, stage), fill, lambda _, made=described: made)  # type: ignore[misc]
        models.append({"name": stage, "artifact": paths.weights(SOURCE, stage), "digest": digest, "removed": False})
        for part in ("samples", "greedy", "eft_eval"):
            store.write_jsonl(f"runs/{SOURCE}/evaluation/{stage}/{part}.jsonl", [{"of": f"{stage} {part}"}])
        store.write_json(f"runs/{SOURCE}/evaluation/{stage}/labels.json", {"samples": "by the checker"})
    for name, rows in snapshot(seed).items():
        store.write_jsonl(paths.data(SOURCE, name), rows())
    store.write_jsonl(paths.data(SOURCE, "eft"), [{"eft": 1}])
    store.write_jsonl(paths.data(SOURCE, "judge_pairs"), [{"pair": 1}])
    journal = [{"stage": "M1", "phase": "evaluate"}]
    record = {"recipe": recipe.model_dump(mode="json"), "models": models, "journal": journal}
    store.write_json(f"runs/{SOURCE}/run.json", record)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return small_recipe(tmp_path, [f"loop.start_from={SOURCE}"])


@pytest.fixture
def seed(recipe: Recipe) -> SeedData:
    return read_seed_data(recipe)


@pytest.fixture
def store(store_root: str, recipe: Recipe, seed: SeedData) -> ArtifactStore:
    store = ArtifactStore(store_root)
    _source(store, recipe.model_copy(update={"loop": recipe.loop.model_copy(update={"start_from": None})}), seed)
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
    assert list(store.read_jsonl("runs/new/evaluation/M1/samples.jsonl")) == [{"of": "M1 samples"}]
    assert list(store.read_jsonl(paths.data("new", "judge_pairs"))) == [{"pair": 1}]
    assert not store.exists("runs/new/evaluation/M1/labels.json")
    assert audit(store, "new") == []
    store.fs.rm(store.path(f"runs/{SOURCE}"), recursive=True)
    assert audit(store, "new") == []


def test_a_run_of_a_method_without_a_judge_starts_from_an_m1_that_was_taught_to_judge(
    store: ArtifactStore, recipe: Recipe, seed: SeedData
) -> None:
    loop = recipe.loop.model_copy(update={"use_eft": False})
    adopt.check_start(store, recipe.model_copy(update={"loop": loop}), seed)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loop.start_from=unknown"], "there is no such run"),
        (["evaluation.samples=3"], "its evaluation.samples is 2, this recipe's 3: make them equal"),
        (["sampling.temperature=1"], "its evaluation.temperature is 0.7, this recipe's 1.0"),
        (["judging.votes=5"], "its evaluation.judging is"),
        (["evaluation.prompts=7"], "its evaluation.prompts is 8"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    overrides: list[str], message: str, store: ArtifactStore, tmp_path: Path
) -> None:
    run_recipe = small_recipe(tmp_path, [f"loop.start_from={SOURCE}", *overrides])
    with pytest.raises(RecipeError, match=message):
        adopt.check_start(store, run_recipe, read_seed_data(run_recipe))


def test_rounds_may_sample_and_judge_in_other_ways_where_the_evaluation_is_the_same(
    store: ArtifactStore, tmp_path: Path
) -> None:
    rounds = ["sampling.temperature=1", "sampling.top_p=1", "judging.votes=5", "sampling.n=2"]
    judging = '{rubric = "countdown", max_tokens = 32}'
    evaluation = ["evaluation.temperature=0.7", "evaluation.top_p=0.9", f"evaluation.judging={judging}"]
    run_recipe = small_recipe(tmp_path, [f"loop.start_from={SOURCE}", *rounds, *evaluation])
    adopt.check_start(store, run_recipe, read_seed_data(run_recipe))
    items = [PromptItem(prompt_id="p", prompt=[Message(role="user", content="x")], responses=[Response(text="y")])]
    sampled, greedy, ranked = evaluation_tasks("r", run_recipe, "M2", items, items, "policy@1")
    assert sampled.generate is not None
    assert (sampled.generate.temperature, sampled.generate.top_p, sampled.generate.n) == (0.7, 0.9, 2)
    assert sampled.judge is not None
    assert (sampled.judge.votes, ranked.judge) == (3, sampled.judge)
    assert greedy.generate is not None
    assert greedy.generate.temperature == 0


def _changed(store: ArtifactStore, change: dict[str, Any]) -> None:
    record = store.read_json(f"runs/{SOURCE}/run.json")
    store.write_json(f"runs/{SOURCE}/run.json", record | change)


def test_a_source_that_is_not_ready_or_not_whole_is_refused(
    store: ArtifactStore, recipe: Recipe, seed: SeedData
) -> None:
    record = store.read_json(f"runs/{SOURCE}/run.json")
    _changed(store, {"journal": [{"stage": "M1", "phase": "train"}]})
    with pytest.raises(RecipeError, match="no evaluated M1 yet"):
        adopt.check_start(store, recipe, seed)
    _changed(store, {"journal": record["journal"], "models": record["models"][::2]})
    with pytest.raises(RecipeError, match=r"that run has no SFT; set loop\.use_eft=false"):
        adopt.check_start(store, recipe, seed)
    _changed(store, {"models": [{**model, "removed": True} for model in record["models"]]})
    with pytest.raises(RecipeError, match="were removed"):
        adopt.check_start(store, recipe, seed)
    _changed(store, {"models": record["models"]})
    heldout = list(store.read_jsonl(paths.data(SOURCE, "heldout")))
    store.write_jsonl(paths.data(SOURCE, "heldout"), heldout[1:])
    with pytest.raises(RecipeError, match=r"data\.heldout has other rows"):
        adopt.check_start(store, recipe, seed)
