"""Contracts between the orchestrator and the trainer: one job in, one published checkpoint out."""

from typing import Literal, Self

from pydantic import Field, model_validator

from selfreward.contracts.base import Contract, Message
from selfreward.contracts.optimisation import Optimisation, Sharding, check_sharding
from selfreward.contracts.reinforcement import JobVerdicts, RlHyper

TRAIN_QUEUE = "train"
"""The queue of training jobs for waiting workers."""


class SftHyper(Optimisation):
    """Supervised fine-tuning on completions only (Yuan et al. 2024: lr 5.5e-6 to 1.1e-6, batch 16)."""

    learning_rate: float = Field(default=5.5e-6, gt=0, le=1)
    min_lr_ratio: float = Field(default=0.2, ge=0, le=1)


class DpoHyper(Optimisation):
    """DPO (Yuan et al. 2024: lr 1e-6 to 1e-7, batch 16, beta 0.1).

    `loss` is TRL's: `sigmoid` (DPO), `ipo` (2310.12036, beta is its tau, log-probabilities averaged over tokens),
    `sppo_hard` (2405.00675), `robust` (2403.00409: labels are wrong with probability `label_smoothing`), `apo_zero`
    (2408.06266). `ld_alpha` (2409.06411) weighs the tokens of the longer answer beyond the shorter one's length.
    `sft_weight` > 0 adds that share of the chosen answers' mean token NLL to any of them.
    """

    learning_rate: float = Field(default=1e-6, gt=0, le=1)
    beta: float = Field(default=0.1, gt=0)
    loss: Literal["sigmoid", "ipo", "sppo_hard", "robust", "apo_zero"] = "sigmoid"
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    ld_alpha: float | None = Field(default=None, ge=0, le=1)
    sft_weight: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _only_what_the_loss_reads(self) -> Self:
        if self.loss == "robust" and not self.label_smoothing:
            raise ValueError(
                "loss='robust' with label_smoothing=0 is loss='sigmoid': give the share of wrong labels, for example "
                "label_smoothing=0.1"
            )
        if self.loss != "robust" and self.label_smoothing:
            raise ValueError(
                f"label_smoothing={self.label_smoothing} has no effect on loss={self.loss!r}: leave it out, or set "
                "loss='robust'"
            )
        if self.ld_alpha is not None and self.loss not in ("sigmoid", "robust"):
            raise ValueError(
                f"ld_alpha={self.ld_alpha} is for losses of the difference of both answers: leave it out with "
                f"loss={self.loss!r}, or set loss='sigmoid'"
            )
        return self


class Consistency(Contract):
    """SCIR's consistency term in training (2502.08922). The paper's weights are not known; the defaults are ours.

    `weight` is lambda, the weight of the whole term. `entropy` is gamma, the weight of the entropies within it.
    """

    weight: float = Field(default=1.0, gt=0, le=1000)
    entropy: float = Field(default=0.1, ge=0, le=1000)


class TrainJob(Contract):
    """One training job. Its `id` is deterministic, so submitting it twice is idempotent.

    `init_from` and `datasets` name artifacts (see `selfreward.store.artifacts`). DPO's reference model is `reference`,
    by default `init_from`, the round's starting checkpoint. SFT rows: `{"prompt": [messages], "completion":
    [messages]}`. DPO rows: `PreferencePair`. RL rows: `Question`; `verdicts` says which judge gives the rewards.
    `canary` is the prompt whose first greedy tokens the manifest records. torchrun starts `world_size` processes; with
    `sharding` no process holds the whole model.

    A pair's `weight` makes DPO's label soft: the probability that the chosen answer is better (CREAM, 2410.12735). With
    `consistency` it is the judge's probability in SCIR's consistency term (2502.08922).

    Method `publish` trains nothing: after the same checks it publishes `init_from`, a checkpoint folder in Hugging Face
    layout or an artifact, as the artifact `output`. It takes no datasets and no hyperparameters.

    Method `logprobs` trains nothing: `output` becomes a JSON Lines file of `ResponseLogprobs`, one row for each answer
    of the rollouts in `datasets`, under each of `checkpoints` (artifacts). The chat template is that of `init_from`.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,120}$")
    run: str
    stage: str
    method: Literal["sft", "dpo", "rl", "publish", "logprobs"]
    init_from: str
    reference: str | None = None
    datasets: list[str] = []
    checkpoints: list[str] = []
    output: str
    canary: list[Message] = Field(min_length=1)
    seed: int = 0
    world_size: int = Field(default=1, ge=1)
    sharding: Sharding = "none"
    recipe_hash: str = ""
    sft: SftHyper | None = None
    dpo: DpoHyper | None = None
    rl: RlHyper | None = None
    verdicts: JobVerdicts | None = None
    consistency: Consistency | None = None

    @model_validator(mode="after")
    def _verdicts_for_rl(self) -> Self:
        if (self.rl is not None) != (self.method == "rl") or (self.verdicts is not None) != (self.method == "rl"):
            raise ValueError(f"method={self.method!r}: `rl` and `verdicts` belong to method='rl', and both of them")
        return self

    @model_validator(mode="after")
    def _sharded_where_it_can_be(self) -> Self:
        if self.sharding != "none":
            if self.method not in ("sft", "dpo"):
                raise ValueError(f"sharding={self.sharding!r} is for method 'sft' or 'dpo', not {self.method!r}")
            check_sharding(filter(None, (self.sft, self.dpo)), self.world_size)
        return self

    @model_validator(mode="after")
    def _hyperparameters_of_the_method(self) -> Self:
        if (self.sft is not None) != (self.method == "sft") or (self.dpo is not None) != (self.method == "dpo"):
            trains = self.method in ("sft", "dpo")
            needed = f"exactly the section `{self.method}`" if trains else "neither `sft` nor `dpo`"
            raise ValueError(f"method={self.method!r} needs {needed}")
        if self.consistency is not None and self.method != "dpo":
            raise ValueError(f"consistency is for method='dpo': leave it out with method={self.method!r}")
        if bool(self.checkpoints) != (self.method == "logprobs"):
            needed = "at least one checkpoint" if self.method == "logprobs" else "no checkpoints"
            raise ValueError(f"checkpoints={self.checkpoints!r}: method={self.method!r} takes {needed}")
        if self.method == "logprobs" and self.world_size > 1:
            raise ValueError(f"world_size={self.world_size}: method='logprobs' is one process on all GPUs; give 1")
        if bool(self.datasets) == (self.method == "publish"):
            needed = "no datasets" if self.method == "publish" else "at least one dataset"
            raise ValueError(f"datasets={self.datasets!r}: method={self.method!r} takes {needed}")
        return self


class TrainStatus(Contract):
    """Progress of a job, stored in Redis under its `status_key`.

    A `waiting` job waits for space on the trainer's disk, as `error` says, and goes on by itself.
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


def queue_of(job_id: str) -> str:
    """The queue of one job alone, for a worker that is started for this job."""
    return f"train-{job_id}"


def status_key(job_id: str) -> str:
    """Redis key of a job's `TrainStatus`."""
    return f"selfreward:train:{job_id}"
