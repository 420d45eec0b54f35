"""A disk that is really full: publishing, a run and a trainer on a small file system of the test's own."""

import asyncio
import sys
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from orchestrator.runs.context import RunContext
from orchestrator.runs.state import ask_to_stop, load, public, stopped_runs
from selfreward.contracts.training import TRAIN_QUEUE, TrainStatus
from selfreward.loop.record import RunState
from selfreward.redis.connection import connect
from selfreward.redis.queue import WorkQueue
from selfreward.server.background import cancel_and_wait
from selfreward.store.artifacts import ArtifactStore
from services.trainer.settings import TrainerSettings
from services.trainer.worker import worker as worker_module
from services.trainer.worker.worker import Worker
from tests.support.disk import fill
from tests.support.trainer_jobs import absent_model_job
from tests.support.watched_run import ended, messages, on_run, recipe


async def shown(context: RunContext, wanted: str) -> RunState:
    """The record, once the run is shown in this state."""
    redis = context.services.redis
    async with asyncio.timeout(10):
        while True:
            state = await load(redis, "one")
            assert state is not None
            if public(state, await stopped_runs(redis))["state"] == wanted:
                return state
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("least", "said"),
    [(1, "disk: 0 MiB free below 1 at "), (0, "disk: [Errno 28] No space left on device")],
    ids=["before a phase", "within a phase"],
)
def test_a_run_pauses_on_a_full_disk_and_goes_on_by_itself(redis_url: str, disk: Path, least: int, said: str) -> None:
    async def check(context: RunContext) -> None:
        filler = fill(disk)
        running = asyncio.create_task(ended(context))
        paused = await shown(context, "paused")
        assert REGISTRY.get_sample_value("selfreward_orchestrator_blocked") == 1
        assert public(paused, set())["message"].startswith(said)
        assert not running.done()
        filler.unlink()
        state = await asyncio.wait_for(running, 10)
        assert (state.state, state.blocked) == ("done", "")
        assert REGISTRY.get_sample_value("selfreward_orchestrator_blocked") == 0
        assert context.services.store.read_json("runs/one/run.json")["journal"]
        told = [event for event in await messages(context) if event["message"].startswith(f"paused: {said}")]
        assert told
        assert not any("state" in event for event in told)
        assert any(event["message"] == "the run goes on" for event in await messages(context))

    on_run(redis_url, str(disk), recipe(), check, min_free_disk=least)


def test_a_run_pauses_while_less_is_free_than_the_setting_asks_for(redis_url: str, store_root: str) -> None:
    async def check(context: RunContext) -> None:
        running = asyncio.create_task(ended(context))
        paused = await shown(context, "paused")
        assert f"free below {1 << 40} at {store_root}; free some or lower min_free_disk" in paused.blocked
        context.services.settings.min_free_disk = 0
        assert (await asyncio.wait_for(running, 10)).state == "done"

    on_run(redis_url, store_root, recipe(), check, min_free_disk=1 << 40)


def test_a_run_that_waits_for_room_can_be_stopped(redis_url: str, disk: Path) -> None:
    async def check(context: RunContext) -> None:
        fill(disk)
        running = asyncio.create_task(ended(context))
        await shown(context, "paused")
        await ask_to_stop(context.services.redis, "one")
        state = await asyncio.wait_for(running, 10)
        assert (state.state, state.blocked) == ("stopped", "")

    on_run(redis_url, str(disk), recipe(), check, min_free_disk=1)


CHILD = """
import json, os, pathlib, sys
folder = pathlib.Path(sys.argv[1]).parent
try:
    (folder / "checkpoint").write_bytes(b"x" * (3 << 20))
except OSError:
    (folder / "checkpoint").unlink()
    sys.exit(os.EX_IOERR)
done = {"id": "a", "state": "done", "digest": "d"}
(folder / "progress.tmp").write_text(json.dumps(done))
(folder / "progress.tmp").rename(folder / "progress.json")
"""


def test_a_job_that_finds_the_disk_full_goes_on_in_the_same_attempt(
    redis_url: str, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child writes 3 MiB in the place of a training process, which writes checkpoints."""

    async def main() -> None:
        async with connect(redis_url) as redis:
            settings = TrainerSettings(
                work_dir=disk / "work", min_free_disk=1, poll_seconds=0.02, consumer="one", max_attempts=1
            )
            worker, queue, job = (
                Worker(redis, ArtifactStore(str(disk)), settings),
                WorkQueue(redis, TRAIN_QUEUE),
                absent_model_job(),
            )
            filler = disk / "filler"
            filler.write_bytes(b"x" * (2 << 20))
            await queue.put(job.id, job.model_dump(mode="json"))
            working = asyncio.create_task(worker.run())
            status = await became(worker, job.id, "waiting")
            assert str(status.error).startswith("disk: a has no space left at ")
            filler.unlink()
            assert (await became(worker, job.id, "done")).digest == "d"
            await cancel_and_wait([working])

    monkeypatch.setattr(worker_module, "job_command", lambda _, spec: [sys.executable, "-c", CHILD, str(spec)])
    asyncio.run(main())


async def became(worker: Worker, job_id: str, state: str) -> TrainStatus:
    """The status of a job once it has this state."""
    async with asyncio.timeout(60):
        while (status := await worker.status(job_id)) is None or status.state != state:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return status


def test_a_training_job_waits_for_room_in_the_hand_of_its_worker(redis_url: str, disk: Path) -> None:
    async def main() -> None:
        async with connect(redis_url) as redis:
            settings = TrainerSettings(work_dir=disk / "work", min_free_disk=5, poll_seconds=0.02, consumer="one")
            store = ArtifactStore(str(disk / "store"))
            worker, queue, job = Worker(redis, store, settings), WorkQueue(redis, TRAIN_QUEUE), absent_model_job()
            await queue.put(job.id, job.model_dump(mode="json"))
            working = asyncio.create_task(worker.run())
            status = await became(worker, job.id, "waiting")
            assert str(status.error).startswith(f"disk: 4 MiB free below 5 at {disk / 'work'}; free some or lower")
            assert not (disk / "work").exists()
            await cancel_and_wait([working])
            assert [work.deliveries for work in await queue.take("one", count=5)] == []
            assert await queue.length() == 1

    asyncio.run(main())
