"""An attempt on several nodes ends on each of them, whatever ended it: whoever runs them starts all again."""

import asyncio
import sys
from pathlib import Path

import pytest

from selfreward.contracts.training import TrainStatus, queue_of, status_key
from selfreward.redis.connection import connect
from selfreward.redis.queue import WorkQueue
from selfreward.store.artifacts import ArtifactStore
from services.trainer.__main__ import exit_status
from services.trainer.settings import TrainerSettings
from services.trainer.worker import node as follower_module
from services.trainer.worker import worker as worker_module
from services.trainer.worker.node import WorkerNode
from services.trainer.worker.worker import Worker
from tests.support.trainer_jobs import absent_model_job


def _ends_with(status: int) -> list[str]:
    return [sys.executable, "-c", f"raise SystemExit({status})"]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainerSettings:
    """Of one of two nodes."""
    monkeypatch.setenv("PET_NNODES", "2")
    return TrainerSettings(train_job="a", work_dir=tmp_path / "work", poll_seconds=0.02, min_free_disk=0)


def test_the_first_node_leaves_with_a_failed_attempt_and_the_job_waits_for_the_next(
    redis_url: str, tmp_path: Path, settings: TrainerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "job_command", lambda *_: _ends_with(3))

    async def main() -> None:
        async with connect(redis_url) as redis:
            queue, worker = WorkQueue(redis, queue_of("a")), Worker(redis, ArtifactStore(str(tmp_path)), settings)
            await queue.open()
            await queue.put("a", absent_model_job().model_dump(mode="json"))
            async with asyncio.timeout(60):
                await worker.run()
            assert exit_status(worker.outcome) == 1
            assert await queue.length() == 1
            status = await worker.status("a")
            assert status is not None
            assert "attempt 1 ended with status 3" in str(status.error)

    asyncio.run(main())


@pytest.mark.parametrize(("child", "left_with"), [(0, 0), (3, 1)])
def test_a_follower_leaves_with_its_processes(
    redis_url: str, settings: TrainerSettings, monkeypatch: pytest.MonkeyPatch, child: int, left_with: int
) -> None:
    monkeypatch.setenv("PET_NODE_RANK", "1")
    monkeypatch.setattr(follower_module, "node_command", lambda _: _ends_with(child))
    assert exit_status(_follow(redis_url, settings)) == left_with
    assert (settings.work_dir / "train" / "a.node-1.log").is_file()
    assert not settings.job_folder("a").exists()


@pytest.mark.parametrize(("state", "left_with"), [("done", 0), ("failed", 65)])
def test_a_follower_of_a_job_that_has_ended_starts_nothing(
    redis_url: str, settings: TrainerSettings, state: str, left_with: int
) -> None:
    status = TrainStatus.model_validate({"id": "a", "state": state})
    assert exit_status(_follow(redis_url, settings, status)) == left_with
    assert not settings.work_dir.exists()


def _follow(redis_url: str, settings: TrainerSettings, status: TrainStatus | None = None) -> TrainStatus | None:
    async def main() -> TrainStatus | None:
        async with connect(redis_url) as redis:
            if status is not None:
                await redis.set(status_key("a"), status.model_dump_json())
            follower = WorkerNode(redis, settings, "a")
            async with asyncio.timeout(60):
                await follower.run()
            return follower.outcome

    return asyncio.run(main())
