"""The capability panel around lm-eval: what it is asked, what is read of its results, and when a loss is an alarm."""

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from typer.testing import CliRunner

from selfreward.cli.main import app
from selfreward.evaluation.models.capability import (
    PANELS,
    PanelError,
    changes,
    command,
    panel_file,
    read_results,
    served,
)
from tests.support.listening import listening

RESULTS = {
    "results": {
        "arc_easy": {
            "alias": "arc_easy",
            "sample_len": 500,
            "acc,none": 0.7,
            "acc_stderr,none": 0.02,
            "acc_norm,none": 0.6,
        },
        "gsm8k": {
            "alias": "gsm8k",
            "exact_match,strict-match": 0.3,
            "exact_match_stderr,strict-match": 0.01,
            "exact_match,flexible-extract": 0.4,
            "exact_match_stderr,flexible-extract": 0.01,
        },
        "mmlu": {"alias": "mmlu", "acc,none": 0.5, "acc_stderr,none": 0.004},
        "mmlu_law": {"alias": " - law", "acc,none": 0.2, "acc_stderr,none": 0.05},
        "perplexity_only": {"word_perplexity,none": 9.0},
    },
    "group_subtasks": {"mmlu": ["mmlu_law"], "arc_easy": []},
    "n-samples": {"gsm8k": {"original": 1319, "effective": 100}},
}


def test_each_task_has_its_accuracy_or_exact_match_and_a_group_stands_for_its_parts() -> None:
    found = read_results(RESULTS)
    assert {task: (figure["metric"], figure["value"], figure["stderr"]) for task, figure in found.items()} == {
        "arc_easy": ("acc", 0.7, 0.02),
        "gsm8k": ("exact_match", 0.3, 0.01),
        "mmlu": ("acc", 0.5, 0.004),
    }
    assert found["gsm8k"]["filter"] == "strict-match"
    assert (found["arc_easy"]["samples"], found["gsm8k"]["samples"], found["mmlu"]["samples"]) == (500, 100, None)


def test_a_panel_without_any_figure_says_so() -> None:
    with pytest.raises(PanelError, match="perplexity_only has one of acc, exact_match"):
        read_results({"results": {"perplexity_only": {"word_perplexity,none": 9.0}}})


def _figure(value: float, stderr: float | None = 0.01, metric: str = "acc") -> dict[str, Any]:
    return {"metric": metric, "value": value, "stderr": stderr}


def test_an_ability_that_fell_by_more_than_both_errors_allow_is_an_alarm() -> None:
    now = {"fell": _figure(0.50), "noise": _figure(0.54), "rose": _figure(0.70), "exact": _figure(0.1, None)}
    before = {"fell": _figure(0.56), "noise": _figure(0.56), "rose": _figure(0.56), "exact": _figure(0.9, None)}
    found = changes(now, before)
    assert {task: change["alarm"] for task, change in found.items()} == {
        "fell": True,
        "noise": False,
        "rose": False,
        "exact": False,
    }
    half = 1.96 * (0.01**2 + 0.01**2) ** 0.5
    assert found["fell"]["high"] == pytest.approx(-0.06 + half)
    assert found["exact"]["low"] is None


def test_only_the_same_metric_of_the_same_task_is_compared() -> None:
    assert changes({"a": _figure(0.1)}, {"a": _figure(0.9, metric="exact_match"), "b": _figure(0.9)}) == {}


def test_the_shipped_panels_are_found_by_name_and_others_by_path(tmp_path: Path) -> None:
    assert panel_file("small") == PANELS / "small.yaml"
    own = tmp_path / "own.yaml"
    own.write_text("tasks: [piqa]\n")
    assert panel_file(str(own)) == own
    with pytest.raises(PanelError, match=r"neither a shipped one \(paper, small\) nor a file"):
        panel_file("large")


def test_the_small_panels_rows_are_sound() -> None:
    choices = [json.loads(line) for line in (PANELS / "tasks" / "choices.jsonl").read_text().splitlines()]
    results = [json.loads(line) for line in (PANELS / "tasks" / "results.jsonl").read_text().splitlines()]
    assert len(choices) == len(results) == 60
    for row in [*choices, *results]:
        left, sign, right = row["question"].split()
        truth = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}
        truth["/"] = int(left) / int(right)  # type: ignore[assignment]
        given = row["answer"] if "answer" in row else row["choices"][row["label"]]
        assert float(given) == truth[sign]
        assert len(set(row.get("choices", "abcd"))) == 4


