"""Where a model that trains may be split over its processes, and what has to be said where it may not."""

from collections.abc import Iterable
from typing import Literal

from selfreward.contracts.optimisation import Optimisation

Sharding = Literal["none", "fsdp"]
"""`fsdp`: weights, gradients and optimiser state are split over the processes, and a layer's weights are gathered
while it computes (ZeRO's third stage, 1910.02054, section 5.3), by PyTorch's `fully_shard`. `none`: each holds all."""


def check_sharding(hypers: Iterable[Optimisation], world_size: int) -> None:
    """Raise ValueError, naming key and remedy, where splitting a model by `fsdp` saves nothing or cannot be."""
    if world_size == 1:
        raise ValueError("sharding='fsdp' with world_size=1 splits nothing: raise world_size, or leave sharding out")
    if any(hyper.lora is not None for hyper in hypers):
        raise ValueError(
            "sharding='fsdp' with lora: adapters have little to split, and one process merges them into the whole "
            "model; leave out one of both"
        )
