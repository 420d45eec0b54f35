"""Supervised fine-tuning on completions only, by TRL's SFTTrainer."""

from pathlib import Path
from typing import Any

from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from selfreward.contracts.training import SftHyper, TrainJob
from services.trainer.training.arguments import lora_config, shared_arguments
from services.trainer.training.data import Prepared, ordered_dataset


def sft_trainer(
    job: TrainJob, hyper: SftHyper, model: Any, tokenizer: Any, prepared: Prepared, checkpoints: Path
) -> SFTTrainer:
    """A trainer on rows that are already tokenised, labelled and checked: TRL's own preparation is skipped."""
    return SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=ordered_dataset(prepared, hyper.epochs, hyper.batch_size, job.seed),
        peft_config=lora_config(hyper.lora),
        args=SFTConfig(
            **shared_arguments(job, hyper, checkpoints),
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
    )
