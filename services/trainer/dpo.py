"""Direct preference optimisation (Rafailov et al. 2023; Yuan et al. 2024, section 2.4) by TRL's DPOTrainer."""

from pathlib import Path
from typing import Any

from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from selfreward.training import DpoHyper, TrainJob
from services.trainer.arguments import lora_config, shared_arguments
from services.trainer.data import Prepared
from services.trainer.order import ordered_dataset


def dpo_trainer(
    job: TrainJob, hyper: DpoHyper, model: Any, reference: Any, tokenizer: Any, prepared: Prepared, checkpoints: Path
) -> DPOTrainer:
    """A trainer of `model` against the frozen `reference`.

    Left to itself TRL loads the reference again from the path in the model's config, which need not be the weights that
    are trained; so full training must be given one. With adapters None means the model itself without them.
    """
    mixed = hyper.sft_weight > 0
    return DPOTrainer(
        model=model,
        ref_model=reference,
        processing_class=tokenizer,
        train_dataset=ordered_dataset(prepared, hyper.epochs, hyper.batch_size, job.seed),
        peft_config=lora_config(hyper.lora),
        args=DPOConfig(
            **shared_arguments(job, hyper, checkpoints),
            beta=hyper.beta,
            loss_type=["sigmoid", "sft"] if mixed else ["sigmoid"],
            loss_weights=[1.0, hyper.sft_weight] if mixed else None,
            max_length=None,
        ),
    )
