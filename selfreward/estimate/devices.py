"""GPUs by their data sheets, and CPUs by what was measured on one, for `selfreward plan`."""

import os
from pathlib import Path
from typing import NamedTuple

from selfreward.estimate.shape import Shape
from selfreward.server.cpu import computes_bf16

_TRAINED = {True: 141e9, False: 89e9}
"""FLOP/s of a core in training, with bf16 or without: 350 and 220 tokens/s of SmolLM2-135M on two cores with AMX."""
_WRITTEN = 93e9
"""FLOP/s of a core where the engine writes in bf16: 690 tokens/s there."""


class Gpu(NamedTuple):
    """A GPU by its maker's data sheet: dense bf16 FLOP/s, memory bandwidth (bytes/s) and memory (GB)."""

    flops: float
    bandwidth: float
    memory: float

    def used(self, mfu: float, bf16: bool = True) -> float:  # noqa: ARG002 - tensor cores compute in bf16 or TF32
        """FLOP/s in training and in reading prompts."""
        return self.flops * mfu

    def writing(self, shape: Shape, moved: float, mfu: float) -> float:
        """Seconds to write one token, for which `moved` bytes are read."""
        return max(2 * shape.parameters / self.used(mfu), moved / self.bandwidth)


class Cpu(NamedTuple):
    """A CPU of so many cores, and its memory (GB), which training processes and engine share.

    `bf16`: it has instructions for bf16 (AMX or AVX-512), without which float32 is faster.
    """

    cores: int
    memory: float
    bf16: bool = True

    def used(self, mfu: float, bf16: bool = True) -> float:  # noqa: ARG002 - as measured, so no share of a peak
        """FLOP/s in training and in reading prompts, of all cores together."""
        return self.cores * _TRAINED[bf16 and self.bf16]

    def writing(self, shape: Shape, moved: float, mfu: float) -> float:  # noqa: ARG002 - as above
        """Seconds to write one token."""
        slower = 1 if self.bf16 else _TRAINED[False] / _TRAINED[True]
        return 2 * shape.parameters / (_WRITTEN * slower) / self.cores


GPUS = {
    "rtx4090": Gpu(165e12, 1.008e12, 24),
    "l40s": Gpu(362e12, 0.864e12, 48),
    "a100": Gpu(312e12, 2.039e12, 80),
    "h100": Gpu(989e12, 3.35e12, 80),
    "h200": Gpu(989e12, 4.8e12, 141),
    "b200": Gpu(2250e12, 8.0e12, 180),
}


def this_cpu(cores: int | None = None) -> Cpu:
    """The CPU of this machine, with `cores` cores instead of those that this process may use."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return Cpu(cores or len(os.sched_getaffinity(0)), memory, computes_bf16())


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU."""
    return any(Path("/dev").glob("nvidia[0-9]*"))
