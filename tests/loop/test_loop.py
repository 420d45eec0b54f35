"""One whole small iteration on real parts, while they are killed, paused and cut off: vLLM answers and judges, TRL
trains, the generator takes the new weights, and everything is accounted for once."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from selfreward.client.orchestrator import OrchestratorClient
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop.audit.audit import audit
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import verify_folder
from tests.harness.chaos.faults import Faults
from tests.harness.chaos.run import Outcome, run_through
from tests.harness.chaos.stack import ChaosStack
from tests.support.small_recipe import HELDOUT, JUDGED, PROMPTS, RANKED, SAMPLES, small_recipe

RUN, KILLS = "loop", 8
STAGES = ["M0", "SFT", "M1", "M2"]


@dataclass(frozen=True)
class Finished:
    """What is left of a run: its artifacts, how it ended, what was done to it, and its pairs as they are exported."""

    store: ArtifactStore
    outcome: Outcome
    faults: Faults
    exported: bytes
    events: list[dict[str, Any]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("loop")
    with ChaosStack(folder / "stack") as stack:
        faults = Faults(stack, seed=0, kills=KILLS)
        outcome = run_through(stack, small_recipe(folder), RUN, faults, timeout=600)
        stack.local.wait_healthy()
        with OrchestratorClient(stack.local.urls["orchestrator"]) as client:
            exported, events = client.export(RUN, "M2"), list(client.events(RUN))
        yield Finished(ArtifactStore(str(stack.local.folder / "artifacts")), outcome, faults, exported, events)


@pytest.mark.timeout(900)
def test_a_run_ends_well_whatever_is_killed_and_an_auditor_finds_nothing(finished: Finished) -> None:
    assert finished.outcome.state == "done", finished.outcome.message
    assert finished.outcome.violations == []
    assert finished.faults.killed == KILLS, finished.faults.by_kind()
    assert len(finished.exported.splitlines()) == len(list(finished.store.read_jsonl(f"runs/{RUN}/pairs/M2.jsonl")))
    assert {(event["stage"], event["phase"]) for event in finished.events} > {("M2", "train"), ("M2", "reload")}
    summary = finished.store.read_json(f"runs/{RUN}/iterations/M2.json")
    assert summary["prompts"] == PROMPTS
    assert summary["chosen_rejected_gap"] > 0
    assert set(summary["seconds"]) == {"rollout", "train", "reload", "evaluate"}


def test_each_model_is_published_once_of_the_right_parent_under_growing_versions(finished: Finished) -> None:
    models = finished.store.read_json(f"runs/{RUN}/run.json")["models"]
    assert [model["name"] for model in models] == STAGES
    versions = [int(model["policy_version"].removeprefix("policy@")) for model in models]
    assert all(later > earlier for earlier, later in pairwise(versions))
    parents = {}
    for model in models:
        manifest, digest = verify_folder(finished.store.fetch(model["artifact"]))
        assert digest == model["digest"]
        parents[model["name"]] = manifest.lineage.parent
    weights = {stage: f"runs/{RUN}/weights/{stage}" for stage in STAGES}
    assert parents == {"M0": None, "SFT": weights["M0"], "M1": weights["M0"], "M2": weights["M1"]}


def test_what_trained_m2_was_answered_and_judged_by_m1_and_judge_pairs_by_the_baseline(finished: Finished) -> None:
    store = finished.store
    versions = {model["name"]: model["policy_version"] for model in store.read_json(f"runs/{RUN}/run.json")["models"]}
    rollouts = [Rollout.model_validate(row) for row in store.read_jsonl(f"runs/{RUN}/rollouts/M2.jsonl")]
    assert {rollout.policy_version for rollout in rollouts} == {versions["M1"]}
    assert {rollout.judge_version for rollout in rollouts} == {versions["M1"]}
    assert all(len(rollout.responses) == 4 for rollout in rollouts)
    assert all(len(judgment.votes) == 3 for rollout in rollouts for judgment in rollout.judgments)
    pairs = [PreferencePair.model_validate(row) for row in store.read_jsonl(f"runs/{RUN}/pairs/M2.jsonl")]
    assert {pair.policy_version for pair in pairs if pair.kind == "actor"} == {versions["M1"]}
    assert {pair.policy_version for pair in pairs if pair.kind == "judge"} <= {versions["SFT"]}
    eft = list(store.read_jsonl(f"runs/{RUN}/data/eft.jsonl"))
    assert eft
    assert all("Score:" in row["completion"][0]["content"] for row in eft)
    assert all(row["prompt"][-1]["role"] == "user" for row in eft)


def test_each_trained_model_is_evaluated_on_the_same_prompts(finished: Finished) -> None:
    for stage in STAGES[1:]:
        folder = f"runs/{RUN}/evaluation/{stage}"
        samples, greedy, ranked = (
            [Rollout.model_validate(row) for row in finished.store.read_jsonl(f"{folder}/{part}.jsonl")]
            for part in ("samples", "greedy", "eft_eval")
        )
        assert [len(rollout.responses) for rollout in samples] == [SAMPLES] * HELDOUT
        assert [len(rollout.responses) for rollout in greedy] == [1] * HELDOUT
        assert sum(bool(rollout.judgments) for rollout in samples) == JUDGED
        assert len(ranked) == RANKED
        assert all(len(rollout.judgments) == 2 for rollout in ranked)


def test_the_base_model_answers_the_same_prompts_and_judges_nothing(finished: Finished) -> None:
    folder = f"runs/{RUN}/evaluation/M0"
    for part, answers in (("samples", SAMPLES), ("greedy", 1)):
        rollouts = [Rollout.model_validate(row) for row in finished.store.read_jsonl(f"{folder}/{part}.jsonl")]
        assert [len(rollout.responses) for rollout in rollouts] == [answers] * HELDOUT
        assert not any(rollout.judgments for rollout in rollouts)
    assert not finished.store.exists(f"{folder}/eft_eval.jsonl")


def _rows(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        change(rows)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    return apply


def _last_journal_entries_swapped(path: Path) -> None:
    record = json.loads(path.read_text())
    record["journal"][-2:] = reversed(record["journal"][-2:])
    path.write_text(json.dumps(record))


DAMAGE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a lost prompt": ("rollouts/M2.jsonl", _rows(lambda rows: rows.pop()), "accounting"),
    "a prompt done twice": ("rollouts/M2.jsonl", _rows(lambda rows: rows.append(rows[0])), "accounting"),
    "a lost vote": ("rollouts/M2.jsonl", _rows(lambda rows: rows[0]["judgments"][0]["votes"].pop()), "accounting"),
    "another policy": ("rollouts/M2.jsonl", _rows(lambda rows: rows[0].update(policy_version="policy@0")), "policy"),
    "a lost pair": ("pairs/M2.jsonl", _rows(lambda rows: rows.pop(0)), "pairs"),
    "a lost evaluation": ("evaluation/M2/greedy.jsonl", _rows(lambda rows: rows.pop()), "accounting"),
    "a truncated file": ("data/eft.jsonl", lambda path: path.write_bytes(path.read_bytes()[:-9]), "half-written"),
    "weights without manifest": ("weights/M1/manifest.json", lambda path: path.unlink(), "half-written"),
    "a changed checkpoint": ("weights/M2/model.safetensors", lambda path: path.write_bytes(b"no weights"), "manifest"),
    "phases out of order": ("run.json", _last_journal_entries_swapped, "journal"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_auditor_finds(damage: str, finished: Finished, tmp_path: Path) -> None:
    name, harm, kind = DAMAGE[damage]
    shutil.copytree(Path(finished.store.path(f"runs/{RUN}")), tmp_path / "runs" / RUN)
    harm(tmp_path / "runs" / RUN / name)
    assert kind in {violation.kind for violation in audit(ArtifactStore(str(tmp_path)), RUN)}


def test_the_auditor_finds_a_checkpoint_of_other_parents(finished: Finished, tmp_path: Path) -> None:
    runs = tmp_path / "runs" / RUN
    shutil.copytree(Path(finished.store.path(f"runs/{RUN}")), runs)
    shutil.rmtree(runs / "weights" / "M1")
    shutil.copytree(runs / "weights" / "SFT", runs / "weights" / "M1")
    found = {violation.kind for violation in audit(ArtifactStore(str(tmp_path)), RUN)}
    assert {"lineage", "manifest"} <= found
