"""The table of methods: every contender stands on the same footing, and the rows say what the runs came to."""

import json
from pathlib import Path
from typing import Any

import pytest

from examples.worlds.countdown.checker import criteria
from examples.worlds.countdown.contenders import (
    BLIND,
    contender_recipe,
    contenders,
    m1_recipe,
    sampled_answers,
    write_data,
)
from examples.worlds.countdown.methods_table import Entry, markdown, plot, rows
from examples.worlds.models import M0
from orchestrator.phases.adoption import evaluation_settings
from selfreward.loop.seed.read import read_seed_data
from selfreward.recipe.recipe import Recipe

NAMES = list(contenders())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(0, folder)
    return folder


def _recipe(name: str, data: Path, rollouts: int = 4000) -> Recipe:
    return contender_recipe(name, 0, data, "m1-0", 2, rollouts, [])


def test_the_recipes_of_the_demos_world_are_the_contenders() -> None:
    assert {"self_rewarding", "spin", "dno", "positives"} <= set(NAMES)
    assert all(path.is_file() for path, _ in contenders().values())


@pytest.mark.parametrize("name", NAMES)
def test_every_contender_starts_from_the_same_m1_samples_as_many_answers_and_is_evaluated_alike(
    name: str, data: Path
) -> None:
    recipe = _recipe(name, data)
    assert recipe.loop.start_from == (None if name == BLIND else "m1-0")
    assert recipe.loop.iterations == 2
    assert recipe.seed == 0
    assert evaluation_settings(recipe) == evaluation_settings(m1_recipe(0, data, []))
    assert 0.98 * 8000 <= sampled_answers(recipe) <= 8000
    read_seed_data(recipe)


def test_where_there_are_too_few_prompts_each_gets_more_answers(data: Path) -> None:
    spin = _recipe("spin", data)
    assert (spin.sampling.n, spin.prompts.per_iteration) == (2, 2000)
    assert Path(str(_recipe("dno", data).data.prompts)).name == "solutions.jsonl"
    assert _recipe("self_rewarding", data, rollouts=40).prompts.per_iteration == 10


def test_the_m1_run_makes_m1_and_nothing_after_it(data: Path) -> None:
    recipe = m1_recipe(3, data, ["evaluation.prompts=8"])
    assert (recipe.loop.iterations, recipe.seed, recipe.evaluation.prompts) == (0, 3, 8)
    assert recipe.model == str(M0)


def test_m1_learns_every_role_that_a_contender_brings_demonstrations_of(data: Path) -> None:
    every = set(Path(m1_recipe(0, data, []).data.ift).read_text().splitlines())
    for name in sorted({*NAMES} - {"spin"}):  # which learns from demonstrations of its own, after M1
        assert set(Path(_recipe(name, data).data.ift).read_text().splitlines()) <= every


def test_the_blind_judge_learns_from_annotators_who_believe_every_calculation(data: Path) -> None:
    rows = [json.loads(line) for line in Path(str(_recipe(BLIND, data).data.eft)).read_text().splitlines()]
    believed = 0
    for row in rows:
        best, *_, worst = sorted(row["responses"], key=lambda response: response["rank"])
        assert best["rank"] < worst["rank"]
        met = [criteria(row["prompt"], response["text"]) for response in (best, worst)]
        others = [sum(own.values()) - own["steps"] for own in met]
        assert others[0] > others[1]
        believed += not met[0]["steps"]
    assert believed > 0.1 * len(rows)


def _figure(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.02, "high": value + 0.02, "n": 1000}


