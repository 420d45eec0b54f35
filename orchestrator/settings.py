"""Settings of the orchestrator service."""

import socket
from pathlib import Path

from pydantic import Field

from selfreward.settings import Settings

DEFAULT_PORT = 8002


class OrchestratorSettings(Settings):
    """Everything about a run is in its recipe; these say how this replica works."""

    artifact_cache: Path | None = None
    """Where artifacts of a remote store are copied to."""
    worker_concurrency: int = Field(default=64, ge=1)
    """Prompts in flight in this replica's worker, so that generation and judging overlap."""
    worker_name: str = Field(default_factory=socket.gethostname, min_length=1)
    """Consumer name in the queue; stable over restarts (the pod's or host's name)."""
    claim_after_s: float = Field(default=30.0, gt=0)
    """Silence after which another replica takes over a prompt."""
    backlog: int = Field(default=10_000, ge=1)
    """Unfinished prompts in the queue; at this many, the phase holds back the rest until workers have finished some."""
    policy_wait_s: float = Field(default=120.0, ge=0)
    """How long a worker waits for a pinned policy version before it gives the prompt back."""
    lease_s: float = Field(default=15.0, gt=0)
    """Lifetime of the lease of the replica that advances the runs; renewed three times in that time."""
    poll_s: float = Field(default=0.5, gt=0)
    """How often progress is looked at."""
    reload_timeout_s: float = Field(default=900.0, gt=0)
    """How long generators may take to serve an announced version before the run fails."""
    tolerated_failures: float = Field(default=0.05, ge=0, le=1)
    """Share of a phase's prompts that may end as dead letters before the run fails."""
    max_recipe_bytes: int = Field(default=1 << 20, ge=1024)
    """Longest body of a request; a longer one is answered 413."""
    max_unfinished_runs: int = Field(default=100, ge=1)
    """Runs that may be queued or running; a further one is answered 429."""
    max_run_prompts: int = Field(default=1_000_000, ge=1)
    """Prompts that all rounds of one run may answer; a recipe that asks for more is answered 422."""
    max_run_tokens: int = Field(default=10_000_000_000, ge=1)
    """Tokens that one run may generate by its recipe, judgments included; beyond it, 422."""
    max_seed_mib: int = Field(default=256, ge=1)
    """Longest seed file that a recipe may name, in MiB; they are read into memory."""
    trainer_cronjob: str | None = None
    """A suspended CronJob in this pod's namespace: each training job becomes a Kubernetes Job made from it. Unset: jobs
    are queued for trainers that wait for them."""
    trainer_runtime: str | None = None
    """Instead of that, a Kubeflow TrainingRuntime in this pod's namespace: each training job becomes a TrainJob by it,
    on as many nodes as `trainer.world_size` fills."""
    min_free_disk: int = Field(default=256, ge=0)
    """MiB that have to be free at a local artifact store; below that, runs pause until there is room again."""
