"""Direct preference optimisation (Rafailov et al. 2023; Yuan et al. 2024, section 2.4) by TRL's DPOTrainer."""

from pathlib import Path
from typing import Any

from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from selfreward.contracts.training import DpoHyper, TrainJob
from services.trainer.algorithms.soft_labels import CollatorWithWeights, SoftLabelDPOTrainer
from services.trainer.training.arguments import lora_config, shared_arguments
from services.trainer.training.data import Prepared
from services.trainer.training.order import ordered_dataset
from services.trainer.training.refusal import JobRefused
from services.trainer.training.steps import StepDPOTrainer


def dpo_trainer(
    job: TrainJob, hyper: DpoHyper, model: Any, reference: Any, tokenizer: Any, prepared: Prepared, checkpoints: Path
) -> DPOTrainer:
    """A trainer of `model` against the frozen `reference`.

    Left to itself TRL loads the reference again from the path in the model's config, which need not be the weights that
    are trained; so full training must be given one. With adapters None means the model itself without them.
    """
    soft = "weight" in prepared.rows[0]
    _check_labels(job, hyper, soft)
    arguments = {
        "model": model,
        "ref_model": reference,
        "processing_class": tokenizer,
        "train_dataset": ordered_dataset(prepared, hyper.epochs, hyper.batch_size, job.seed),
        "peft_config": lora_config(hyper.lora),
        "args": DPOConfig(
            **shared_arguments(job, hyper, checkpoints),
            beta=hyper.beta,
            loss_type=[hyper.loss, "sft"] if hyper.sft_weight else [hyper.loss],
            loss_weights=[1.0, hyper.sft_weight] if hyper.sft_weight else None,
            label_smoothing=hyper.label_smoothing,
            ld_alpha=hyper.ld_alpha,
            max_length=None,
        ),
    }
    if "prompt_ids" in prepared.rows[0]:
        return StepDPOTrainer(**arguments)
    if not soft:
        return DPOTrainer(**arguments)
    arguments["args"].remove_unused_columns = False  # TRL does not know the weights and would drop them
    collator = CollatorWithWeights(pad_token_id=tokenizer.pad_token_id)
    return SoftLabelDPOTrainer(**arguments, data_collator=collator, consistency=job.consistency)


def _check_labels(job: TrainJob, hyper: DpoHyper, soft: bool) -> None:
    if soft and (hyper.loss != "sigmoid" or hyper.ld_alpha is not None):
        raise JobRefused(
            f"the pairs have a weight, which is the label of loss='sigmoid' without ld_alpha; given are "
            f"loss={hyper.loss!r} and ld_alpha={hyper.ld_alpha}: leave both out, or the weights"
        )
    if job.consistency is not None and not soft:
        raise JobRefused("consistency needs the judge's probability as the weight of each pair, and no pair has one")
