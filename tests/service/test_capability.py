"""The small panel, by the real lm-eval, of the real engine."""

import importlib.util
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from selfreward.cli.main import app
from tests.support.live_generator import Generator


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="needs lm_eval: the extra `capability`")
def test_the_small_panel_measures_the_served_model(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFREWARD_GENERATOR_URL", generator.url)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    out = tmp_path / "capability.json"
    arguments = ["capability", "--tokenizer", str(generator.model), "--chat", "--limit", "20", "--out", str(out)]
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0, ran.output
    report = json.loads(out.read_text())
    assert report["model"] == generator.weights()["label"]
    # The demo's base model has read such facts; four choices and 20 questions leave chance far below this.
    assert report["tasks"]["selfreward_choices"]["value"] > 0.5
    assert report["tasks"]["selfreward_choices"]["samples"] == 20
