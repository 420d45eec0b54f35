"""What another run's M1 has to be like for a run to start from it."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.phases import adoption as adopt
from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import Response
from selfreward.loop import paths
from selfreward.loop.seed.read import SeedData, read_seed_data
from selfreward.loop.tasks import PromptItem, evaluation_tasks
from selfreward.recipe.recipe import Recipe, RecipeError
from selfreward.store.artifacts import ArtifactStore
from tests.support.small_recipe import small_recipe
from tests.support.source_run import SOURCE, leave_source


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
        (["evaluation.temperature=1"], "its evaluation.temperature is 0.7, this recipe's 1.0"),
        (["sampling.top_p=0.5"], "its evaluation.top_p is 0.9, this recipe's 0.5"),
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
