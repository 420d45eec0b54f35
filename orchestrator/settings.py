"""Settings of the orchestrator service."""

import socket
from pathlib import Path

from pydantic import Field

from selfreward.settings import Settings

DEFAULT_PORT = 8002


class OrchestratorSettings(Settings):
    """Settings of this replica. A run's settings are in its recipe."""

    artifact_cache: Path | None = None
    """Folder for copies of a remote store's artifacts."""
    worker_concurrency: int = Field(default=64, ge=1)
    """Prompts in flight in this replica's worker, so that generation and judging overlap."""
    worker_name: str = Field(default_factory=socket.gethostname, min_length=1)
    """Consumer name in the queue. It must survive restarts (the pod's or host's name)."""
    claim_after_s: float = Field(default=30.0, gt=0)
    """Seconds without a heartbeat after which another replica takes over a prompt."""
    backlog: int = Field(default=10_000, ge=1)
    """The most unfinished prompts in the queue. A phase queues more only when workers have finished some."""
    policy_wait_s: float = Field(default=120.0, ge=0)
    """How long a worker waits for a pinned policy version before it gives the prompt back."""
    lease_s: float = Field(default=15.0, gt=0)
    """Lifetime of the leader's lease, which is renewed three times in that time."""
    poll_s: float = Field(default=0.5, gt=0)
    """Interval at which the leader checks progress."""
    reload_timeout_s: float = Field(default=900.0, gt=0)
    """How long generators may take to serve an announced version before the run fails."""
    tolerated_failures: float = Field(default=0.05, ge=0, le=1)
    """Share of a phase's prompts that may end as dead letters before the run fails."""
    max_recipe_bytes: int = Field(default=1 << 20, ge=1024)
    """Longest body of a request; a longer one gets status 413."""
    max_unfinished_runs: int = Field(default=100, ge=1)
    """Runs that may be queued or running; a further one gets status 429."""
    keep_runs_days: float = Field(default=90, ge=0)
    """Days after a run's end after which its record and events are deleted, its artifacts not; 0: never."""
    max_followers: int = Field(default=256, ge=1)
    """Callers that may follow events of runs at this replica; a further one gets status 429."""
    max_run_prompts: int = Field(default=1_000_000, ge=1)
    """Prompts that all rounds of one run may answer; a recipe with more gets status 422."""
    max_run_tokens: int = Field(default=10_000_000_000, ge=1)
    """Tokens that one run may generate by its recipe, with judgments; a recipe with more gets status 422."""
    max_seed_mib: int = Field(default=256, ge=1)
    """Longest seed file that a recipe may name, in MiB; they are read into memory."""
    trainer_cronjob: str | None = None
    """A suspended CronJob in this pod's namespace; each training job becomes a Kubernetes Job of it. Without it, jobs
    are queued for waiting trainers."""
    trainer_runtime: str | None = None
    """The alternative: a Kubeflow TrainingRuntime in this pod's namespace. Each training job becomes a TrainJob of it,
    on as many nodes as `trainer.world_size` fills."""
    min_free_disk: int = Field(default=256, ge=0)
    """MiB that must be free at a local artifact store. With less, runs pause until space is freed."""
