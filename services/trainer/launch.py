"""How a job's process is started: the command and its environment."""

import os
import sys
from pathlib import Path

from selfreward.training import TrainJob

_MODULE = "services.trainer.job"

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


def job_command(job: TrainJob, spec: Path) -> list[str]:
    """The command line: one Python process, or torchrun with `world_size` of them on this machine."""
    if job.world_size == 1:
        return [sys.executable, "-m", _MODULE, str(spec)]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", "0"]
    return [*launcher, "--nproc-per-node", str(job.world_size), "-m", _MODULE, str(spec)]


def job_environment() -> dict[str, str]:
    """What the job's environment has besides this process's own; what is set there already wins."""
    return {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
