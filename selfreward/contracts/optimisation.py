"""Optimisation settings of all training jobs: steps, learning rate, batch, precision, adapters."""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from selfreward.contracts.base import Contract


class Lora(Contract):
    """Low-rank adapters instead of full weights; the published checkpoint is merged, so it loads like any
    other."""

    rank: int = Field(default=16, ge=1, le=512)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Optimisation(Contract):
    """Settings of every training method. `learning_rate` decays by cosine to the share `min_lr_ratio` of itself (Yuan
    et al. 2024, 2.4).

    `bf16`: compute in bf16 copies of the float32 weights (autocast). None: on a CPU with AMX or avx512_bf16 where the
    base model is in half precision, and nowhere else.
    """

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
    bf16: bool | None = None
    gradient_checkpointing: bool = False
    lora: Lora | None = None


Sharding = Literal["none", "fsdp"]
"""`fsdp`: weights, gradients and optimiser state are split over the processes, and a layer's weights are gathered
while it computes (ZeRO's third stage, 1910.02054, section 5.3), by PyTorch's `fully_shard`. `none`: each process holds
the whole model."""


def check_sharding(hypers: Iterable[Optimisation], world_size: int) -> None:
    """Raise ValueError, naming key and remedy, where splitting a model by `fsdp` saves nothing or is impossible."""
    if world_size == 1:
        raise ValueError("sharding='fsdp' with world_size=1 splits nothing: raise world_size, or leave sharding out")
    if any(hyper.lora is not None for hyper in hypers):
        raise ValueError(
            "sharding='fsdp' with lora: adapters have little to split, and one process merges them into the whole "
            "model; leave out sharding or lora"
        )
