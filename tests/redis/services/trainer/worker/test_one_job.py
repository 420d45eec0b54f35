"""A trainer that is started for one job, as the pod of a Kubernetes Job is: it ends with the job, and says how.

What is published is a stand-in for a trained model, so that no process has to train one.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from selfreward.contracts.base import Message
from selfreward.contracts.training import TrainJob, queue_of
from selfreward.processes.child import free_port
from selfreward.redis.connection import connect
from selfreward.redis.queue import WorkQueue
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import Lineage, WeightsManifest


def put(redis_url: str, queue: str, job_id: str, body: dict[str, Any]) -> None:
    async def main() -> None:
        async with connect(redis_url) as redis:
            assert await WorkQueue(redis, queue).put(job_id, body)

    asyncio.run(main())


def length(redis_url: str, queue: str) -> int:
    async def main() -> int:
        async with connect(redis_url) as redis:
            return await WorkQueue(redis, queue).length()

    return asyncio.run(main())


def trainer(redis_url: str, folder: Path, job_id: str, port: int = 0) -> "subprocess.Popen[bytes]":
    settings = {"REDIS_URL": redis_url, "ARTIFACTS": str(folder), "WORK_DIR": str(folder / "work")}
    settings |= {"TRAIN_JOB": job_id, "PORT": str(port or free_port())}
    environment = os.environ | {f"SELFREWARD_{name}": value for name, value in settings.items()}
    return subprocess.Popen([sys.executable, "-m", "services.trainer"], env=environment)


def finished(folder: Path, job_id: str) -> dict[str, Any]:
    """A job whose output is published already, as its queue holds it."""
    lineage = Lineage(stage="M0")
    ArtifactStore(str(folder)).publish(job_id, lambda _: None, lambda _: WeightsManifest(files={}, lineage=lineage))
    values = {"id": job_id, "run": "r", "stage": "M0", "method": "publish", "init_from": "m", "output": job_id}
    job = TrainJob.model_validate({**values, "canary": [Message(role="user", content="hello")]})
    return job.model_dump(mode="json")


def test_it_does_its_own_job_alone_and_ends(redis_url: str, tmp_path: Path) -> None:
    mine, other = finished(tmp_path, "mine"), finished(tmp_path, "other")
    put(redis_url, queue_of("mine"), "mine", mine)
    put(redis_url, queue_of("other"), "other", other)
    put(redis_url, "train", "third", finished(tmp_path, "third"))
    assert trainer(redis_url, tmp_path, "mine").wait(timeout=120) == 0
    assert [length(redis_url, name) for name in (queue_of("mine"), queue_of("other"), "train")] == [0, 1, 1]
    # Its pod may be started once more, after it ended and before anybody noticed.
    assert trainer(redis_url, tmp_path, "mine").wait(timeout=120) == 0


def test_a_job_that_can_never_succeed_ends_it_with_65(redis_url: str, tmp_path: Path) -> None:
    put(redis_url, queue_of("bad"), "bad", {"id": "bad"})
    assert trainer(redis_url, tmp_path, "bad").wait(timeout=120) == os.EX_DATAERR


def test_an_eviction_is_no_end_of_the_job(redis_url: str, tmp_path: Path) -> None:
    port = free_port()
    process = trainer(redis_url, tmp_path, "mine", port)
    deadline = time.monotonic() + 120
    while True:
        try:
            assert httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=10).json() == {"status": "ok"}
            break
        except httpx.TransportError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) not in (0, os.EX_DATAERR)
