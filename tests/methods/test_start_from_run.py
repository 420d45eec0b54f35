"""A run that goes on from another run's M1, on real parts: another method, the same model, and nothing to be found by
the auditor."""

from pathlib import Path

import pytest

from examples.worlds.countdown.world import world
from examples.worlds.label import label_run
from selfreward.client.orchestrator import OrchestratorClient
from selfreward.evaluation.bootstrap import Bootstrap
from selfreward.evaluation.models.compare import compared, same_m1
from selfreward.evaluation.report.inputs import load_run
from selfreward.loop.audit.audit import audit
from selfreward.processes.stack import LocalStack
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import verify_folder
from tests.methods.whole_run import small
from tests.support.places import M0

pytestmark = pytest.mark.methods


@pytest.mark.timeout(1500)
def test_spin_goes_on_from_an_m1_that_was_taught_to_judge(tmp_path: Path) -> None:
    m1 = small("countdown", tmp_path, ["loop.iterations=0"])
    judging = 'evaluation.judging={rubric = "countdown", max_tokens = 32}'
    evaluation = ["evaluation.temperature=0.7", "evaluation.top_p=0.9", "evaluation.judged_prompts=4", judging]
    spin = small("spin", tmp_path, ["loop.iterations=1", "loop.start_from=m1", *evaluation])
    with LocalStack(tmp_path / "stack", environment={"SELFREWARD_MODEL": str(M0)}) as stack:
        stack.wait_healthy(timeout=300)
        with OrchestratorClient(stack.urls["orchestrator"]) as client:
            for name, recipe in (("m1", m1), ("spin", spin)):
                client.start(recipe, name)
                *_, last = client.events(name, patience=600)
                assert last["state"] == "done", last["message"]
    store = ArtifactStore(str(tmp_path / "stack" / "artifacts"))
    assert audit(store, "m1") == []
    assert audit(store, "spin") == []
    digests = {
        run: {model["name"]: model["digest"] for model in store.read_json(f"runs/{run}/run.json")["models"]}
        for run in ("m1", "spin")
    }
    assert list(digests["spin"]) == ["M0", "M1", "M2"]
    assert digests["spin"]["M1"] == digests["m1"]["M1"]
    trained, _ = verify_folder(store.fetch("runs/spin/weights/M2"))
    assert trained.lineage.parent == "runs/spin/weights/M1"
    assert trained.lineage.parent_digest == digests["m1"]["M1"]
    runs = []
    for name in ("m1", "spin"):
        label_run(store, name, world())
        runs.append(load_run(store, name))
    assert same_m1(runs)
    # M0 was evaluated once and taken over with its answers.
    assert [model.name for model in runs[1].models] == ["M0", "M1", "M2"]
    assert [len(model.samples) for model in runs[1].models] == [8, 8, 8]
    assert not runs[0].models[0].judged
    entry = compared(runs[1], Bootstrap(100))
    assert entry["over_m0"]["solve_rate_greedy"]["n"] == 8
    assert entry["against_m1"]["by"] == "checker"
    # 8 held-out prompts with 2 answers each.
    assert (entry["against_m1"]["prompts"], entry["against_m1"]["duels"]) == (8, 16)
