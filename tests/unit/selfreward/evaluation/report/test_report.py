"""The report, made of a synthetic run's artifacts: fixed names, intervals, both label situations, bad input, HTML."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from selfreward.cli.main import app
from selfreward.evaluation.report.inputs import ReportError, load_run
from selfreward.evaluation.report.markdown import render_markdown
from selfreward.evaluation.report.report import build_report
from selfreward.evaluation.report.write import write_report
from selfreward.store.artifacts import ArtifactStore
from tests.support.synthetic_run import MODELS, RUN, write_run


@pytest.fixture
def store(store_root: str) -> ArtifactStore:
    return ArtifactStore(store_root)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    """The synthetic run as it is, with its report; the tests only read it."""
    store = ArtifactStore(str(tmp_path_factory.mktemp("written")))
    write_run(store)
    write_report(store, RUN)
    return store


def _report(store: ArtifactStore) -> dict[str, Any]:
    """The figures as JSON gives them back, without the pages, whose plots take a second, and of few resamples."""
    report: dict[str, Any] = json.loads(json.dumps(build_report(load_run(store, RUN), resamples=100), allow_nan=False))
    return report


def _assert_figure(figure: dict[str, Any]) -> None:
    assert set(figure) == {"value", "low", "high", "n"}
    assert figure["n"] > 0
    assert figure["low"] <= figure["value"] <= figure["high"]


def test_report_has_the_fixed_names_and_every_figure_an_interval(written: ArtifactStore) -> None:
    report = written.read_json(f"runs/{RUN}/report.json")
    assert [model["name"] for model in report["models"]] == list(MODELS)
    judge = {
        "pairwise_accuracy",
        "pairwise_accuracy_ties_half",
        "spearman",
        "kendall_tau_b",
        "exact_match",
        "five_best",
    }
    for model in report["models"]:
        assert model["policy_version"].startswith("policy@")
        assert {"solve_rate", "mean_score", "solve_rate_greedy"} <= set(model["checker"])
        for figure in [*model["checker"].values(), model["mean_length"]]:
            _assert_figure(figure)
        assert model["checker"]["solve_rate"]["n"] == 120
    base, *taught = report["models"]
    assert (base["judge"], base["judge_fixed"], base["parse_failure_rate"]["value"]) == (None, None, None)
    for model in taught:
        assert set(model["judge"]) == set(model["judge_fixed"]) == judge
        for figure in [*model["judge"].values(), *model["judge_fixed"].values(), model["parse_failure_rate"]]:
            _assert_figure(figure)
    for comparison in report["comparisons"]:
        shares = [comparison[outcome]["value"] for outcome in ("win", "tie", "lose")]
        assert sum(shares) == pytest.approx(1)
    assert {(c["a"], c["b"]) for c in report["comparisons"]} >= {
        ("M1", "SFT"),
        ("M2", "M1"),
        ("M3", "M2"),
        ("M3", "M1"),
    }
    assert len(report["iterations"]) == 2
    for entry in report["iterations"]:
        assert {"prompts", "pairs", "ties", "unscored", "chosen_rejected_gap", "score_histogram"} <= set(entry)
        assert set(entry["seconds"]) == {"rollout", "train", "reload", "evaluate"}
    known = report["provenance"]
    assert (known["recipe_hash"], known["seed"], known["commit"]) == ("abc123", 5, "f" * 40)
    assert known["versions"]


def test_figures_say_what_was_put_in(store: ArtifactStore) -> None:
    write_run(store, prompts=300, judged=100)
    report = build_report(load_run(store, RUN))
    models = {model["name"]: model for model in report["models"]}
    for name, rate in MODELS.items():
        figure = models[name]["checker"]["solve_rate"]
        assert figure["low"] - 0.02 < rate < figure["high"] + 0.02
    gained = next(d for d in report["differences"] if (d["a"], d["b"]) == ("M3", "M1"))
    assert gained["solve_rate"]["low"] > 0.1
    learnt = next(d for d in report["differences"] if (d["a"], d["b"]) == ("M1", "SFT"))
    assert learnt["judge_pairwise_accuracy"]["low"] > 0
    assert learnt["judge_fixed_pairwise_accuracy"]["low"] > 0
    assert models["M1"]["parse_failure_rate"]["value"] == pytest.approx(0.03, abs=0.02)
    second_round = report["iterations"][0]
    assert second_round["pair_yield"]["value"] == pytest.approx(0.7)
    assert second_round["chosen_rejected_gap"]["value"] == pytest.approx(1.45, abs=0.02)
    assert second_round["length_ratio"]["value"] == pytest.approx(9 / 21)
    assert second_round["pairs_right"]["value"] == pytest.approx(0.7)
    assert second_round["pairs_wrong"]["value"] == pytest.approx(0.1)


def test_without_labels_the_judge_is_measured_on_human_ranks(store: ArtifactStore) -> None:
    write_run(store, labelled=False)
    write_report(store, RUN)
    report = store.read_json(f"runs/{RUN}/report.json")
    assert report["comparisons"] == []
    assert report["models"][0]["judge_on"] is None
    for model in report["models"][1:]:
        assert model["checker"] is None
        assert model["judge_on"] == "eft_eval"
        assert model["judge"] == model["judge_fixed"]
    page = store.read_bytes(f"runs/{RUN}/report.html").decode()
    assert "No independent labels" in page
    assert "Judge on the fixed ranked answers" in page


def test_without_labels_and_ranks_there_is_still_a_report(store: ArtifactStore) -> None:
    write_run(store, labelled=False)
    for name in MODELS:
        store.delete(f"runs/{RUN}/evaluation/{name}/eft_eval.jsonl")
        store.delete(f"runs/{RUN}/evaluation/{name}/greedy.jsonl")
    report = _report(store)
    assert all(model["judge"] is None and model["judge_on"] is None for model in report["models"])


def test_a_run_in_which_nobody_judges_has_rounds_without_a_gap_and_yields_of_prompts(store: ArtifactStore) -> None:
    write_run(store, labelled=False)
    for name in MODELS:
        folder = f"runs/{RUN}/evaluation/{name}"
        store.delete(f"{folder}/eft_eval.jsonl")
        rows = [{**row, "judgments": []} for row in store.read_jsonl(f"{folder}/samples.jsonl")]
        store.write_jsonl(f"{folder}/samples.jsonl", rows)
    pairs = [row for row in store.read_jsonl(f"runs/{RUN}/pairs/M3.jsonl") if row["kind"] == "actor"]
    again = [{**row, "rubric": "", "chosen": [{"role": "assistant", "content": "other"}]} for row in pairs]
    store.write_jsonl(f"runs/{RUN}/pairs/M3.jsonl", [{**row, "rubric": ""} for row in pairs] + again)
    report = _report(store)
    assert all(model["judge"] is None for model in report["models"])
    before, judged_by_none = report["iterations"]
    assert judged_by_none["chosen_rejected_gap"]["value"] is None
    assert judged_by_none["pair_yield"] == before["pair_yield"]
    assert judged_by_none["length_ratio"]["n"] == 70


def test_a_model_that_never_judged_has_no_judge_figures(store: ArtifactStore) -> None:
    write_run(store)
    folder = f"runs/{RUN}/evaluation/SFT"
    rows = [{**row, "judgments": []} for row in store.read_jsonl(f"{folder}/samples.jsonl")]
    store.write_jsonl(f"{folder}/samples.jsonl", rows)
    baseline = _report(store)["models"][1]
    assert baseline["judge"] is None
    assert baseline["judge_fixed"] is not None
    assert baseline["own_score"]["value"] is None


def test_a_run_of_an_older_version_that_did_not_evaluate_its_base_model_has_a_report(store: ArtifactStore) -> None:
    write_run(store)
    store.fs.rm(store.path(f"runs/{RUN}/evaluation/M0"), recursive=True)
    write_report(store, RUN)
    report = store.read_json(f"runs/{RUN}/report.json")
    assert [model["name"] for model in report["models"]] == ["SFT", "M1", "M2", "M3"]
    assert not [entry for entry in report["differences"] if "M0" in (entry["a"], entry["b"])]


def test_html_is_one_page_that_escapes_what_models_wrote(written: ArtifactStore) -> None:
    page = written.read_bytes(f"runs/{RUN}/report.html").decode()
    assert "<script" not in page
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; | pipe" in page
    assert not re.search(r'(?:src|href)="(?!#)', page.replace("xlink:href", "href"))
    assert "@import" not in page
    assert page.count("<svg") == 6
    ids = re.findall(r'\bid="([^"]+)"', page)
    # Matplotlib names groups `figure_1` in every plot; only ids that something refers to must be unique.
    referred = set(re.findall(r'(?:#)([\w-]+)["\)]', page))
    assert all(ids.count(name) == 1 for name in referred if name in ids)
    HTMLParser().feed(page)


def test_markdown_has_tables_with_intervals(written: ArtifactStore) -> None:
    text = written.read_bytes(f"runs/{RUN}/report.md").decode()
    assert re.search(r"\| M3 vs M1 \| \d+\.\d \[\d+\.\d, \d+\.\d\] \|", text)
    for line in (line for line in text.splitlines() if line.startswith("|")):
        assert line.endswith("|")
    assert "- recipe hash: `abc123`" in text


def test_alarms_are_listed_by_model_and_a_run_that_was_not_watched_has_no_key(store: ArtifactStore) -> None:
    write_run(store)
    assert "alarms" not in _report(store)
    name = f"runs/{RUN}/run.json"
    alarm = {"stage": "M2", "phase": "watch_pairs", "watchdog": "ties", "value": 0.625, "threshold": 0.5}
    raised = [{**alarm, "action": "pause", "message": "watchdog ties in M2: ..."}]
    store.write_json(name, {**store.read_json(name), "alarms": raised})
    write_report(store, RUN)
    assert store.read_json(f"runs/{RUN}/report.json")["alarms"] == raised
    assert "| M2 | ties | 0.625 | 0.5 | pause |" in store.read_bytes(f"runs/{RUN}/report.md").decode()
    assert "<td>ties</td><td>0.625</td>" in store.read_bytes(f"runs/{RUN}/report.html").decode()
    store.write_json(name, {**store.read_json(name), "alarms": []})
    report = _report(store)
    assert report["alarms"] == []
    assert "## Alarms" not in render_markdown(report)


def test_what_a_meta_judge_did_is_in_the_report_of_its_rounds(store: ArtifactStore) -> None:
    write_run(store)
    name = f"runs/{RUN}/iterations/M2.json"
    shares = {"no_verdict": 0.25, "prefers_higher_score": 0.63, "first_wins": None, "flips": 0.5}
    store.write_json(name, {**store.read_json(name), "meta": {"prompts": 1200, "kept": 41, **shares}})
    report = _report(store)
    assert "| M2 | 1,200 | 41 | 25.0 | 63.0 | – | 50.0 |" in render_markdown(report)
    assert report["iterations"][0]["meta"]["flips"] == 0.5


def test_the_same_artifacts_give_the_same_report(written: ArtifactStore, store: ArtifactStore) -> None:
    write_run(store)
    write_report(store, RUN)
    first = [written.read_bytes(f"runs/{RUN}/report.{kind}") for kind in ("json", "md", "html")]
    assert first == [store.read_bytes(f"runs/{RUN}/report.{kind}") for kind in ("json", "md", "html")]


def test_labels_that_do_not_fit_the_answers_are_refused(store: ArtifactStore) -> None:
    write_run(store)
    name = f"runs/{RUN}/evaluation/M1/labels.json"
    labels = store.read_json(name)
    labels["samples"]["p0003"].pop()
    store.write_json(name, labels)
    with pytest.raises(
        ReportError, match=r"M1/labels.json: samples\['p0003'\] has 3 labels for 4 answers: run the check"
    ):
        load_run(store, RUN)


def test_a_prompt_that_failed_under_one_model_counts_for_none(store: ArtifactStore) -> None:
    write_run(store)
    name = f"runs/{RUN}/evaluation/M2/samples.jsonl"
    rows = [row for row in store.read_jsonl(name) if row["prompt_id"] not in ("p0001", "p0100")]
    store.write_jsonl(name, rows)
    for model in _report(store)["models"]:
        assert model["checker"]["solve_rate"]["n"] == 118
        assert model["checker"]["solve_rate_greedy"]["n"] == 120
        assert sum(model["histograms"]["checker"]) == 4 * 118


def test_models_on_other_prompts_are_refused(store: ArtifactStore) -> None:
    write_run(store, labelled=False)
    name = f"runs/{RUN}/evaluation/M2/samples.jsonl"
    store.write_jsonl(name, [{**row, "prompt_id": "x" + row["prompt_id"]} for row in store.read_jsonl(name)])
    with pytest.raises(ReportError, match="samples have no prompt in common"):
        build_report(load_run(store, RUN))


def test_ranks_that_do_not_fit_the_judgments_are_refused(store: ArtifactStore) -> None:
    write_run(store)
    name = f"runs/{RUN}/data/eft_eval.jsonl"
    store.write_jsonl(name, list(store.read_jsonl(name))[1:])
    with pytest.raises(ReportError, match=r"'e0000' has 3 judgments, data/eft_eval\.jsonl has 0 ranked"):
        build_report(load_run(store, RUN))


def test_malformed_rows_name_file_line_and_field(store: ArtifactStore) -> None:
    write_run(store)
    name = f"runs/{RUN}/evaluation/M3/greedy.jsonl"
    rows = list(store.read_jsonl(name))
    rows[1]["respones"] = rows[1].pop("responses")
    store.write_jsonl(name, rows)
    with pytest.raises(ReportError, match=r"greedy.jsonl, line 2:\n.*(?s:.)*respones.*unknown key"):
        load_run(store, RUN)


def test_command_line_reports_an_unknown_run(store: ArtifactStore) -> None:
    unknown = CliRunner().invoke(app, ["report", "nosuch", "--artifacts", store.root])
    assert unknown.exit_code == 2
    assert "runs/nosuch/run.json does not exist" in unknown.stderr


def test_command_line_writes_the_report_and_names_its_files(store: ArtifactStore, tmp_path: Path) -> None:
    write_run(store, prompts=20, judged=10)
    ran = CliRunner().invoke(app, ["report", RUN, "--artifacts", store.root, "--out", str(tmp_path / "out")])
    assert ran.exit_code == 0, ran.output
    assert f"report: {store.root}/runs/{RUN}/report.html (and .md, .json)" in ran.stdout
    assert (tmp_path / "out" / "report.json").read_bytes() == store.read_bytes(f"runs/{RUN}/report.json")
