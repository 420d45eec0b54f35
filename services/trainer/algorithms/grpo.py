"""Group-relative policy optimisation (2402.03300, 4.1) and REINFORCE leave-one-out (2402.14740) by TRL's trainers.

The loss is TRL's default, which differs from the paper in one point: it is the mean over all tokens of a batch. The
paper's mean over each answer prefers short answers where they are right and long ones where they are wrong.

TRL samples from the model in training with transformers' `generate`. Importing this module loads vLLM where it is
installed, since TRL does, and takes seconds: only jobs that need it import it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer

from selfreward.contracts.reinforcement import RlHyper
from selfreward.contracts.training import TrainJob
from services.trainer.algorithms.rewards import Verdicts
from services.trainer.training.arguments import lora_config, shared_arguments


def grpo_trainer(
    job: TrainJob,
    hyper: RlHyper,
    model: Any,
    tokenizer: Any,
    rows: Sequence[dict[str, Any]],
    verdicts: Verdicts,
    checkpoints: Path,
) -> GRPOTrainer | RLOOTrainer:
    """A trainer of `model` on the questions `rows`, rewarded by `verdicts`.

    With `beta` above 0 the reference is the model that training starts from.
    """

    def own_verdict(
        prompts: list[Any], completions: list[Any], prompt_id: list[str], trainer_state: Any, **_: Any
    ) -> list[float]:
        texts = [completion[0]["content"] for completion in completions]
        return verdicts.rewards(prompts, texts, prompt_id, trainer_state.global_step + 1)

    # The shared arguments, with what is different here.
    arguments = {
        **shared_arguments(job, hyper, checkpoints),
        "num_train_epochs": hyper.epochs,
        "num_generations": hyper.group,
        "max_completion_length": hyper.max_tokens,
        "temperature": hyper.temperature,
        "beta": hyper.beta,
        "epsilon": hyper.clip,
        "num_iterations": hyper.updates,
        "logging_steps": 1,
    }
    # TRL shuffles questions itself, whole groups at a time.
    del arguments["train_sampling_strategy"]
    dataset = Dataset.from_list(list(rows))
    common = {"reward_funcs": own_verdict, "train_dataset": dataset, "processing_class": tokenizer}
    common["peft_config"] = lora_config(hyper.lora)
    trainer: GRPOTrainer | RLOOTrainer
    if hyper.algorithm == "rloo":
        trainer = RLOOTrainer(model=model, args=RLOOConfig(**arguments), **common)
    else:
        trainer = GRPOTrainer(model=model, args=GRPOConfig(**arguments), **common)
    # TRL reads the reference from the folder of `model`, whose weights may not be those that training starts from.
    if trainer.ref_model is not None:
        trainer.accelerator.unwrap_model(trainer.ref_model).load_state_dict(model.state_dict())
    return trainer