def test_lm_eval_is_asked_about_one_version_through_the_completions_route(tmp_path: Path) -> None:
    card = {"id": "policy@3", "max_model_len": 512}
    arguments = command(PANELS / "small.yaml", "http://host:1", card, tmp_path, 5, True)
    model = dict(pair.split("=", 1) for pair in arguments[arguments.index("--model_args") + 1].split(","))
    assert model == {
        "model": "policy@3",
        "base_url": "http://host:1/v1/completions",
        "tokenizer": str(tmp_path),
        "tokenizer_backend": "huggingface",
        "num_concurrent": "16",
        "max_length": "512",
    }
    assert arguments[-3:] == ["--limit", "5", "--apply_chat_template"]
    assert "--limit" not in command(PANELS / "small.yaml", "http://host:1", card, tmp_path, None, False)


def documented() -> argparse.ArgumentParser:
    """The arguments of `lm-eval run` that we give, as its --help (0.4.13) has them."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", "-C")
    parser.add_argument("--model", "-M")
    parser.add_argument("--model_args", "-a", nargs="+")
    parser.add_argument("--limit", "-L", type=float)
    parser.add_argument("--apply_chat_template", nargs="?", const=True, default=False)
    parser.add_argument("--output_path", "-o")
    return parser


@pytest.mark.parametrize("chat", [False, True])
def test_the_command_line_says_what_lm_eval_documents(tmp_path: Path, chat: bool) -> None:
    built = command(PANELS / "paper.yaml", "http://host:1", {"id": "policy@3"}, tmp_path, 20, chat)
    assert built[:4] == [sys.executable, "-m", "lm_eval", "run"]
    # As `run` has it: an argument whose value is optional must not take what comes after it.
    given = documented().parse_args([*built[4:], "--output_path", "out"])
    assert (given.config, given.model, given.limit) == (str(PANELS / "paper.yaml"), "local-completions", 20)
    assert (given.apply_chat_template, given.output_path) == (chat, "out")
    assert len(given.model_args) == 1
    assert "max_length=2048" in given.model_args[0].split(",")


def test_the_papers_panel_is_the_tasks_of_its_table_3() -> None:
    panel = yaml.safe_load((PANELS / "paper.yaml").read_text())
    arc, others = {"arc_easy", "arc_challenge"}, {"hellaswag", "social_iqa", "piqa", "gsm8k", "mmlu", "openbookqa"}
    assert set(panel) == {"tasks"}, "lm-eval refuses keys that it does not know"
    assert set(panel["tasks"]) == arc | others | {"nq_open"}
    assert len(panel["tasks"]) == 9


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="needs lm_eval: the extra `capability`")
@pytest.mark.parametrize("name", ["paper", "small"])
def test_lm_eval_knows_the_panels_tasks_and_our_arguments(tmp_path: Path, name: str) -> None:
    known = """
import json, sys
from lm_eval._cli.harness import HarnessCLI
from lm_eval.config.evaluate_config import EvaluatorConfig
from lm_eval.tasks import TaskManager
config = EvaluatorConfig.from_cli(HarnessCLI().parse_args())
tasks = TaskManager(include_path=config.include_path).all_tasks
found = {"missing": sorted(set(config.tasks) - set(tasks)), "model": config.model_args, "limit": config.limit}
print(json.dumps(found))
"""
    panel = panel_file(name)
    built = command(panel, "http://host:1", {"id": "policy@3", "max_model_len": 512}, tmp_path, 5, True)
    ended = subprocess.run(
        [sys.executable, "-c", known, *built[3:]], cwd=panel.parent, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    assert (found["missing"], found["limit"]) == ([], 5)
    assert (found["model"]["model"], found["model"]["max_length"]) == ("policy@3", 512)


def test_the_version_that_is_served_now_is_pinned() -> None:
    def models(request: Request) -> JSONResponse:
        if request.headers.get("authorization") != "Bearer k":
            return JSONResponse({"error": {"message": "no key"}}, status_code=401)
        return JSONResponse({"data": [{"id": "policy"}, {"id": "policy@4", "max_model_len": 512}]})

    with listening(Starlette(routes=[Route("/v1/models", models)])) as url:
        assert served(url, "k")["id"] == "policy@4"
        with pytest.raises(PanelError, match="answers 401"):
            served(url, None)
    empty = Starlette(routes=[Route("/v1/models", lambda _: JSONResponse({"data": []}))])
    with listening(empty) as url, pytest.raises(PanelError, match="serves no model yet"):
        served(url, None)
    with pytest.raises(PanelError, match=r"no generator answers at http://127\.0\.0\.1:9"):
        served("http://127.0.0.1:9", None)


def test_without_lm_eval_the_remedy_is_one_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    ran = CliRunner().invoke(app, ["capability", "--tokenizer", str(tmp_path)])
    assert ran.exit_code == 2
    assert "pip install --constraint requirements.lock 'lm-eval[api]>=0.4.13,<0.5' transformers" in ran.stderr
