"""What a report says in a few sentences, from artifacts to page."""

import json
from typing import Any

import pytest

from selfreward.evaluation.bootstrap import Bootstrap
from selfreward.evaluation.models.compare import compared
from selfreward.evaluation.models.compare_report import notes
from selfreward.evaluation.report.findings.sentences import in_short
from selfreward.evaluation.report.html import render_html
from selfreward.evaluation.report.inputs import load_run
from selfreward.evaluation.report.markdown import render_markdown
from selfreward.evaluation.report.report import build_report
from selfreward.store.artifacts import ArtifactStore
from tests.support.synthetic_run import RUN, write_run


@pytest.fixture
def store(store_root: str) -> ArtifactStore:
    store = ArtifactStore(store_root)
    write_run(store)
    return store


def _report(store: ArtifactStore) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(json.dumps(build_report(load_run(store, RUN), resamples=100)))
    return report


def _nothing_solved(store: ArtifactStore, model: str, part: str) -> None:
    name = f"runs/{RUN}/evaluation/{model}/labels.json"
    labels = store.read_json(name)
    labels["solved"][part] = {prompt: [False] * len(row) for prompt, row in labels["solved"][part].items()}
    store.write_json(name, labels)


def test_a_model_that_is_worse_than_m0_is_an_alarm_in_report_pages_and_comparison(store: ArtifactStore) -> None:
    assert _report(store)["below_base"] == []
    _nothing_solved(store, "M3", "greedy")
    report = _report(store)
    (alarm,) = report["below_base"]
    assert (alarm["model"], alarm["figure"]) == ("M3", "solve_rate_greedy")
    assert alarm["change"]["high"] < 0
    (line,) = [line for line in in_short(report) if "below_base" in line]
    assert line.startswith("ALARM below_base: M3 solves fewer than M0, greedy: -")
    assert f"- {line}" in render_markdown(report)
    assert f'<li class="alarm">{line}</li>' in render_html(report, [])
    data = load_run(store, RUN)
    entry = compared(data, Bootstrap(100))
    assert [alarm for alarm in entry["alarms"] if alarm.startswith("M3 solves fewer than M0, greedy")]
    assert [note for note in notes([data], [entry]) if note.startswith(f"{RUN}: ALARM M3 solves fewer")]


def test_the_gain_over_m0_and_its_kind_are_sentences(store: ArtifactStore) -> None:
    report = _report(store)
    kinds = {(gain["a"], gain["b"]): gain["kind"] for gain in report["gains"]}
    assert kinds["M3", "M0"] == "better"
    first, *rest = in_short(report)
    assert first.startswith("M3 minus M0, the untouched base model, in points of problems solved: sampled 2")
    assert [line for line in rest if line.startswith("From M1 to M3 the model became ")]


def test_without_a_checker_the_report_says_what_is_not_known(store: ArtifactStore) -> None:
    for name in ("M0", "SFT", "M1", "M2", "M3"):
        store.delete(f"runs/{RUN}/evaluation/{name}/labels.json")
    report = _report(store)
    assert (report["below_base"], report["gains"]) == (None, [])
    assert in_short(report)[0].startswith("No independent checker:")


def test_a_run_without_m0_says_that_it_was_not_evaluated(store: ArtifactStore) -> None:
    store.fs.rm(store.path(f"runs/{RUN}/evaluation/M0"), recursive=True)
    report = _report(store)
    assert report["below_base"] is None
    assert in_short(report)[0].startswith("M0 was not evaluated")


def test_a_round_with_few_pairs_asks_whether_anything_is_left_to_learn(store: ArtifactStore) -> None:
    name = f"runs/{RUN}/iterations/M3.json"
    store.write_json(name, {**store.read_json(name), "prompts": 1000})
    report = _report(store)
    assert [(sign["stage"], sign["reason"]) for sign in report["nothing_left"]] == [("M3", "few_pairs")]
    (line,) = [line for line in in_short(report) if line.startswith("Nothing left")]
    assert "M3: 7.0% of its prompts gave a pair (below 10%)" in line
