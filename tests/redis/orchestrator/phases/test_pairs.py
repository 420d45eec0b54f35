"""From a round's rollouts to its training data on real Redis and real artifacts, as the auditor sees them."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.phases import pairs as pairs_phase
from orchestrator.runs.context import RunContext, Services
from orchestrator.runs.errors import RunFailed
from orchestrator.runs.lease import acquire
from orchestrator.settings import OrchestratorSettings
from selfreward.client.generator import GeneratorClient
from selfreward.client.http import ServiceClient
from selfreward.contracts.rollouts import Rollout
from selfreward.loop import paths
from selfreward.loop.audit.rounds import check_stage
from selfreward.loop.export import export_pairs
from selfreward.loop.load import RunRecipe
from selfreward.loop.record import RunState, now
from selfreward.recipe.recipe import Recipe
from selfreward.redis.connection import connect
from selfreward.store.artifacts import ArtifactStore
from tests.support.factories import rollout
from tests.support.methods import train_job

ROLLOUTS = [
    rollout({"A": [5], "B": [3]}, "p0"),
    rollout({"A": [4], "B": [1]}, "p1"),
    rollout({"A": [2], "B": [2]}, "p2"),
]


def recipe(**sections: Any) -> Recipe:
    data = {"ift": "i", "eft": "e", "prompts": "p", "heldout": "h"}
    values = {"sampling": {"n": 2}, "judging": {"votes": 1}, **sections}
    return RunRecipe.model_validate({"name": "r", "model": "m", "data": data, **values})


def build(
    redis_url: str, store_root: str, run_recipe: Recipe, rollouts: Sequence[Rollout], stage: str = "M2"
) -> list[str]:
    """Perform the phase `pairs` of a stage; returns what the auditor says about the round then."""
    store = ArtifactStore(store_root)
    store.write_jsonl(paths.data("one", f"prompts-{stage}"), [{"prompt_id": row.prompt_id} for row in rollouts])
    store.write_jsonl(f"runs/one/rollouts/{stage}.jsonl", [row.model_dump(mode="json") for row in rollouts])

    async def main() -> None:
        async with connect(redis_url) as redis, ServiceClient("http://nothing") as service:
            settings = OrchestratorSettings(redis_url=redis_url, artifacts=store_root)
            services = Services(settings, redis, store, GeneratorClient(service), service)
            lease = await acquire(redis, "a", 60)
            assert lease is not None
            state = RunState(run="one", recipe=run_recipe, recipe_hash=run_recipe.hash, created_at=now(), stage=stage)
            await pairs_phase.pairs(RunContext(services, lease, state))
            await lease.release()

    asyncio.run(main())
    return audited(store, run_recipe, stage)


def audited(store: ArtifactStore, run_recipe: Recipe, stage: str = "M2") -> list[str]:
    return [violation.detail for violation in check_stage(store, "one", run_recipe, stage, "policy@1")]


def prompts_of(store_root: str, name: str) -> list[str]:
    return [row["prompt_id"] for row in ArtifactStore(store_root).read_jsonl(name)]


def test_filters_of_the_recipe_reach_the_pairs_and_the_record(redis_url: str, store_root: str) -> None:
    run_recipe = recipe(pairs={"max_rejected_score": 2})
    assert build(redis_url, store_root, run_recipe, ROLLOUTS) == []
    assert prompts_of(store_root, paths.pairs("one", "M2")) == ["p1"]
    summary = ArtifactStore(store_root).read_json("runs/one/iterations/M2.json")
    assert (summary["pairs"], summary["filtered"], summary["ties"]) == (1, 1, 1)
    assert audited(ArtifactStore(store_root), recipe()) != []


def test_filters_that_leave_nothing_end_the_run_with_the_counts(redis_url: str, store_root: str) -> None:
    with pytest.raises(RunFailed, match=r"no preference pairs came of 3 prompts.*'filtered': 2"):
        build(redis_url, store_root, recipe(pairs={"min_chosen_score": 6}), ROLLOUTS)


def test_positives_are_what_the_trainer_is_given_and_the_auditor_checks_them(redis_url: str, store_root: str) -> None:
    run_recipe = recipe(loop={"train_on": "positives"}, pairs={"min_chosen_score": 5})
    assert build(redis_url, store_root, run_recipe, ROLLOUTS) == []
    name = paths.positives("one", "M2")
    assert name in train_job("one", run_recipe, "M2", ROLLOUTS[0].prompt).datasets
    store = ArtifactStore(store_root)
    (row,) = store.read_jsonl(name)
    assert row["completion"] == [{"role": "assistant", "content": "A"}]
    store.write_jsonl(name, [row, row])
    assert audited(store, run_recipe) == ["not the chosen answers of the pairs"]


def test_spin_trains_on_all_of_the_round_before_once_more(redis_url: str, store_root: str) -> None:
    run_recipe = recipe(method="spin", sampling={"n": 1}, loop={"use_eft": False, "iterations": 3, "replay": [1.0]})
    rounds = {
        stage: [rollout([f"own {stage}", "gold"], f"p{n}") for n in range(3)] + [rollout(["gold", "gold"], "p3")]
        for stage in ("M2", "M3")
    }
    for stage, rows in rounds.items():
        assert build(redis_url, store_root, run_recipe, rows, stage) == []
    store = ArtifactStore(store_root)
    summary = store.read_json("runs/one/iterations/M3.json")
    assert (summary["prompts"], summary["kept"], summary["pairs"], summary["ties"]) == (4, 3, 3, 1)
    assert (summary["chosen_rejected_gap"], summary["score_histogram"], summary["mean_length"]) == (None, {}, 5.5)
    new, again = train_job("one", run_recipe, "M3", rounds["M3"][0].prompt).datasets
    assert list(store.read_jsonl(again)) == list(store.read_jsonl(paths.pairs("one", "M2")))
    assert all(row["rejected"][0]["content"] == "own M3" for row in store.read_jsonl(new))
    assert len(export_pairs(store, "one", "M3").splitlines()) == 6
    store.write_jsonl(again, list(store.read_jsonl(new)))
    assert audited(store, run_recipe, "M3") == ["not drawn of the earlier rounds' pairs"]


def test_replay_takes_a_share_of_the_actor_pairs_and_never_more(redis_url: str, store_root: str) -> None:
    run_recipe = recipe(loop={"iterations": 3, "replay": [0.3, 0.15]})
    for stage in ("M2", "M3", "M4"):
        rows = [rollout({"A": [5], "B": [3]}, f"{stage}-{number}") for number in range(25)]
        assert build(redis_url, store_root, run_recipe, rows, stage) == []
    drawn = prompts_of(store_root, paths.replay("one", "M4"))
    assert [name[:2] for name in drawn] == ["M3"] * 7 + ["M2"] * 3
    assert len(set(drawn)) == 10


def test_dno_trains_on_several_pairs_of_a_prompt_and_the_record_adds_up(redis_url: str, store_root: str) -> None:
    run_recipe = recipe(method="dno", pairs={"min_chosen_score": 5, "margin": 2, "own_margin": 1})
    rows = [
        rollout({"own": [5], "bad": [1], "teacher": [6]}, "p0"),
        rollout({"own": [4], "bad": [1], "teacher": [4]}, "p1"),
    ]
    assert build(redis_url, store_root, run_recipe, rows) == []
    assert prompts_of(store_root, paths.pairs("one", "M2")) == ["p0", "p0"]
    summary = ArtifactStore(store_root).read_json("runs/one/iterations/M2.json")
    assert (summary["prompts"], summary["kept"], summary["pairs"], summary["filtered"]) == (2, 1, 2, 1)
    assert summary["chosen_rejected_gap"] == 4.5


def test_only_an_outside_annotator_may_judge_under_another_name(redis_url: str, store_root: str) -> None:
    run_recipe = recipe(judging={"votes": 1, "annotator": "engine"}, loop={"use_eft": False})
    rows = [row.model_copy(update={"judge_version": "teacher"}) for row in ROLLOUTS]
    assert build(redis_url, store_root, run_recipe, rows) == []
    (pair, _) = ArtifactStore(store_root).read_jsonl(paths.pairs("one", "M2"))
    assert (pair["policy_version"], pair["judge_version"]) == ("policy@1", "teacher")
    assert audited(ArtifactStore(store_root), recipe()) == ["judged by ['teacher'], policy@1 was to judge"]
