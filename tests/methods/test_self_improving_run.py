"""Training on own verdicts end to end in a small form, on real parts, with GRPO and with PPO: the policy writes
questions, is probed, and trained; the auditor and the exact checker look at it afterwards."""

import json
from pathlib import Path

import pytest

from examples.worlds.countdown.world import world
from examples.worlds.monitor import watch
from selfreward.contracts.reinforcement import Question, Sample
from selfreward.evaluation.report.inputs import load_run
from selfreward.evaluation.report.report import build_report
from tests.methods.whole_run import small, violations, whole_run

pytestmark = pytest.mark.methods

GROUP, BATCH = 8, 16
_SMALL = ["loop.iterations=1", "prompts.per_iteration=24", f"rl.batch_size={BATCH}", "rl.save_every=1"]


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_a_policy_is_trained_on_its_own_verdicts(algorithm: str, tmp_path: Path) -> None:
    asked = small("self_improving", tmp_path, [*_SMALL, f"rl.algorithm={algorithm}"])
    ended = whole_run(asked, tmp_path / "stack")
    assert ended.state == "done", ended.message
    assert violations(ended) == []
    record = ended.store.read_json(f"runs/{ended.run}/run.json")
    versions = {model["name"]: model["policy_version"] for model in record["models"]}
    questions = [Question.model_validate(row) for row in ended.rows("data/questions-M2.jsonl")]
    assert all(question.pass_rate is not None and 0 < question.pass_rate < 1 for question in questions)
    assert all(question.prompt_id.startswith("m2-") for question in questions)
    samples = [Sample.model_validate(row) for row in ended.rows("samples/M2.jsonl")]
    steps = len(questions) * GROUP // BATCH
    assert [sample.step for sample in samples] == [step for step in range(1, steps + 1) for _ in range(BATCH)]
    assert {sample.judge_version for sample in samples} - {None} == {versions["M1"]}
    (stage,) = watch(ended.store, ended.run, world())
    assert len(stage["steps"]) == steps
    report = build_report(load_run(ended.store, ended.run), resamples=100)
    assert json.loads(json.dumps(report["rewards"])) == [stage]
