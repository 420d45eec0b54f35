"""When a replica is killed: the program that watches a run, started as the harnesses start it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfreward.loop.methods import method_of
from selfreward.recipe.recipe import Recipe
from tests.harness.kills import LOOK, PLAN, places
from tests.support.places import ROOT
from tests.support.small_recipe import small_recipe

Places = Iterator[tuple[str, str]]


@contextmanager
def _watching(record: Path) -> Iterator[Places]:
    command = [sys.executable, "-uc", LOOK, str(record)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as seen:
        assert seen.stdout is not None
        try:
            yield places(seen.stdout)
        finally:
            seen.kill()


def _write(record: Path, recipe: Recipe, finished: list[tuple[str, str]]) -> None:
    journal = [{"stage": stage, "phase": phase} for stage, phase in finished]
    whole = record.with_suffix(".new")
    whole.write_text(json.dumps({"recipe": recipe.model_dump(mode="json"), "journal": journal}))
    whole.replace(record)


def _all_places(recipe: Recipe) -> list[tuple[str, str]]:
    method = method_of(recipe)
    return [(stage, phase) for stage in method.stages(recipe) for phase in method.phases(recipe, stage)]


def test_a_phase_is_told_when_all_before_it_are_done(tmp_path: Path) -> None:
    recipe, record = small_recipe(tmp_path), tmp_path / "run.json"
    first, second, third, fourth, *_ = _all_places(recipe)
    with _watching(record) as begun:
        _write(record, recipe, [])
        assert next(begun) == first
        _write(record, recipe, [first, second, third])
        assert [next(begun) for _ in range(3)] == [second, third, fourth]


def test_the_small_run_comes_to_every_place_of_the_plan(tmp_path: Path) -> None:
    recipe, record = small_recipe(tmp_path), tmp_path / "run.json"
    expected = _all_places(recipe)
    _write(record, recipe, expected)
    with _watching(record) as begun:
        told = [next(begun, None) for _ in expected]
    assert told == expected
    assert set(PLAN) <= set(expected)
