"""One whole small iteration on real parts: vLLM answers and judges, TRL trains, the generator takes the new weights."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from examples.countdown.seed_data import build
from selfreward.artifacts import ArtifactStore
from selfreward.config import Recipe, load_recipe
from selfreward.contracts import PreferencePair, Rollout
from selfreward.local import LocalStack
from selfreward.manifest import verify_folder
from selfreward.orchestrator_client import OrchestratorClient

ROOT = Path(__file__).resolve().parents[2]
STAGES = ["M0", "SFT", "M1", "M2"]
KILLED_AT = {("SFT", "train"), ("M2", "rollouts")}
OVERRIDES = [
    "loop.iterations=1",
    "prompts.per_iteration=16",
    "judging.max_tokens=32",
    "eft.judgments=8",
    "pairs.judge_pairs=0.5",
    "evaluation.prompts=8",
    "evaluation.samples=2",
    "evaluation.judged_prompts=4",
    *(f"{section}.epochs=1" for section in ("baseline_sft", "sft", "dpo")),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The services of `make demo`, as it starts them."""
    # A killed replica's lease and work are to pass on in test time.
    environment = {"SELFREWARD_LEASE_S": "3", "SELFREWARD_CLAIM_AFTER_S": "3"}
    with LocalStack(tmp_path_factory.mktemp("stack"), environment=environment) as running:
        running.wait_healthy()
        yield running


def small_recipe(folder: Path) -> Recipe:
    """The demo's recipe on a few rows of the demo's data."""
    kept = {"ift": 64, "eft": 24, "eft_eval": 6, "prompts": 16, "heldout": 8}
    paths = []
    for name, rows in build(0).items():
        # Two answers, the best and the worst, so that some judgments of an untrained judge agree with the ranks.
        for row in rows if name.startswith("eft") else []:
            ranked = sorted(row["responses"], key=lambda response: response["rank"])
            row["responses"] = [ranked[0], ranked[-1]]
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows[: kept[name]]))
        paths.append(f"data.{name}={json.dumps(str(path))}")
    model = json.dumps(str(ROOT / "examples" / "countdown" / "m0"))
    return load_recipe(ROOT / "recipes" / "countdown.toml", [f"model={model}", *paths, *OVERRIDES], environment={})


@pytest.mark.timeout(900)
def test_a_whole_iteration_runs_on_real_parts_though_the_orchestrator_is_killed_twice(
    stack: LocalStack, tmp_path: Path
) -> None:
    recipe, kills = small_recipe(tmp_path), 0
    with OrchestratorClient(stack.urls["orchestrator"]) as client:
        client.start(recipe, "loop")
        events = []
        for event in client.events("loop"):
            events.append(event)
            if len({(seen["stage"], seen["phase"]) for seen in events} & KILLED_AT) > kills:
                kills += 1
                stack.restart("orchestrator")
        assert events[-1]["state"] == "done", events[-1]["message"]
        assert kills == 2
        exported = client.export("loop", "M2")
    assert {(event["stage"], event["phase"]) for event in events} > {("M2", "train"), ("M2", "reload")}
    store = ArtifactStore(str(stack.folder / "artifacts"))
    record = store.read_json("runs/loop/run.json")
    _check_models(store, record["models"])
    _check_data(store)
    _check_evaluation(store)
    assert exported[:4] == b"PAR1"
    summary = store.read_json("runs/loop/iterations/M2.json")
    assert summary["prompts"] == 16 == sum(summary[name] for name in ("pairs", "ties", "unscored", "below_margin"))
    assert summary["chosen_rejected_gap"] > 0
    assert set(summary["seconds"]) == {"rollout", "train", "reload", "evaluate"}


def _check_models(store: ArtifactStore, models: list[dict[str, str]]) -> None:
    """Four published checkpoints, each of the right parent, served under growing versions."""
    assert [model["name"] for model in models] == STAGES
    versions = [int(model["policy_version"].removeprefix("policy@")) for model in models]
    assert all(later > earlier for earlier, later in pairwise(versions))
    parents = {}
    for model in models:
        manifest, digest = verify_folder(store.fetch(model["artifact"]))
        assert digest == model["digest"]
        parents[model["name"]] = manifest.lineage.parent
    weights = {stage: f"runs/loop/weights/{stage}" for stage in STAGES}
    assert parents == {"M0": None, "SFT": weights["M0"], "M1": weights["M0"], "M2": weights["M1"]}


def _check_data(store: ArtifactStore) -> None:
    """Everything that trained M2 was answered and judged by M1, and judged EFT answers by the SFT baseline."""
    versions = {model["name"]: model["policy_version"] for model in store.read_json("runs/loop/run.json")["models"]}
    rollouts = [Rollout.model_validate(row) for row in store.read_jsonl("runs/loop/rollouts/M2.jsonl")]
    assert {rollout.policy_version for rollout in rollouts} == {versions["M1"]}
    assert {rollout.judge_version for rollout in rollouts} == {versions["M1"]}
    assert all(len(rollout.responses) == 4 for rollout in rollouts)
    assert all(len(judgment.votes) == 3 for rollout in rollouts for judgment in rollout.judgments)
    pairs = [PreferencePair.model_validate(row) for row in store.read_jsonl("runs/loop/pairs/M2.jsonl")]
    assert {pair.policy_version for pair in pairs if pair.kind == "actor"} == {versions["M1"]}
    assert {pair.policy_version for pair in pairs if pair.kind == "judge"} <= {versions["SFT"]}
    eft = list(store.read_jsonl("runs/loop/data/eft.jsonl"))
    assert eft
    assert all("Score:" in row["completion"][0]["content"] for row in eft)
    assert all(row["prompt"][-1]["role"] == "user" for row in eft)


def _check_evaluation(store: ArtifactStore) -> None:
    """Each trained model was sampled and greedy on the same prompts, and judged the same human-ranked answers."""
    for stage in STAGES[1:]:
        folder = f"runs/loop/evaluation/{stage}"
        samples = [Rollout.model_validate(row) for row in store.read_jsonl(f"{folder}/samples.jsonl")]
        greedy = [Rollout.model_validate(row) for row in store.read_jsonl(f"{folder}/greedy.jsonl")]
        ranked = [Rollout.model_validate(row) for row in store.read_jsonl(f"{folder}/eft_eval.jsonl")]
        assert [len(rollout.responses) for rollout in samples] == [2] * 8
        assert [len(rollout.responses) for rollout in greedy] == [1] * 8
        assert sum(bool(rollout.judgments) for rollout in samples) == 4
        assert len(ranked) == 6
        assert all(len(rollout.judgments) == 2 for rollout in ranked)
