"""The worker as it is deployed: a process that drains the queue, is killed, is stopped, and loses nothing."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from redis import Redis

from selfreward.contracts.training import TrainJob, TrainStatus
from selfreward.processes.child import free_port
from selfreward.redis.connection import connect
from selfreward.redis.queue import WorkQueue
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import verify_folder
from tests.support.trainer_jobs import BASE, publish_job, sft_job, write_data

_WAIT = 200
_HYPER = {"save_every": 4}  # 40 steps


@dataclass
class Stack:
    """A store, a queue and the worker process on them."""

    redis_url: str
    folder: Path
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.store = ArtifactStore(str(self.folder / "artifacts"))
        write_data(self.store, rows=320)
        self.redis: Redis = Redis.from_url(self.redis_url, decode_responses=True)
        self.start()

    def start(self) -> None:
        """Start the worker."""
        settings = {"REDIS_URL": self.redis_url, "ARTIFACTS": self.store.root, "WORK_DIR": str(self.folder / "work")}
        settings |= {"PORT": str(self.port), "CLAIM_AFTER_SECONDS": "2", "POLL_SECONDS": "0.05"}
        environment = {f"SELFREWARD_{name}": value for name, value in settings.items()}
        with (self.folder / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.trainer"],
                env={**os.environ, **environment, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        """SIGTERM the worker and wait for its end."""
        self.process.terminate()
        self.process.wait(timeout=30)

    def put(self, *jobs: TrainJob) -> None:
        """Queue jobs as the orchestrator does."""

        async def queue() -> None:
            redis = connect(self.redis_url)
            train = WorkQueue(redis, "train")
            await train.open()
            for job in jobs:
                assert await train.put(job.id, job.model_dump(mode="json"))
            await redis.aclose()

        asyncio.run(queue())

    def status(self, job_id: str) -> TrainStatus | None:
        """A job's status in Redis."""
        body = self.redis.get(f"selfreward:train:{job_id}")
        return TrainStatus.model_validate_json(str(body)) if body else None

    def wait(self, job_id: str, reached: Callable[[TrainStatus], bool]) -> TrainStatus:
        """The first status that `reached` accepts."""
        deadline = time.monotonic() + _WAIT
        while time.monotonic() < deadline:
            status = self.status(job_id)
            if status is not None and reached(status):
                return status
            assert self.process.poll() is None, (self.folder / "worker.log").read_text()[-2000:]
            time.sleep(0.02)
        raise AssertionError(f"{job_id}: {status}; {(self.folder / 'worker.log').read_text()[-2000:]}")

    def finish(self, job_id: str) -> TrainStatus:
        """The status of a job at its end, once the queue has forgotten the job."""
        status = self.wait(job_id, lambda status: status.state in ("done", "failed"))
        deadline = time.monotonic() + 10
        while self.redis.hexists("selfreward:train:known", job_id) and time.monotonic() < deadline:
            time.sleep(0.02)
        return status

    def child(self) -> int:
        """Process id of the job in work."""
        (pid,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(pid)

    def weights(self, name: str) -> str:
        """SHA-256 of a published checkpoint's weights."""
        return verify_folder(self.store.fetch(name))[0].files["model.safetensors"].sha256


@pytest.fixture(scope="module")
def stack(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running worker with the base model published by it."""
    with Redis.from_url(redis_server) as client:
        client.flushall()
    stack = Stack(redis_server, tmp_path_factory.mktemp("trainer"))
    try:
        stack.put(publish_job(), sft_job("plain", _HYPER))
        assert stack.finish("m0").state == "done"
        yield stack
    finally:
        stack.stop()
        stack.redis.close()


def test_jobs_are_done_and_reported(stack: Stack) -> None:
    status = stack.finish("plain")
    assert (status.state, status.step, status.total_steps, status.error) == ("done", 40, 40, None)
    assert status.uri == f"{stack.store.root}/runs/t/weights/plain"
    assert status.digest == verify_folder(stack.store.fetch("runs/t/weights/plain"))[1]
    assert stack.redis.xlen("selfreward:train") == 0
    base = f"http://127.0.0.1:{stack.port}"
    assert httpx.get(f"{base}/healthz").json() == {"status": "ok"}
    page = httpx.get(f"{base}/metrics").text
    assert "selfreward_trainer_step 40.0" in page
    assert 'selfreward_trainer_jobs_total{method="sft",outcome="done"} 1.0' in page


def test_a_job_whose_output_is_published_is_done_at_once(stack: Stack) -> None:
    digest = stack.finish("plain").digest
    stack.put(sft_job("again", output="runs/t/weights/plain", init_from="runs/t/weights/none"))
    status = stack.finish("again")
    assert (status.state, status.digest) == ("done", digest)


def test_killed_and_stopped_a_job_still_comes_to_the_same_weights(stack: Stack) -> None:
    stack.finish("plain")
    stack.put(sft_job("hurt", _HYPER))
    stack.wait("hurt", lambda status: status.step >= 6)
    os.kill(stack.child(), signal.SIGKILL)
    queued = stack.wait("hurt", lambda status: status.state == "queued")
    assert "attempt 1 ended with status -9" in (queued.error or "")

    stack.wait("hurt", lambda status: status.step >= 14)
    child = stack.child()
    stack.stop()
    assert not Path(f"/proc/{child}").exists()
    assert stack.redis.xlen("selfreward:train") == 1
    stack.start()

    assert stack.finish("hurt").state == "done"
    log = (stack.folder / "work" / "train" / "hurt" / "job.log").read_text()
    assert log.count('"message": "training"') == 1
    assert log.count('"message": "resuming"') == 2
    assert stack.weights("runs/t/weights/hurt") == stack.weights("runs/t/weights/plain")


def test_two_processes_train_together_and_publish_once(stack: Stack) -> None:
    stack.put(sft_job("two", {"save_every": 100}, world_size=2))
    status = stack.finish("two")
    assert (status.state, status.step) == ("done", 40)
    manifest = verify_folder(stack.store.fetch("runs/t/weights/two"))[0]
    assert manifest.lineage.parent == BASE
    log = (stack.folder / "work" / "train" / "two" / "job.log").read_text()
    assert log.count('"message": "training"') == 2


def test_a_refused_job_fails_at_once_with_its_reason(stack: Stack) -> None:
    stack.store.write_jsonl("runs/t/data/bad.jsonl", [{"prompt": "no messages"}])
    stack.put(sft_job("bad", datasets=["runs/t/data/bad.jsonl"]))
    status = stack.finish("bad")
    assert status.state == "failed"
    assert "runs/t/data/bad.jsonl row 1" in (status.error or "")
    assert '"bad"' in json.dumps(stack.redis.xrange("selfreward:train:dead"))
    assert stack.redis.xlen("selfreward:train") == 0
