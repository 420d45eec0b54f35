"""Constitutional AI end to end in a small form, on real parts: revisions train M1, choices by principle train M2."""

import json
from pathlib import Path

import pytest

from examples.worlds.countdown.roles import comparisons, revisions
from selfreward.contracts.rollouts import PreferencePair, Rollout
from tests.methods.whole_run import small, violations, whole_run
from tests.support.places import RECIPES

pytestmark = pytest.mark.methods
_FILE = json.dumps(str(RECIPES / "constitutions" / "countdown.toml"))


@pytest.mark.timeout(1500)
def test_revisions_train_m1_and_choices_by_principle_train_m2(tmp_path: Path) -> None:
    # The model has to learn what a choice looks like.
    overrides = ["loop.iterations=1", f"data.constitution={_FILE}", "sft.epochs=6"]
    recipe = small("constitutional", tmp_path, overrides, {"ift": [*revisions(0, 200), *comparisons(0, 640)]})
    ended = whole_run(recipe, tmp_path / "stack")
    assert ended.state == "done", ended.message
    assert violations(ended) == []
    record = ended.store.read_json("runs/small/run.json")
    assert [model["name"] for model in record["models"]] == ["M0", "SFT", "M1", "M2"]
    versions = {model["name"]: model["policy_version"] for model in record["models"]}
    chains = [Rollout.model_validate(row) for row in ended.rows("rollouts/M1.jsonl")]
    assert {chain.policy_version for chain in chains} == {versions["SFT"]}
    assert all("Score:" in chain.responses[1].text for chain in chains), "the critique is a review"
    assert ended.rows("data/revisions.jsonl")
    pairs = [PreferencePair.model_validate(row) for row in ended.rows("pairs/M2.jsonl")]
    assert pairs
    assert all(pair.weight is not None and 0.5 < pair.weight <= 0.6 for pair in pairs)
    assert {pair.judge_version for pair in pairs} == {versions["M1"]}
    matches = [match for row in ended.rows("rollouts/M2.jsonl") for match in row["matches"]]
    assert any(match["p_first"] is not None for match in matches), "labels are of the judge's own probabilities"
