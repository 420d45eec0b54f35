"""Every world gives what the programs of all worlds need."""

import os
from pathlib import Path

import pytest

from examples.worlds.demo import demo_for, name_of
from examples.worlds.models import M0, model_of
from examples.worlds.world import WorldError, load_world, service_settings, world_names
from selfreward.cli.runs.control import resolve
from selfreward.loop.seed.read import read_seed_data
from services.judge.rubrics.rubric import SHIPPED, load_rubrics
from tests.support.seed_files import check_ranks, check_seed_files

NAMES = ["countdown", "integration"]


@pytest.mark.parametrize("name", NAMES)
def test_seed_files(name: str, tmp_path: Path) -> None:
    world = load_world(name)
    check_seed_files(world, tmp_path)
    check_ranks(world, tmp_path / "a")
    recipe = resolve(world.recipe, [*world.overrides], model=str(M0), seed_data=tmp_path / "a")
    data = read_seed_data(recipe)
    assert len(data.heldout) >= recipe.evaluation.prompts
    assert len(data.prompts) >= recipe.prompts.per_iteration * recipe.loop.iterations


@pytest.mark.parametrize("name", NAMES)
def test_rubric_and_points(name: str) -> None:
    world = load_world(name)
    rubrics = load_rubrics([SHIPPED, *([world.rubrics] if world.rubrics else [])])
    recipe = resolve(world.recipe, [*world.overrides], model=str(M0))
    assert rubrics[recipe.judging.rubric].spec.scale.max == len(world.point_names)
    assert not world.solved("a prompt of no world", "an answer")


@pytest.mark.parametrize("name", ["chess", "countdown:extra", "integration:countdown", "../countdown"])
def test_unknown_worlds_are_refused(name: str) -> None:
    with pytest.raises(WorldError, match="countdown"):
        load_world(name)


def test_models_by_name_and_by_folder(tmp_path: Path) -> None:
    world = load_world("countdown")
    assert model_of(world, "") == ("m0", M0)
    assert model_of(world, str(tmp_path)) == (tmp_path.name, tmp_path)
    with pytest.raises(WorldError, match="choose m0, or a checkpoint folder"):
        model_of(world, "smollm2")


def test_runs_are_named_after_world_and_model(tmp_path: Path) -> None:
    world, mine = load_world("countdown"), tmp_path / "My_Model"
    mine.mkdir()
    plain = demo_for(world, "", 0, [])
    assert name_of(plain) == "countdown"
    assert name_of(demo_for(world, str(mine), 0, [])) == "countdown-my-model"
    assert demo_for(world, "", 0, ["sampling.n=3"]).recipe != plain.recipe == demo_for(world, "", 0, []).recipe


def test_settings_of_the_environment_have_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    world = load_world("countdown")
    monkeypatch.setitem(os.environ, "SELFREWARD_JUDGE_CONCURRENCY", "3")
    settings = service_settings(world, M0)
    assert settings["SELFREWARD_JUDGE_CONCURRENCY"] == "3"
    assert settings["SELFREWARD_WORKER_CONCURRENCY"] == world.settings["SELFREWARD_WORKER_CONCURRENCY"]
    assert settings["SELFREWARD_MODEL"] == str(M0)


def test_every_world_is_known() -> None:
    assert set(NAMES) <= set(world_names())
