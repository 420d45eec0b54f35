"""Settings of the trainer service, from the environment (`SELFREWARD_*`)."""

import socket
from pathlib import Path

from pydantic import Field

from selfreward.settings import Settings

DEFAULT_PORT = 8003


class TrainerSettings(Settings):
    """Where one worker works, and how long it waits for what."""

    work_dir: Path = Path("runs/trainer")
    """Each job has a folder `train/<job id>` below it: its spec, log, progress and, until published, checkpoints."""
    artifact_cache: Path | None = None
    """Where artifacts of a remote store are copied to."""
    consumer: str = ""
    """This worker's name in the queue's consumer group; by default host name and port."""
    train_job: str | None = None
    """Do this job alone, from its own queue, and end with it, as the pod of a Kubernetes Job does. Exit status 0: done,
    65: failed for good, others: start another. Unset: take jobs from the queue `train` until SIGTERM. All of PET_NNODES
    nodes get the same value; those with a PET_NODE_RANK above 0 only run processes of the first node's attempts."""
    claim_after_seconds: float = Field(default=30, ge=2)
    """After this long without a heartbeat another worker takes the job over and resumes it."""
    max_attempts: int = Field(default=5, ge=1)
    """How often a job may be started; stops and crashes of workers count. A refused job is not tried again."""
    poll_seconds: float = Field(default=0.5, gt=0)
    """How often the job's progress is read."""
    min_free_disk: int = Field(default=256, ge=0)
    """MiB that must be free at `work_dir` and at a local artifact store; with less, jobs wait."""
    stop_seconds: float = Field(default=20, gt=0)
    """How long a job may take to end after SIGTERM before it is killed."""

    @property
    def consumer_name(self) -> str:
        """`consumer`, or a name that stays the same when this worker restarts."""
        return self.consumer or f"{socket.gethostname()}:{self.port or DEFAULT_PORT}"

    def job_folder(self, job_id: str) -> Path:
        """The working folder of a job."""
        return self.work_dir / "train" / job_id
