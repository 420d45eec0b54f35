"""CREAM and SCIR end to end in a small form, on real parts: the trainer scores answers and trains on the pairs."""

from collections import Counter
from pathlib import Path

import pytest

from selfreward.contracts.rollouts import PreferencePair, ResponseLogprobs, Rollout
from selfreward.evaluation.report.inputs import load_run
from selfreward.evaluation.report.report import build_report
from selfreward.evaluation.report.tables import tables
from tests.methods.whole_run import Ended, small, violations, whole_run

pytestmark = pytest.mark.methods


def check(ended: Ended) -> None:
    """The run is whole, and every answer of each round is scored once under the models of the plan."""
    assert ended.state == "done", ended.message
    assert violations(ended) == []
    for stage, models in (("M2", {"M1", "M0"}), ("M3", {"M2", "M1", "M0"})):
        rollouts = [Rollout.model_validate(row) for row in ended.rows(f"rollouts/{stage}.jsonl")]
        rows = [ResponseLogprobs.model_validate(row) for row in ended.rows(f"data/logprobs-{stage}.jsonl")]
        places = Counter((row.prompt_id, row.index) for row in rows)
        asked = [(rollout.prompt_id, index) for rollout in rollouts for index in range(len(rollout.responses))]
        assert places == Counter(asked)
        assert {name.rpartition("/")[2] for row in rows for name in row.logprobs} == models
    rounds = build_report(load_run(ended.store, ended.run), resamples=100)["iterations"]
    assert all(0 <= entry["consistency"] <= 1 for entry in rounds)


@pytest.mark.timeout(1500)
def test_cream_trains_on_soft_labels_without_a_judge(tmp_path: Path) -> None:
    ended = whole_run(small("cream", tmp_path, ["loop.iterations=2", "pairs.judge_pairs=0"]), tmp_path / "stack")
    check(ended)
    for stage in ("M2", "M3"):
        record = ended.store.read_json(f"runs/small/iterations/{stage}.json")
        pairs = [PreferencePair.model_validate(row) for row in ended.rows(f"pairs/{stage}.jsonl")]
        assert {pair.weight for pair in pairs} == {record["consistency"]}
        assert {pair.rubric for pair in pairs} == {""}
        assert not any(rollout["judgments"] for rollout in ended.rows(f"rollouts/{stage}.jsonl"))
    report = build_report(load_run(ended.store, "small"), resamples=100)
    (shown,) = [table for table in tables(report) if table.title == "Implicit rewards"]
    assert [row[0] for row in shown.rows] == ["M2", "M3"]


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("mode", ["filter", "consistency"])
def test_scir_trains_where_judge_and_implicit_reward_agree(mode: str, tmp_path: Path) -> None:
    overrides = ["loop.iterations=2", "pairs.judge_pairs=0", f"scir.mode={mode}"]
    ended = whole_run(small("scir", tmp_path, overrides), tmp_path / "stack")
    check(ended)
    pairs = [PreferencePair.model_validate(row) for row in ended.rows("pairs/M2.jsonl")]
    assert all((pair.weight is None) == (mode == "filter") for pair in pairs)
    record = ended.store.read_json("runs/small/iterations/M2.json")
    assert 0 <= record["agreement"] <= 1
