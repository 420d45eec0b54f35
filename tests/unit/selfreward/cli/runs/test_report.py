"""The report that a run ends with, and what of it an unfinished run has."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from selfreward.cli.main import app
from selfreward.cli.runs import report
from selfreward.store.artifacts import ArtifactStore
from tests.support.synthetic_run import RUN, write_run


def test_a_run_that_goes_on_is_reported_as_far_as_it_is(store_root: str) -> None:
    store = ArtifactStore(store_root)
    write_run(store, prompts=20, judged=10, labelled=False)
    record = store.read_json(f"runs/{RUN}/run.json")
    models = record["models"][:3]
    store.write_json(
        f"runs/{RUN}/run.json", {**record, "models": models, "state": "running", "stage": "M2", "phase": "rollouts"}
    )
    ran = CliRunner().invoke(app, ["report", RUN, "--artifacts", store_root])
    assert ran.exit_code == 0, ran.output
    lines = ran.output.splitlines()
    assert f"run {RUN} is running (M2 rollouts): later models are missing" in lines
    assert lines[-1] == f"report: {store_root}/runs/{RUN}/report.html (and .md, .json)"
    assert [line.split()[0] for line in lines if line.startswith(("M0 ", "SFT ", "M1 ", "M2 "))] == ["M0", "SFT", "M1"]


def test_a_run_whose_artifacts_are_elsewhere_says_where_its_report_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr("selfreward.cli.output.stdout", Console(file=screen, width=80))
    monkeypatch.setenv("SELFREWARD_ARTIFACTS", str(tmp_path))
    report.show_outcome("mine")
    assert screen.getvalue().startswith("no report here (runs/mine/run.json does not exist under ")
    assert screen.getvalue().endswith("`selfreward report mine --artifacts ROOT` makes it where the artifacts are\n")