def _entry(name: str, seed: int, solved: float, lc: float | None = 0.55) -> Entry:
    def model(rate: float) -> dict[str, Any]:
        solved = {"solve_rate": _figure(rate), "solve_rate_greedy": _figure(2 * rate)}
        return {**solved, "judge_accuracy": _figure(0.9), "mean_length": _figure(30)}

    figures = {
        "win_rate": _figure(0.6),
        "length_controlled_win_rate": _figure(lc) if lc else {"value": None, "low": None, "high": None, "n": 0},
    }
    return {
        "contender": name,
        "seed": seed,
        "model": "M3",
        "models": {"M1": model(0.28), "M3": model(solved)},
        "against_m1": {"figures": figures, "warnings": [] if lc else ["lengths hardly overlap"]},
        "gain": _figure(solved - 0.28),
        "pair_yield": _figure(0.8),
        "minutes": 12.0 + seed,
        "sampled": 8000,
        "rounds": [{"stage": "M2"}],
        "alarms": ["M3 ties"] if seed else [],
    }


HEAD = {"command": "c", "commit": "f00", "rounds": 2, "rollouts": 4000}
ENTRIES = [
    _entry("spin", 0, 0.30),
    _entry("dno", 0, 0.40),
    _entry("spin", 1, 0.34, lc=None),
    {"contender": "dno", "seed": 1, "failed": "failed: no preference pairs came of 10 prompts"},
]


def test_a_row_is_the_mean_over_seeds_with_the_lowest_and_the_highest() -> None:
    first, spin, dno = rows(ENTRIES)
    assert [row["method"] for row in (first, spin, dno)] == ["M1", "spin", "dno"]
    assert spin["seeds"] == [0, 1]
    assert spin["solve_rate"]["mean"] == pytest.approx(0.32)
    assert (spin["solve_rate"]["lowest"], spin["solve_rate"]["highest"]) == (0.30, 0.34)
    assert spin["solve_rate"]["by_seed"]["1"] == _figure(0.34)
    assert spin["gain"]["mean"] == pytest.approx(0.04)
    assert list(spin["length_controlled_win_rate"]["by_seed"]) == ["0"]
    assert spin["minutes"]["mean"] == 12.5
    assert first["solve_rate"]["mean"] == pytest.approx(0.28)
    assert first["solve_rate_greedy"]["mean"] == pytest.approx(0.56)
    assert dno["seeds"] == [0]
    assert dno["failed"] == {"1": "failed: no preference pairs came of 10 prompts"}


def test_the_page_shows_means_every_seed_and_what_went_wrong() -> None:
    text = markdown({**HEAD, "rows": rows(ENTRIES), "claims": {}})
    assert "| spin | 2 | 32.0 [30.0, 34.0] | 4.0 [2.0, 6.0] | 64.0 [60.0, 68.0] | 90.0 [90.0, 90.0] |" in text
    assert "| dno | 1, 1 failed | 40.0 | 12.0 |" in text
    assert "| spin | 1 | 34.0 [32.0, 36.0] |" in text
    assert "- dno, seed 1: failed: no preference pairs" in text
    assert "- spin, seed 1: alarms: M3 ties" in text
    assert "- spin, seed 1: lengths hardly overlap" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    drawn = plot(ENTRIES)
    assert all(label in drawn for label in ("seed 0", "seed 1", "dno", "spin", "length controlled"))


def test_the_page_shows_of_every_claim_whether_it_held_for_each_seed() -> None:
    first, second = {"holds": True, "measured": "+2"}, {"holds": False, "measured": "0"}
    claims = {"0": {"EFT helps": first}, "1": {"EFT helps": second, "rho shortens": second}}
    text = markdown({**HEAD, "rows": [], "claims": claims})
    assert "| claim | seed 0 | seed 1 |" in text
    assert "| EFT helps | holds: +2 | FAILS: 0 |" in text
    assert "| rho shortens | – | FAILS: 0 |" in text


def test_before_any_run_is_done_there_is_a_table_of_failures() -> None:
    table = rows(ENTRIES[3:])
    assert [(row["method"], row["seeds"]) for row in table] == [("dno", [])]
    assert "no preference pairs" in markdown({**HEAD, "rows": table, "claims": {}})
    assert plot(ENTRIES[3:]).startswith("<svg")
