"""The arguments that all of TRL's trainers share, from a job's hyper-parameters."""

import logging
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import LoraConfig

from selfreward.contracts.optimisation import Lora, Optimisation
from selfreward.contracts.training import TrainJob
from selfreward.server.cpu import computes_bf16
from services.trainer.training.attention import FLOAT32
from services.trainer.training.checks import JobRefused
from services.trainer.training.masters import load_master
from services.trainer.training.models import load_model, served_dtype

_log = logging.getLogger(__name__)


def shared_arguments(job: TrainJob, hyper: Optimisation, checkpoints: Path) -> dict[str, Any]:
    """Arguments of TRL's configuration classes. Raises JobRefused as `batch_shape` does.

    `with_precision` decides on bf16 where the job leaves it open, and the job on gradient checkpointing: TRL turns both
    on by default, and on a CPU they may take 17 and 2 times as long.
    """
    micro, accumulation = batch_shape(hyper, job.world_size)
    return {
        "output_dir": str(checkpoints),
        # The dataset holds every epoch, in training order.
        "num_train_epochs": 1,
        "train_sampling_strategy": "sequential",
        "learning_rate": hyper.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": hyper.min_lr_ratio},
        "warmup_steps": warmup_steps(hyper.warmup_ratio),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        "weight_decay": hyper.weight_decay,
        "max_grad_norm": hyper.max_grad_norm,
        "save_strategy": "steps",
        "save_steps": hyper.save_every,
        "save_total_limit": 2,
        "bf16": bool(hyper.bf16),
        "gradient_checkpointing": hyper.gradient_checkpointing,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "seed": job.seed,
        "data_seed": job.seed,
        "logging_steps": 10,
        "logging_first_step": True,
        **sharding_arguments(job, hyper),
        "report_to": "none",
        "disable_tqdm": True,
    }


def sharding_arguments(job: TrainJob, hyper: Optimisation) -> dict[str, Any]:
    """The arguments that split the model over the processes; none for a job without sharding.

    Each process writes its own part of a checkpoint. FSDP does the activation checkpointing: with transformers' own it
    would gather every layer once more.
    """
    if job.sharding == "none":
        return {}
    config = {"version": 2, "activation_checkpointing": hyper.gradient_checkpointing}
    return {
        "fsdp": True,
        "fsdp_config": {**config, "state_dict_type": "SHARDED_STATE_DICT"},
        "gradient_checkpointing": False,
    }


def batch_shape(hyper: Optimisation, world_size: int) -> tuple[int, int]:
    """Rows of one forward pass, and the passes of one step, for each process.

    Raises JobRefused for a batch that the processes cannot share evenly.
    """
    share, rest = divmod(hyper.batch_size, world_size)
    if rest:
        raise JobRefused(f"batch_size={hyper.batch_size} is not a multiple of world_size={world_size}")
    micro = min(hyper.micro_batch_size or share, share)
    if share % micro:
        raise JobRefused(
            f"micro_batch_size={micro} does not divide the {share} rows that each of world_size={world_size} processes "
            f"takes of batch_size={hyper.batch_size}"
        )
    return micro, share // micro


def warmup_steps(ratio: float) -> float:
    """TRL's `warmup_steps`, which takes values below 1 as a share of all steps."""
    return min(ratio, 0.999999)


def lora_config(lora: Lora | None) -> LoraConfig | None:
    """Adapters on every linear layer but the output head, or None for full weights."""
    if lora is None:
        return None
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


Hyper = TypeVar("Hyper", bound=Optimisation)


def with_precision(hyper: Hyper, parent: Path) -> Hyper:
    """`hyper` with `bf16` decided by the machine and the base model where the job leaves it open."""
    if hyper.bf16 is None:
        half = served_dtype(parent) in (torch.bfloat16, torch.float16)
        hyper = hyper.model_copy(update={"bf16": half and not torch.cuda.is_available() and computes_bf16()})
    _log.info("precision", extra={"weights": "float32", "computes_in": "bfloat16" if hyper.bf16 else "float32"})
    return hyper


def load_start(hyper: Optimisation, folder: Path) -> Any:
    """The model that training starts from, or its reference: the float32 master, or LoRA's frozen base.

    That is as it is served, to save memory, but on a CPU that does not compute in it: there the master is faster.
    A CPU that computes in bfloat16 attends in float32. Raises JobRefused as `load_model` does.
    """
    rounded = hyper.lora is not None and (hyper.bf16 or torch.cuda.is_available())
    model = load_model(folder, served_dtype(folder)) if rounded else load_master(folder)
    if hyper.bf16 and not torch.cuda.is_available():
        model.set_attn_implementation(FLOAT32)
    return model
