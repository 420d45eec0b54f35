"""The recipe self_improving end to end in a small form, on real parts, with GRPO and with PPO: the policy writes
questions, is probed, and trained on its own verdicts; the auditor and the exact checker look at it afterwards."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.inputs import load_run
from evaluation.report import build_report
from examples.countdown.monitor import watch
from orchestrator.audit import audit
from selfreward.artifacts import ArtifactStore
from selfreward.local import LocalStack
from selfreward.orchestrator_client import OrchestratorClient
from selfreward.rl_training import Question, Sample
from tests.loop.small import ROOT, small_recipe

pytestmark = pytest.mark.methods

GROUP, BATCH = 8, 16
_OVERRIDES = [
    "prompts.per_iteration=24",
    f"rl.batch_size={BATCH}",
    "rl.save_every=1",
    "eft.judgments=8",
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    folder = tmp_path_factory.mktemp("self-improving")
    model = str(ROOT / "examples" / "countdown" / "m0")
    with LocalStack(folder, environment={"SELFREWARD_MODEL": model}) as running:
        running.wait_healthy(timeout=400)
        yield running


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_a_policy_is_trained_on_its_own_verdicts(algorithm: str, stack: LocalStack, tmp_path: Path) -> None:
    asked = small_recipe(tmp_path, [*_OVERRIDES, f"rl.algorithm={algorithm}"], "self_improving")
    with OrchestratorClient(stack.urls["orchestrator"]) as client:
        run = client.start(asked, algorithm)["run"]
        for event in client.events(run, patience=600):
            last = event
    assert last["state"] == "done", last
    store = ArtifactStore(str(stack.folder / "artifacts"))
    assert audit(store, run) == []
    record = store.read_json(f"runs/{run}/run.json")
    versions = {model["name"]: model["policy_version"] for model in record["models"]}
    questions = [Question.model_validate(row) for row in store.read_jsonl(f"runs/{run}/data/questions-M2.jsonl")]
    assert all(question.pass_rate is not None and 0 < question.pass_rate < 1 for question in questions)
    assert all(question.prompt_id.startswith("m2-") for question in questions)
    samples = [Sample.model_validate(row) for row in store.read_jsonl(f"runs/{run}/samples/M2.jsonl")]
    steps = len(questions) * GROUP // BATCH
    assert [sample.step for sample in samples] == [step for step in range(1, steps + 1) for _ in range(BATCH)]
    assert {sample.judge_version for sample in samples} - {None} == {versions["M1"]}
    (stage,) = watch(store, run)
    assert len(stage["steps"]) == steps
    report = build_report(load_run(store, run), resamples=100)
    assert json.loads(json.dumps(report["rewards"])) == [stage]
