"""Runs side by side: what the figures are, who decides, and what is written."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from selfreward.cli.main import app
from selfreward.evaluation.bootstrap import Bootstrap
from selfreward.evaluation.models.compare import compared, find_run, held_out
from selfreward.evaluation.models.compare_report import table
from selfreward.evaluation.report.inputs import ReportError, load_run
from selfreward.evaluation.report.report import build_report
from selfreward.store.artifacts import ArtifactStore
from tests.support.synthetic_run import RUN, write_run


@pytest.fixture
def store(store_root: str) -> ArtifactStore:
    return ArtifactStore(store_root)


def _with_journal(store: ArtifactStore) -> None:
    record = store.read_json(f"runs/{RUN}/run.json")
    phases = [("SFT", "train", 600), ("M1", "train", 60), ("M2", "train", 90), ("M3", "evaluate", 30)]
    record["journal"] = [{"stage": stage, "phase": phase, "seconds": seconds} for stage, phase, seconds in phases]
    record["recipe"]["method"] = "spin"
    store.write_json(f"runs/{RUN}/run.json", record)


def test_the_last_model_is_set_against_m1_by_the_checkers_scores(store: ArtifactStore) -> None:
    write_run(store)
    _with_journal(store)
    data = load_run(store, RUN)
    entry = compared(data, Bootstrap(200))
    assert (entry["model"], entry["method"], entry["seed"]) == ("M3", "spin", 5)
    by_name = {model.name: model for model in data.models}
    points = []
    for rollout in by_name["M3"].samples:
        both = (by_name[name].labels.samples[rollout.prompt_id] for name in ("M3", "M1"))  # type: ignore[union-attr]
        points += [1.0 if mine > first else 0.5 if mine == first else 0.0 for mine, first in zip(*both, strict=True)]
    figures = entry["against_m1"]["figures"]
    assert entry["against_m1"]["by"] == "checker"
    assert figures["win_rate"]["value"] == pytest.approx(sum(points) / len(points))
    assert figures["win_rate"]["low"] > 0.5
    # The synthetic answers' length has nothing to do with their score, so taking it out changes next to nothing.
    assert figures["length_controlled_win_rate"]["value"] == pytest.approx(figures["win_rate"]["value"], abs=0.02)
    assert entry["pair_yield"]["value"] == pytest.approx(0.7)
    assert entry["pair_yield"]["n"] == 200
    assert entry["minutes"] == pytest.approx(2.0)
    rates = {model["name"]: model["checker"] for model in build_report(data, 100)["models"]}
    for name in ("solve_rate", "solve_rate_greedy"):
        gained = rates["M3"][name]["value"] - rates["M0"][name]["value"]
        assert entry["over_m0"][name]["value"] == pytest.approx(gained)
        assert entry["over_m0"][name]["low"] > 0.1
    assert [found["stage"] for found in entry["rounds"]] == ["M2", "M3"]
    assert entry["models"]["M3"]["judge_accuracy"]["value"] > entry["models"]["SFT"]["judge_accuracy"]["value"]


def test_without_labels_nobody_decides_and_the_table_has_dashes(store: ArtifactStore) -> None:
    write_run(store, labelled=False)
    entry = compared(load_run(store, RUN), Bootstrap(100))
    assert entry["against_m1"] is None
    assert entry["minutes"] is None
    (row,) = table([entry]).rows
    assert [cell == "–" for cell in row] == [
        *(False, True, False),
        *[True] * 4,
        *(False, True, True, False, False, True),
    ]


def test_a_run_without_an_evaluated_m1_cannot_be_compared(store: ArtifactStore) -> None:
    write_run(store)
    store.fs.rm(store.path(f"runs/{RUN}/evaluation/M1/samples.jsonl"))
    with pytest.raises(ReportError, match="no evaluated M1"):
        compared(load_run(store, RUN), Bootstrap(100))


def test_a_run_of_an_older_version_that_did_not_evaluate_m0_has_dashes(store: ArtifactStore) -> None:
    write_run(store)
    store.fs.rm(store.path(f"runs/{RUN}/evaluation/M0"), recursive=True)
    entry = compared(load_run(store, RUN), Bootstrap(100))
    assert entry["over_m0"] is None
    shown = table([entry])
    assert [shown.rows[0][place] for place, name in enumerate(shown.columns) if "M0" in name] == ["–", "–"]


def test_a_run_that_ended_at_m1_has_no_contest(store: ArtifactStore) -> None:
    write_run(store)
    for name in ("M2", "M3"):
        store.fs.rm(store.path(f"runs/{RUN}/evaluation/{name}/samples.jsonl"))
    entry = compared(load_run(store, RUN), Bootstrap(100))
    assert entry["model"] == "M1"
    assert entry["against_m1"] is None


def _invoke(store_root: str, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["compare", *arguments, "--artifacts", store_root, "--resamples", "100"])


def test_the_command_prints_a_column_for_each_run_and_writes_three_files(
    store: ArtifactStore, store_root: str, tmp_path: Path
) -> None:
    write_run(store)
    elsewhere = ArtifactStore(str(tmp_path / "elsewhere"))
    write_run(elsewhere, prompts=30, judged=20)
    out = tmp_path / "out"
    ran = _invoke(store_root, RUN, elsewhere.path(f"runs/{RUN}"), "--out", str(out))
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.count("solved %") == 1
    assert "The runs have different M1s" in ran.stdout
    written = json.loads((out / "compare.json").read_text())
    assert [entry["models"]["M1"]["solve_rate"]["n"] for entry in written["runs"]] == [120, 30]
    text = (out / "compare.md").read_text()
    assert re.search(r"\| synthetic \| – \| M3 \| \d+\.\d \[\d+\.\d, \d+\.\d\] \|", text)
    assert re.search(r"\| synthetic \| M0 \| \d+\.\d \[", text)
    assert "(compare.svg)" in text
    drawn = (out / "compare.svg").read_text()
    assert drawn.startswith("<svg ")
    assert 'style="background: #fff"' in drawn
    assert "win rate against M1, %" in drawn


def test_an_unknown_run_is_named_with_the_store(store_root: str) -> None:
    ran = _invoke(store_root, "nothing")
    assert ran.exit_code == 2
    assert "runs/nothing/run.json does not exist" in ran.stderr


def test_with_a_rubric_the_live_judge_decides_on_greedy_answers(
    url: str, store: ArtifactStore, store_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(store, prompts=20, judged=5)
    monkeypatch.setenv("SELFREWARD_JUDGE_URL", url)
    ran = _invoke(store_root, RUN, "--rubric", "pairwise", "--out", str(tmp_path))
    assert ran.exit_code == 0, ran.output
    contest = json.loads((tmp_path / "compare.json").read_text())["runs"][0]["against_m1"]
    assert contest["by"] == "judge"
    models = {model.name: model for model in find_run(RUN, store_root).models}
    duels = held_out(models["M3"], models["M1"], "greedy")
    longer = [(len(duel.a) > len(duel.b)) - (len(duel.a) < len(duel.b)) for duel in duels]
    # The engine's taste is length.
    assert contest["figures"]["win_rate"]["value"] == pytest.approx(sum((lead + 1) / 2 for lead in longer) / len(duels))
    assert contest["figures"]["longer_wins"]["value"] == 1


def test_a_method_that_trains_on_rewards_has_no_pair_yield(store: ArtifactStore) -> None:
    write_run(store)
    for stage in ("M2", "M3"):
        store.fs.rm(store.path(f"runs/{RUN}/pairs/{stage}.jsonl"))
    store.fs.rm(store.path(f"runs/{RUN}/evaluation/pair_labels.json"))
    assert compared(load_run(store, RUN), Bootstrap(100))["pair_yield"]["value"] is None
