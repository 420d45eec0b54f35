"""Which tables a report has."""

import pytest

from selfreward.evaluation.report.cells import DASH, Table
from selfreward.evaluation.report.inputs import load_run
from selfreward.evaluation.report.report import build_report
from selfreward.evaluation.report.tables import tables
from selfreward.store.artifacts import ArtifactStore
from tests.support.synthetic_run import RUN, write_run


def test_the_report_has_a_table_of_implicit_rewards_where_they_were_measured(store_root: str) -> None:
    store = ArtifactStore(store_root)
    write_run(store, prompts=20, judged=10)
    name = f"runs/{RUN}/iterations/M2.json"
    figures = {"consistency": 0.8, "kendall_tau": 0.6, "agreement": 0.5}
    store.write_json(name, {**store.read_json(name), **figures})
    titled = {table.title: table for table in tables(build_report(load_run(store, RUN), resamples=100))}
    assert titled["Implicit rewards"].rows == [("M2", "0.800", "0.600", "50.0")]


@pytest.fixture
def store(store_root: str) -> ArtifactStore:
    store = ArtifactStore(store_root)
    write_run(store, prompts=40, judged=20)
    return store


def _tables(store: ArtifactStore) -> dict[str, Table]:
    return {table.title: table for table in tables(build_report(load_run(store, RUN), resamples=100))}


def test_sampled_greedy_and_best_of_n_stand_side_by_side_m0_first(store: ArtifactStore) -> None:
    table = _tables(store)["Held-out answers"]
    assert table.columns == ("model", "solved %", "solved, greedy %", "best of n %")
    assert [row[0] for row in table.rows] == ["M0", "SFT", "M1", "M2", "M3"]


def test_a_judge_is_shown_on_its_own_answers_and_on_the_fixed_ones_and_m0_is_no_judge(store: ArtifactStore) -> None:
    table = _tables(store)["Judge: pairwise accuracy"]
    assert table.columns == ("judge", "own answers %", "fixed answers %")
    assert [row[0] for row in table.rows] == ["SFT", "M1", "M2", "M3"]
    assert DASH not in [cell for row in table.rows for cell in row]


def test_truncated_answers_are_counted_by_model(store: ArtifactStore) -> None:
    name = f"runs/{RUN}/evaluation/M2/samples.jsonl"
    rows = list(store.read_jsonl(name))
    for row in rows:
        row["responses"][0]["finish_reason"] = "length"
        row["responses"][1]["finish_reason"] = None
    store.write_jsonl(name, rows)
    report = build_report(load_run(store, RUN), resamples=100)
    rates = {model["name"]: model["truncated_rate"]["value"] for model in report["models"]}
    assert rates == pytest.approx({"M0": 0, "SFT": 0, "M1": 0, "M2": 1 / 3, "M3": 0})
    (column,) = [place for place, name in enumerate(_tables(store)["Length of the answers"].columns) if "trunc" in name]
    assert [row[column].split()[0] for row in _tables(store)["Length of the answers"].rows] == [
        *("0.0", "0.0", "0.0"),
        *("33.3", "0.0"),
    ]


def test_what_a_publish_kept_of_an_update_is_shown_where_a_manifest_says_it(store: ArtifactStore) -> None:
    assert "update kept %" not in _tables(store)["Length of the answers"].columns
    store.write_json(f"runs/{RUN}/weights/M1/manifest.json", {"format": 1})
    store.write_json(f"runs/{RUN}/weights/M2/manifest.json", {"update_kept": 0.9731})
    report = build_report(load_run(store, RUN), resamples=100)
    assert [model["update_kept"] for model in report["models"]] == [None, None, None, 0.9731, None]
    assert [row[-1] for row in _tables(store)["Length of the answers"].rows] == [DASH, DASH, DASH, "97.3", DASH]
