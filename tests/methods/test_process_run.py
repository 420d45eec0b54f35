"""Process-based self-rewarding end to end in a small form, on real parts: answers found and trained on step by step."""

from pathlib import Path

import pytest

from examples.worlds.countdown.roles import step_comparisons
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.evaluation.report.inputs import load_run
from selfreward.evaluation.report.report import build_report
from selfreward.loop.methods.plan import table
from selfreward.loop.methods.process import ProcessRules
from tests.methods.whole_run import small, violations, whole_run

pytestmark = pytest.mark.methods


@pytest.mark.timeout(1500)
def test_answers_are_found_and_trained_on_step_by_step(tmp_path: Path) -> None:
    # The model has to learn what a comparison looks like.
    overrides = ["loop.iterations=1", "baseline_sft.epochs=6", "process.backtracks=2"]
    recipe = small("process", tmp_path, overrides, {"ift": step_comparisons(0, 640)})
    ended = whole_run(recipe, tmp_path / "stack")
    assert ended.state == "done", ended.message
    assert violations(ended) == []
    record = ended.store.read_json("runs/small/run.json")
    versions = {model["name"]: model["policy_version"] for model in record["models"]}
    found = [Rollout.model_validate(row) for row in ended.rows("rollouts/M2.jsonl")]
    assert {rollout.policy_version for rollout in found} == {versions["M1"]}
    steps = [step for rollout in found for step in rollout.steps]
    assert any(len(rollout.steps) > 1 for rollout in found), "the model continues its own beginnings"
    assert any(match.p_first is not None for step in steps for match in step.matches)
    # What is joined of two steps reads as one answer, so neither blank nor separator is lost or doubled between them.
    assert not [rollout for rollout in found if "  " in rollout.responses[0].text or "; ;" in rollout.responses[0].text]
    pairs = [PreferencePair.model_validate(row) for row in ended.rows("pairs/M2.jsonl")]
    assert pairs
    assert {pair.separator for pair in pairs} == {table(recipe, ProcessRules).separator}
    assert {pair.judge_version for pair in pairs} == {versions["M1"]}
    (entry,) = build_report(load_run(ended.store, "small"), resamples=100)["iterations"]
    taken = [step for step in steps if not step.dropped]
    assert entry["mean_steps"] == pytest.approx(len(taken) / len(found))
