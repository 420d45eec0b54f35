"""Memory of one training process, for `selfreward plan`. The formulas are docs/planning.md."""

from typing import NamedTuple

from selfreward.contracts.optimisation import Optimisation, Sharding
from selfreward.contracts.reinforcement import RlHyper
from selfreward.contracts.training import DpoHyper
from selfreward.estimate.shape import Shape

GB = 1e9
MASTER_BYTES = 4
"""Bytes of one published weight of a trained model, whatever dtype it is served in."""


class Memory(NamedTuple):
    """Memory of one training process, in GB."""

    weights: float
    gradients: float
    optimiser: float
    reference: float
    activations: float

    @property
    def total(self) -> float:
        """The sum."""
        return sum(self)


def memory(shape: Shape, hyper: Optimisation, world_size: int, sharding: Sharding = "none") -> Memory:
    """Memory of one training process, which holds the whole model, or with `fsdp` its share of all but activations.

    Full training: weights, gradients and Adam's two moments in float32, and in bf16 training the copies that autocast
    makes of the weights (ZeRO, 1910.02054, section 3.1, with gradients in float32). LoRA: the weights as they are
    stored, and the rest for the adapters alone. A reference is kept beside full weights; adapters are switched off.
    The layer that `fsdp` gathers for a moment is not in the sum.
    """
    each = GB * (world_size if sharding == "fsdp" else 1)
    trained = trainable(shape, hyper)
    copies = 2 * shape.parameters if hyper.bf16 and hyper.lora is None else 0
    own = 4 * trained if hyper.lora is None else shape.stored_bytes * shape.parameters + 4 * trained
    reference = 4 * shape.parameters + copies if has_reference(hyper) and hyper.lora is None else 0
    return Memory(
        weights=(own + copies) / each,
        gradients=4 * trained / each,
        optimiser=8 * trained / each,
        reference=reference / each,
        activations=_activations(shape, hyper, world_size) / GB,
    )


def trainable(shape: Shape, hyper: Optimisation) -> int:
    """Parameters that are trained. PPO's value head is one linear layer on the policy's last hidden state."""
    if hyper.lora is not None:
        return shape.adapter_parameters(hyper.lora.rank)
    head = shape.hidden_size + 1 if isinstance(hyper, RlHyper) and hyper.algorithm == "ppo" else 0
    return shape.parameters + head


def has_reference(hyper: Optimisation) -> bool:
    """Whether training needs a frozen reference model: DPO does, and RL with a KL penalty."""
    return isinstance(hyper, DpoHyper) or (isinstance(hyper, RlHyper) and hyper.beta > 0)


def _activations(shape: Shape, hyper: Optimisation, world_size: int) -> float:
    """Bytes kept for the backward pass of one micro-batch of rows of full length; with DPO a row is two sequences.

    RL also samples: a process samples its share of the batch at once, before the backward pass. The larger of the two,
    caches or backward pass, counts.
    """
    share = max(1, hyper.batch_size // world_size)
    rows = min(hyper.micro_batch_size or share, share) * (2 if isinstance(hyper, DpoHyper) else 1)
    width = 2 if hyper.bf16 else 4
    kept = shape.num_hidden_layers * shape.kept_values
    if hyper.gradient_checkpointing:
        kept = shape.num_hidden_layers * shape.hidden_size + shape.kept_values
    backward = rows * hyper.max_length * width * kept
    if not isinstance(hyper, RlHyper):
        return backward
    if hyper.algorithm == "ppo":
        # Unlike TRL's, our PPO keeps whole logits: as computed, in float32, and their gradient.
        backward += rows * hyper.max_length * (width + 8) * shape.vocab_size
    return max(backward, share * hyper.max_length * shape.cached_values * cached_bytes(shape, hyper))


def cached_bytes(shape: Shape, hyper: RlHyper) -> int:
    """Bytes of one cached value where the trainer samples: those of one of its weights."""
    return 4 if hyper.lora is None else shape.stored_bytes
