"""How a job's processes are started on this node: the command and its environment."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

from selfreward.contracts.training import TrainJob

_MODULE = "services.trainer.job"
_LAUNCHER = (sys.executable, "-m", "torch.distributed.run", "--max-restarts", "0")
# The first node starts its processes once its disk has room for them, which people may have to make.
_JOIN_SECONDS = 6 * 3600

# On CPUs. Idle OpenMP threads sleep: spinning ones take the core from the thread they wait for, which made a step six
# times as dear beside other processes. glibc keeps freed memory: mapping fresh pages for each activation cost a fifth.
_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONUNBUFFERED": "1",
}


class Node(NamedTuple):
    """One of `nodes` machines that train a job together; the first has rank 0."""

    rank: int
    nodes: int


def this_node() -> Node:
    """From the variables that torchrun reads too, as Kubeflow's runtime sets them: PET_NODE_RANK and PET_NNODES."""
    return Node(rank=int(os.environ.get("PET_NODE_RANK", "0")), nodes=int(os.environ.get("PET_NNODES", "1")))


def job_command(job: TrainJob, spec: Path) -> list[str]:
    """The command line: one Python process, or torchrun with `world_size` of them, here or over all nodes."""
    if job.world_size == 1:
        return [sys.executable, "-m", _MODULE, str(spec)]
    if this_node().nodes > 1:
        return node_command(spec)
    return [*_LAUNCHER, "--standalone", "--nproc-per-node", str(job.world_size), "-m", _MODULE, str(spec)]


def node_command(spec: Path) -> list[str]:
    """torchrun on one of several nodes: how many, which and where the first is, it reads from PET_ variables."""
    return [*_LAUNCHER, "--rdzv-conf", f"timeout={_JOIN_SECONDS}", "-m", _MODULE, str(spec)]


def job_environment() -> dict[str, str]:
    """What the job's environment has besides this process's own; what is set there already wins."""
    return {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
