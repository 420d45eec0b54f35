"""Time that GPUs or a CPU take to train, to read and to write, for `selfreward plan` (docs/planning.md)."""

from dataclasses import dataclass

from selfreward.contracts.optimisation import Optimisation
from selfreward.contracts.reinforcement import RlHyper
from selfreward.estimate.devices import Cpu, Gpu
from selfreward.estimate.memory import cached_bytes, has_reference
from selfreward.estimate.shape import Shape

CONCURRENT = 256
"""Sequences that the engine works on at once: vLLM's default."""


@dataclass(frozen=True)
class Assumptions:
    """What a recipe does not say. `mfu`: the share of a GPU's FLOP/s that is used, in training and in prefill.

    `gpus`: how many answer and judge. All processes share a CPU.
    """

    device: Gpu | Cpu
    gpus: int
    prompt_tokens: int = 256
    mfu: float = 0.4

    def at_once(self, devices: int) -> int:
        """How many devices work at once, of the so many that a stage takes: a CPU is one, whatever it runs."""
        return 1 if isinstance(self.device, Cpu) else devices


def training_hours(
    shape: Shape, hyper: Optimisation, rows: float, row_tokens: int, world: int, by: Assumptions
) -> float:
    """Hours of training on `rows` rows of `row_tokens` tokens (both answers of a pair together), all epochs.

    2 FLOPs for each parameter and token forward and 4 backward (Kaplan et al. 2020, 2001.08361, section 2.1). Frozen
    weights save 2 of these, a reference costs 2, and recomputed activations 2. With RL the rows are the answers of one
    epoch: each is looked back on `updates` times, and once looked at before that, but by GRPO with a single update,
    which then has the same probabilities.
    """
    each = 6 - 2 * (hyper.lora is not None) + 2 * hyper.gradient_checkpointing
    if isinstance(hyper, RlHyper):
        each = each * hyper.updates + 2 * (hyper.algorithm != "grpo" or hyper.updates > 1)
    flops = (each + 2 * has_reference(hyper)) * shape.parameters * rows * row_tokens * hyper.epochs
    return flops / (by.at_once(world) * by.device.used(by.mfu, bool(hyper.bf16))) / 3600


def generating_hours(shape: Shape, read: float, written: float, length: int, by: Assumptions) -> float:
    """Hours to read (prefill) and write (decode) that many tokens in sequences of `length` tokens, on all GPUs.

    Reading is bound by compute. Writing a token of each of `CONCURRENT` sequences reads all weights and their caches
    once, and takes whichever is longer, that or its compute (Pope et al. 2022, 2211.05102, section 2).
    """
    compute = 2 * shape.parameters / by.device.used(by.mfu)
    cached = CONCURRENT * length * shape.cached_values * 2
    moved = (shape.parameters * shape.stored_bytes + cached) / CONCURRENT
    each = by.device.writing(shape, moved, by.mfu)
    return (read * compute + written * each) / by.at_once(by.gpus) / 3600


def sampling_hours(shape: Shape, hyper: RlHyper, answers: float, world: int, by: Assumptions) -> float:
    """Hours in which the trainer's processes sample `answers` answers by transformers, as `generating_hours` has it.

    A process samples its share of a batch at once, reads each prompt for every answer, and keeps weights and caches as
    in training. With bf16 it makes the copies of full weights anew for each token: writes them and reads them again.
    """
    compute = 2 * shape.parameters / by.device.used(by.mfu)
    at_once = max(1, hyper.batch_size // world)
    width = cached_bytes(shape, hyper)
    copied = 4 if hyper.bf16 and hyper.lora is None else 0
    cached = at_once * (by.prompt_tokens + hyper.max_tokens) * shape.cached_values * width
    moved = (shape.parameters * (width + copied) + cached) / at_once
    each = by.device.writing(shape, moved, by.mfu)
    return answers * (by.prompt_tokens * compute + hyper.max_tokens * each) / by.at_once(world) / 3600
