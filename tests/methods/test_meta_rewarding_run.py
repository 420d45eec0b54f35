"""Meta-Rewarding end to end in a small form, on real parts: the model judges its own judgments and is trained on it."""

from pathlib import Path

import pytest

from examples.worlds.countdown.roles import meta_verdicts
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.evaluation.report.inputs import load_run
from selfreward.evaluation.report.report import build_report
from tests.methods.whole_run import small, violations, whole_run

pytestmark = pytest.mark.methods
_OVERRIDES = [
    "loop.iterations=2",
    "meta.judge_iterations=1",
    "pairs.length_control=[0.1, 0.4]",
    "meta.share=1.0",
    "sft.epochs=4",  # the model has to learn what a verdict on two reviews looks like
]


@pytest.mark.timeout(1500)
def test_pairs_of_answers_and_of_judgments_train_a_round_together(tmp_path: Path) -> None:
    recipe = small("meta_rewarding", tmp_path, _OVERRIDES, {"ift": meta_verdicts(0, 640)})
    ended = whole_run(recipe, tmp_path / "stack")
    assert ended.state == "done", ended.message
    assert violations(ended) == []
    judged = [Rollout.model_validate(row) for row in ended.rows("meta/M2.jsonl")]
    record = ended.store.read_json("runs/small/run.json")
    versions = {model["name"]: model["policy_version"] for model in record["models"]}
    assert {rollout.judge_version for rollout in judged} == {versions["M1"]}
    matches = [match for rollout in judged for match in rollout.matches]
    assert {match.outcome for match in matches} >= {1, -1}
    pairs = [PreferencePair.model_validate(row) for row in ended.rows("pairs/M2.jsonl")]
    of_meta = [pair for pair in pairs if pair.kind == "judge" and pair.policy_version == versions["M1"]]
    assert of_meta
    assert all(pair.prompt[0].content.startswith("Review .") for pair in of_meta)
    later = [PreferencePair.model_validate(row) for row in ended.rows("pairs/M3.jsonl")]
    assert not [pair for pair in later if pair.kind == "judge" and pair.policy_version == versions["M2"]]
    first, second = build_report(load_run(ended.store, "small"), resamples=100)["iterations"]
    assert first["meta"]["prompts"] == len(judged)
    assert "meta" not in second
