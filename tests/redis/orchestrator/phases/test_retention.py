"""What a run deletes and what it never deletes, on real artifacts and a real Redis. The generator is a stand-in."""

import asyncio
from pathlib import Path

import pytest

from orchestrator.phases.watching import best_judge
from orchestrator.runs.context import RunContext
from orchestrator.runs.state import create
from selfreward.evaluation.report.write import write_report
from selfreward.loop import paths
from selfreward.loop.record import RunState, Transition, now
from selfreward.processes.child import free_port
from selfreward.redis.announcements import announce
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import InvalidArtifact, Lineage, WeightsManifest
from tests.support.factories import voted
from tests.support.watched_run import Crash, ended, messages, on_run, recipe

STAGES = ["M0", "SFT", "M1", "M2"]


def weights(stage: str) -> str:
    return paths.weights("one", stage)


def publish(store: ArtifactStore) -> None:
    """All models of the run, of two files each."""
    for stage in STAGES:

        def write(folder: Path, stage: str = stage) -> None:
            for name in ("model.safetensors", "config.json"):
                (folder / name).write_text(stage)

        lineage = Lineage(run="one", stage=stage)
        store.publish(weights(stage), write, lambda _, lineage=lineage: WeightsManifest(files={}, lineage=lineage))  # type: ignore[misc]


def files(store: ArtifactStore, stage: str) -> list[str]:
    return sorted(path.name for path in Path(store.path(weights(stage))).iterdir())


def there(store: ArtifactStore) -> list[str]:
    """Models whose weights can be had."""
    found = []
    for stage in STAGES:
        try:
            store.fetch(weights(stage))
        except InvalidArtifact:
            continue
        found.append(stage)
    return found


def test_old_weights_go_and_their_lineage_stays(redis_url: str, store_root: str) -> None:
    """M1 is the best judge and M2 is the newest and served: of M0, SFT, M1 and M2 only SFT can go."""

    async def check(context: RunContext) -> None:
        store = context.services.store
        publish(store)
        state = await ended(context)
        assert (state.state, state.journal[-1].phase) == ("done", "retain")
        assert there(store) == ["M0", "M1", "M2"]
        with pytest.raises(InvalidArtifact, match=r"weights were removed \(retention.keep_checkpoints = 1 of run one"):
            store.fetch(weights("SFT"))
        assert store.read_json(f"{weights('SFT')}/manifest.json")["lineage"]["stage"] == "SFT"
        assert files(store, "SFT") == ["manifest.json", "removed.json"]
        assert [model.name for model in state.models if model.removed] == ["SFT"]
        assert store.read_json("runs/one/retention.json") == {"weights": ["SFT"]}
        assert store.read_json("runs/one/run.json")["models"][1]["removed"] is True
        assert any("weights removed of SFT" in event["message"] for event in await messages(context))

    on_run(redis_url, store_root, recipe({"keep_checkpoints": 1}), check)


def test_nothing_is_removed_unless_the_recipe_asks_for_it(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        publish(context.services.store)
        assert (await ended(context)).journal[-1].phase == "watch_model"
        assert there(context.services.store) == STAGES

    on_run(redis_url, store_root, recipe(), check)


@pytest.mark.parametrize("deletions", [0, 1])
def test_a_crash_on_the_way_ends_in_the_same_place(
    redis_url: str, store_root: str, monkeypatch: pytest.MonkeyPatch, deletions: int
) -> None:
    """Before the first file of a marked model goes, and between its two files."""
    left = deletions
    delete = ArtifactStore.delete

    def crash(store: ArtifactStore, name: str) -> None:
        nonlocal left
        if not left:
            raise Crash
        left -= 1
        delete(store, name)

    async def check(context: RunContext) -> None:
        store = context.services.store
        publish(store)
        with monkeypatch.context() as patch:
            patch.setattr(ArtifactStore, "delete", crash)
            with pytest.raises(Crash):
                await ended(context)
        assert there(store) == ["M0", "M1", "M2"]
        assert store.exists(f"{weights('SFT')}/model.safetensors")
        assert (await ended(context)).state == "done"
        assert not store.exists(f"{weights('SFT')}/model.safetensors")
        assert not store.exists(f"{weights('SFT')}/config.json")
        assert store.read_json("runs/one/retention.json") == {"weights": ["SFT"]}

    on_run(redis_url, store_root, recipe({"keep_checkpoints": 1}), check)


def test_a_disk_without_room_does_not_keep_a_run_from_making_some(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        publish(context.services.store)
        watched = Transition(stage="M2", phase="watch_model", seconds=0, finished_at=now())
        await context.update(journal=[*context.state.journal, watched])
        state = await asyncio.wait_for(ended(context), 20)
        assert state.state == "done"
        assert there(context.services.store) == ["M0", "M1", "M2"]

    on_run(redis_url, store_root, recipe({"keep_checkpoints": 1}), check, min_free_disk=1 << 40)


def test_weights_that_are_served_stay(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        publish(context.services.store)
        await announce(context.services.redis, weights("SFT"), "d")
        assert (await ended(context)).state == "done"
        assert there(context.services.store) == STAGES

    on_run(redis_url, store_root, recipe({"keep_checkpoints": 1}), check)


def test_weights_that_another_run_is_to_start_from_stay(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        store = context.services.store
        publish(store)
        other = context.recipe.model_copy(update={"model": store.path(weights("SFT"))})
        await create(
            context.services.redis, RunState(run="two", recipe=other, recipe_hash=other.hash, created_at=now())
        )
        assert (await ended(context)).state == "done"
        assert there(store) == STAGES

    on_run(redis_url, store_root, recipe({"keep_checkpoints": 1}), check)


def test_nothing_goes_while_a_generator_does_not_say_what_it_serves(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        publish(context.services.store)
        assert (await ended(context)).state == "done"
        assert there(context.services.store) == STAGES
        assert any("no weights are removed while" in event["message"] for event in await messages(context))

    nowhere = f"http://127.0.0.1:{free_port()}"
    on_run(redis_url, store_root, recipe({"keep_checkpoints": 1}), check, generator_url=nowhere)


def test_a_rollback_goes_to_a_model_that_has_its_weights(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        best = await best_judge(context)
        assert best is not None
        assert best[0].name == "M1"
        marked = [model.model_copy(update={"removed": model.name == "M1"}) for model in context.state.models]
        await context.update(models=marked)
        best = await best_judge(context)
        assert best is not None
        assert best[0].name == "M2"

    on_run(redis_url, store_root, recipe(), check)


def test_a_report_of_a_run_without_its_old_rollouts_is_the_same(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        store = context.services.store
        for stage in ("M1", "M2"):
            store.write_jsonl(f"runs/one/rollouts/{stage}.jsonl", [voted("p", (5,)).model_dump(mode="json")])
        assert (await ended(context)).state == "done"
        assert not store.exists("runs/one/rollouts/M1.jsonl")
        assert store.exists("runs/one/rollouts/M2.jsonl")
        assert store.read_json("runs/one/retention.json") == {"rollouts": ["M1"]}
        await asyncio.to_thread(write_report, store, "one")
        report = store.read_json("runs/one/report.json")
        assert [model["name"] for model in report["models"]] == ["M1", "M2"]
        assert report["models"][0]["judge_fixed"]["pairwise_accuracy"]["value"] == 1.0

    on_run(redis_url, store_root, recipe({"keep_rollouts": 1}), check)
