"""Two nodes that train one job by torchrun over TCP, as two trainers that are told nothing but Kubeflow's variables."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import torch
from redis import Redis
from safetensors.torch import load_file

from selfreward.contracts.training import TrainJob, TrainStatus, queue_of
from selfreward.processes.child import free_port
from selfreward.redis.connection import connect
from selfreward.redis.queue import WorkQueue
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import verify_folder
from services.trainer.job import run
from services.trainer.worker.progress import Progress
from tests.support.trainer_jobs import BASE, dpo_job, publish_job, write_data


def _put(redis_url: str, job: TrainJob) -> None:
    async def put() -> None:
        redis = connect(redis_url)
        queue = WorkQueue(redis, queue_of(job.id))
        await queue.open()
        await queue.put(job.id, job.model_dump(mode="json"))
        await redis.aclose()

    asyncio.run(put())


def _start(rank: int, master: int, redis_url: str, store: ArtifactStore, folder: Path) -> "subprocess.Popen[bytes]":
    settings = {"REDIS_URL": redis_url, "ARTIFACTS": store.root, "WORK_DIR": str(folder / "work"), "TRAIN_JOB": "two"}
    settings |= {"PORT": str(free_port()), "POLL_SECONDS": "0.1"}
    node = {"NNODES": 2, "NPROC_PER_NODE": 1, "NODE_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": master}
    environment = {f"SELFREWARD_{name}": value for name, value in settings.items()}
    environment |= {f"PET_{name}": str(value) for name, value in node.items()}
    with (folder / f"node-{rank}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "services.trainer"],
            env={**os.environ, **environment, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
        )


def test_two_nodes_publish_once_and_what_one_process_does(redis_url: str, tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "artifacts"))
    write_data(store)
    run(publish_job(), store, tmp_path, Progress(tmp_path / "m0.json", "m0"))
    _put(redis_url, dpo_job("two", world_size=2))
    master = free_port()
    # The follower comes first: it has to wait for the other, and for the job's spec.
    nodes = [_start(rank, master, redis_url, store, tmp_path) for rank in (1, 0)]
    try:
        run(dpo_job("one"), store, tmp_path / "one", _progress(tmp_path / "one", "one"))
        ended = [node.wait(timeout=240) for node in nodes]
    finally:
        for node in nodes:
            node.terminate()
            node.wait(timeout=60)
    logs = "\n".join(path.read_text() for path in [*tmp_path.glob("node-*.log"), *tmp_path.glob("work/train/*.log")])
    assert ended == [0, 0], logs[-4000:]

    with Redis.from_url(redis_url, decode_responses=True) as redis:
        status = TrainStatus.model_validate_json(str(redis.get("selfreward:train:two")))
    assert (status.state, status.step, status.total_steps) == ("done", 4, 4)
    folder = store.fetch("runs/t/weights/two")
    manifest, digest = verify_folder(folder)
    assert (status.digest, manifest.lineage.parent) == (digest, BASE)
    before = load_file(store.fetch(BASE) / "model.safetensors")
    one, two = (
        load_file(store.fetch("runs/t/weights/one") / "model.safetensors"),
        load_file(folder / "model.safetensors"),
    )
    moved = sum(float((one[name] - before[name]).double().square().sum()) for name in one) ** 0.5
    apart = sum(float((one[name] - two[name]).double().square().sum()) for name in one) ** 0.5
    assert moved > 0
    assert apart < 1e-3 * moved


def _progress(folder: Path, job_id: str) -> Progress:
    folder.mkdir()
    torch.set_num_threads(1)
    return Progress(folder / "progress.json", job_id)
