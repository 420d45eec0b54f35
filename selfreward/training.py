"""Contracts between the orchestrator and the trainer: one job in, one published checkpoint out."""

from typing import Literal, Self

from pydantic import Field, model_validator

from selfreward.contracts import Contract, Message


def queue_of(job_id: str) -> str:
    """Name of the queue that holds one job alone, for a worker that is started for it."""
    return f"train-{job_id}"


class Lora(Contract):
    """Low-rank adapters instead of full weights; the published checkpoint is merged, so it loads as any other."""

    rank: int = Field(default=16, ge=1, le=512)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Optimisation(Contract):
    """What SFT and DPO share. `learning_rate` decays by cosine to `min_lr_ratio` of itself (Yuan et al. 2024, 2.4)."""

    epochs: float = Field(default=1.0, gt=0, le=100)
    learning_rate: float = Field(gt=0, le=1)
    min_lr_ratio: float = Field(default=0.1, ge=0, le=1)
    warmup_ratio: float = Field(default=0.0, ge=0, le=1)
    batch_size: int = Field(default=16, ge=1)
    micro_batch_size: int | None = Field(default=None, ge=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_length: int = Field(default=1024, ge=8)
    save_every: int = Field(default=50, ge=1)
    bf16: bool = False
    gradient_checkpointing: bool = False
    lora: Lora | None = None


class SftHyper(Optimisation):
    """Supervised fine-tuning on completions only (Yuan et al. 2024: lr 5.5e-6 to 1.1e-6, batch 16)."""

    learning_rate: float = Field(default=5.5e-6, gt=0, le=1)
    min_lr_ratio: float = Field(default=0.2, ge=0, le=1)


class DpoHyper(Optimisation):
    """DPO (Yuan et al. 2024: lr 1e-6 to 1e-7, batch 16, beta 0.1).

    `sft_weight` > 0 adds that share of the chosen answers' mean token NLL (TRL's `["sigmoid", "sft"]`).
    """

    learning_rate: float = Field(default=1e-6, gt=0, le=1)
    beta: float = Field(default=0.1, gt=0)
    sft_weight: float = Field(default=0.0, ge=0)


class TrainJob(Contract):
    """One training job. Its `id` is deterministic, so that submitting twice is submitting once.

    `init_from` and `datasets` name artifacts (see `selfreward.artifacts`); DPO's reference model is `reference`,
    by default `init_from`, the round's starting checkpoint. SFT rows: `{"prompt": [messages], "completion":
    [messages]}`. DPO rows: `PreferencePair`. `canary` is the greedy prompt whose first tokens the manifest records.
    `world_size` processes are started by torchrun.

    Method `publish` trains nothing: it makes the artifact `output` of `init_from`, there a checkpoint folder in
    Hugging Face layout (or an artifact), after the same checks; it takes no datasets and no hyper-parameters.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,120}$")
    run: str
    stage: str
    method: Literal["sft", "dpo", "publish"]
    init_from: str
    reference: str | None = None
    datasets: list[str] = []
    output: str
    canary: list[Message] = Field(min_length=1)
    seed: int = 0
    world_size: int = Field(default=1, ge=1)
    recipe_hash: str = ""
    sft: SftHyper | None = None
    dpo: DpoHyper | None = None

    @model_validator(mode="after")
    def _hyperparameters_of_the_method(self) -> Self:
        if (self.sft is not None) != (self.method == "sft") or (self.dpo is not None) != (self.method == "dpo"):
            needed = f"exactly the section `{self.method}`" if self.method != "publish" else "neither `sft` nor `dpo`"
            raise ValueError(f"method={self.method!r} needs {needed}")
        if bool(self.datasets) == (self.method == "publish"):
            needed = "no datasets" if self.method == "publish" else "at least one dataset"
            raise ValueError(f"datasets={self.datasets!r}: method={self.method!r} takes {needed}")
        return self


class TrainStatus(Contract):
    """Progress of a job, kept in Redis under `selfreward:train:<id>` and overwritten in place.

    `waiting`: for room on the trainer's disk, as `error` says; the job goes on by itself.
    """

    id: str
    state: Literal["queued", "waiting", "running", "done", "failed"]
    step: int = 0
    total_steps: int = 0
    metrics: dict[str, float] = {}
    uri: str | None = None
    digest: str | None = None
    error: str | None = None
    seconds: float = 0.0
