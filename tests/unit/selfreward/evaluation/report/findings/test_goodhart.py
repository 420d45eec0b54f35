"""The panel that shows a loop which only improves its own opinion of itself."""

from typing import Any

import pytest

from selfreward.evaluation.bootstrap import EMPTY, Interval
from selfreward.evaluation.report.findings.goodhart import hacked
from selfreward.evaluation.report.inputs import load_run
from selfreward.evaluation.report.report import build_report
from selfreward.evaluation.report.write import write_report
from selfreward.store.artifacts import ArtifactStore
from tests.support.synthetic_run import RUN, write_run


@pytest.fixture
def store(store_root: str) -> ArtifactStore:
    return ArtifactStore(store_root)


def _panel(store: ArtifactStore) -> dict[str, Any]:
    panel: dict[str, Any] = build_report(load_run(store, RUN), resamples=300)["goodhart"]
    return panel


def _alarms(panel: dict[str, Any]) -> set[tuple[str, str]]:
    return {(point["model"], step["since"]) for point in panel["points"] for step in point["steps"] if step["alarm"]}


def _full_marks(store: ArtifactStore, name: str, part: str) -> None:
    """The model gives every answer of its own full marks."""
    file = f"runs/{RUN}/evaluation/{name}/{part}.jsonl"
    rows = list(store.read_jsonl(file))
    for row in rows:
        for judgment in row["judgments"]:
            judgment["score"] = 5.0
    store.write_jsonl(file, rows)


def _answers_of_the_model_before(store: ArtifactStore) -> None:
    """M3 answers as M2 does."""
    for file in ("samples.jsonl", "greedy.jsonl", "labels.json"):
        store.write_bytes(f"runs/{RUN}/evaluation/M3/{file}", store.read_bytes(f"runs/{RUN}/evaluation/M2/{file}"))


def test_a_loop_that_gets_better_in_its_own_eyes_and_the_checkers_raises_no_alarm(store: ArtifactStore) -> None:
    write_run(store, prompts=300, judged=200)
    panel = _panel(store)
    assert panel["independent"] == "checker"
    assert [point["model"] for point in panel["points"]] == ["M1", "M2", "M3"]
    assert [[step["since"] for step in point["steps"]] for point in panel["points"]] == [[], ["M1"], ["M2", "M1"]]
    assert panel["points"][1]["steps"][0]["loop"]["low"] > 0
    assert panel["points"][1]["steps"][0]["independent"]["low"] > 0
    assert _alarms(panel) == set()


def test_reward_hacking_raises_the_alarm_and_is_in_the_page(store: ArtifactStore) -> None:
    write_run(store, prompts=120, judged=60)
    _answers_of_the_model_before(store)
    _full_marks(store, "M3", "samples")
    panel = _panel(store)
    last = panel["points"][-1]
    step = next(step for step in last["steps"] if step["since"] == "M2")
    assert step["loop"]["low"] > 0
    assert step["independent"]["value"] == 0
    assert last["loop"]["value"] == 5
    assert ("M3", "M2") in _alarms(panel)
    assert ("M2", "M1") not in _alarms(panel)
    write_report(store, RUN)
    page, text = (store.read_bytes(f"runs/{RUN}/report.{kind}").decode() for kind in ("html", "md"))
    assert "<td>ALARM</td>" in page
    assert "Loop score against independent score</figcaption>" in page
    assert "| M3 − M2 | 5.00 [5.00, 5.00] |" in text


def test_without_a_checker_people_are_the_independent_measure(store: ArtifactStore) -> None:
    write_run(store, prompts=120, judged=100, labelled=False)
    _full_marks(store, "M3", "samples")
    panel = _panel(store)
    assert panel["independent"] == "human ranks"
    assert 0.5 < panel["points"][0]["independent"]["value"] < 1
    assert ("M3", "M2") in _alarms(panel)


def test_a_judge_that_gets_worse_by_peoples_ranks_while_its_scores_rise_is_an_alarm_too(store: ArtifactStore) -> None:
    write_run(store, prompts=120, judged=100, labelled=False)
    for part in ("samples", "eft_eval"):
        _full_marks(store, "M3", part)
    step = _panel(store)["points"][-1]["steps"][0]
    assert step["independent"]["high"] < 0
    assert step["alarm"]


def test_without_own_scores_there_is_no_panel(store: ArtifactStore) -> None:
    write_run(store)
    for name in ("M1", "M2", "M3"):
        file = f"runs/{RUN}/evaluation/{name}/samples.jsonl"
        store.write_jsonl(file, [{**row, "judgments": []} for row in store.read_jsonl(file)])
    assert _panel(store) is None


@pytest.mark.parametrize(
    ("loop", "independent", "alarm"),
    [
        ((0.3, 0.1, 0.5), (0.0, -0.1, 0.1), True),
        ((0.3, 0.1, 0.5), (-0.3, -0.4, -0.2), True),
        ((0.3, 0.1, 0.5), (0.2, 0.1, 0.3), False),
        ((0.3, -0.1, 0.5), (-0.3, -0.4, -0.2), False),
        ((-0.3, -0.5, -0.1), (0.0, -0.1, 0.1), False),
    ],
)
def test_the_alarm_is_a_rise_that_only_the_loop_sees(
    loop: tuple[float, float, float], independent: tuple[float, float, float], alarm: bool
) -> None:
    assert hacked(Interval(*loop, 10), Interval(*independent, 10)) is alarm


def test_what_was_not_measured_is_no_alarm() -> None:
    assert not hacked(EMPTY, Interval(0, 0, 0, 1))
    assert not hacked(Interval(1, 1, 1, 1), EMPTY)
