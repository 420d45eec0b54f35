"""The command and the environment that start a job's processes on this node."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

from selfreward.contracts.training import TrainJob

_MODULE = "services.trainer.job"
_LAUNCHER = (sys.executable, "-m", "torch.distributed.run", "--max-restarts", "0")
# The others wait for the first node, which starts its processes when its disk has room: people may have to make some.
_JOIN_SECONDS = 6 * 3600

# For CPUs. Idle OpenMP threads sleep: spinning ones take the core from the thread that they wait for, which made a step
# six times as slow beside other processes. glibc keeps freed memory: mapping new pages for each activation took a fifth
# of a step.
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
    """This node, by PET_NODE_RANK and PET_NNODES: Kubeflow's runtime sets them, torchrun reads them too."""
    return Node(rank=int(os.environ.get("PET_NODE_RANK", "0")), nodes=int(os.environ.get("PET_NNODES", "1")))


def job_command(job: TrainJob, spec: Path) -> list[str]:
    """The command line: one Python process, or torchrun with `world_size` of them, here or over all nodes."""
    if job.world_size == 1:
        return [sys.executable, "-m", _MODULE, str(spec)]
    if this_node().nodes > 1:
        return node_command(spec)
    return [*_LAUNCHER, "--standalone", "--nproc-per-node", str(job.world_size), "-m", _MODULE, str(spec)]


def node_command(spec: Path) -> list[str]:
    """torchrun on one of several nodes; it reads their number, its rank and the first's address from PET_ variables."""
    return [*_LAUNCHER, "--rdzv-conf", f"timeout={_JOIN_SECONDS}", "-m", _MODULE, str(spec)]


def job_environment() -> dict[str, str]:
    """Variables for the job's environment, beside those of this process, which win."""
    return {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
