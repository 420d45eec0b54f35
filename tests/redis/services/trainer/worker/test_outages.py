"""The trainer's worker while its Redis is full or refuses it. What is published is a stand-in for a trained model."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from selfreward.contracts.training import TRAIN_QUEUE, TrainJob, TrainStatus
from selfreward.redis.connection import RedisRefused, connect
from selfreward.redis.queue import WorkQueue
from selfreward.server.background import cancel_and_wait
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import Lineage, WeightsManifest
from services.trainer.settings import TrainerSettings
from services.trainer.worker.worker import Worker
from tests.support.trainer_jobs import absent_model_job


def finished_job(store: ArtifactStore) -> TrainJob:
    """A job whose output is published already."""
    store.publish("out", lambda _: None, lambda _: WeightsManifest(files={}, lineage=Lineage(stage="M0")))
    return absent_model_job()


def test_a_job_that_is_done_waits_for_redis_in_the_hand_of_its_worker(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        store = ArtifactStore(str(tmp_path))
        async with connect(redis_url) as redis:
            settings = TrainerSettings(claim_after_seconds=60, consumer="one", work_dir=tmp_path / "work")
            worker = Worker(redis, store, settings)
            queue = WorkQueue(redis, TRAIN_QUEUE)
            job = finished_job(store)
            checkpoints = settings.job_folder(job.id) / "checkpoints"
            (checkpoints / "checkpoint-1").mkdir(parents=True)
            working = asyncio.create_task(worker.run())
            try:
                await asyncio.sleep(0.5)
                # A full Redis takes no job: this one came just before.
                async with redis.pipeline(transaction=True) as steps:
                    queue.put_within(steps, [(job.id, job.model_dump(mode="json"))])
                    steps.config_set("maxmemory", 1)
                    await steps.execute()
                await asyncio.sleep(2)
                assert await queue.length() == 1
            finally:
                await redis.config_set("maxmemory", 0)
            async with asyncio.timeout(10):
                while await queue.length():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            status = await worker.status("a")
            assert isinstance(status, TrainStatus)
            assert status.state == "done"
            assert not checkpoints.exists()
            await cancel_and_wait([working])

    asyncio.run(main())


def test_a_worker_that_redis_refuses_ends_with_the_reason(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with Redis.from_url(redis_url) as owner, connect(redis_url) as redis:
            await owner.config_set("requirepass", "secret")
            try:
                worker = Worker(redis, ArtifactStore(str(tmp_path)), TrainerSettings())
                with pytest.raises(RedisRefused, match="SELFREWARD_REDIS_URL"):
                    await asyncio.wait_for(worker.run(), 10)
            finally:
                await owner.config_set("requirepass", "")

    asyncio.run(main())
