"""Direct preference optimisation (Rafailov et al. 2023; Yuan et al. 2024, section 2.4) by TRL's DPOTrainer.

Three kinds of pairs are trained: whole answers, whole answers with a soft label (CREAM, 2410.12735; SCIR, 2502.08922),
and single steps of an answer (Step-DPO, as process-based self-rewarding trains, 2503.03746).
"""

from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import logsigmoid
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

from selfreward.contracts.training import Consistency, DpoHyper, TrainJob
from services.trainer.training.arguments import lora_config, shared_arguments
from services.trainer.training.checks import JobRefused
from services.trainer.training.data import Prepared, ordered_dataset

NEARLY_SURE = 0.01
"""A judge's probability counts as at least this and at most 1 less this: the divergence from certainty is infinite."""


def dpo_trainer(
    job: TrainJob, hyper: DpoHyper, model: Any, reference: Any, tokenizer: Any, prepared: Prepared, checkpoints: Path
) -> DPOTrainer:
    """A trainer of `model` against the frozen `reference`. Raises JobRefused for labels that the loss cannot use.

    Full training needs a `reference`: TRL would load one from the path in the model's config, which need not be the
    weights that are trained. With adapters None means the model without them.
    """
    # The arguments of all three kinds.
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
    # The rows say which kind of pairs they are.
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
            f"loss={hyper.loss!r} and ld_alpha={hyper.ld_alpha}: the pairs have a weight, which is the soft label of "
            "loss='sigmoid' without ld_alpha; leave both keys out, or the weights"
        )
    if job.consistency is not None and not soft:
        raise JobRefused("consistency needs the judge's probability as the weight of each pair, and no pair has one")


class StepDPOTrainer(DPOTrainer):
    """TRL's DPOTrainer on rows that are token ids already, as `data.pair_ids` makes them.

    TRL opens a new assistant turn after a prompt that ends with one, and ends every completion with an end of turn. A
    step continues the answer within one turn, and only the last step ends it.
    """

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """The rows unchanged: TRL would tokenise texts that they do not have."""
        return dataset


def soft_label_term(margin: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """What a soft label adds to DPO's loss of each pair: shape (pairs,), as both arguments have.

    CREAM (2410.12735): C * [-log sigma(z)] + (1 - C) * [-log sigma(-z)], which is -log sigma(z) + (1 - C) * z. `margin`
    is z, beta times the difference of the implicit rewards, and `weight` is C, from 0 to 1.
    """
    return (1 - weight) * margin


def consistency_term(margin: torch.Tensor, judged: torch.Tensor, rules: Consistency) -> torch.Tensor:
    """What SCIR (2502.08922) adds to DPO's loss of each pair: shape (pairs,), as `margin` and `judged` have.

    The model's probability that the chosen answer is better is sigma(`margin`); the judge's is `judged`, from 0 to 1,
    without a gradient. Where they are on different sides of one half, DPO's own loss is subtracted. The term is the
    mean of both Kullback-Leibler divergences plus the weighted entropies of both, in nats.
    """
    own, judged = torch.sigmoid(margin), judged.clamp(NEARLY_SURE, 1 - NEARLY_SURE)
    agreed = (margin > 0) == (judged > 0.5)
    # For two Bernoulli distributions the sum of both divergences is the difference of p times that of its log-odds.
    divergence = 0.5 * (own - judged) * (margin - torch.logit(judged))
    uncertainty = _entropy(own, margin) + _entropy(judged, torch.logit(judged))
    return (agreed.float() - 1) * -logsigmoid(margin) + rules.weight * (divergence + rules.entropy * uncertainty)


def _entropy(probability: torch.Tensor, log_odds: torch.Tensor) -> torch.Tensor:
    """Entropy of a Bernoulli distribution in nats, by its log-odds so that it is exact near 0 and 1."""
    return -logsigmoid(log_odds) + (1 - probability) * log_odds


class CollatorWithWeights(DataCollatorForPreference):
    """TRL's batches of pairs, with `weight` of shape (pairs,)."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate rows of the dataset."""
        weight = torch.tensor([example["weight"] for example in examples], dtype=torch.float32)
        return {**super().torch_call(examples), "weight": weight}


class SoftLabelDPOTrainer(DPOTrainer):
    """TRL's DPOTrainer on rows with a `weight`; with `consistency` that is the judge's probability in SCIR's term."""

    def __init__(self, *args: Any, consistency: Consistency | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.consistency = consistency
        # The loss takes the reference's log-probabilities from the batch, so that they are computed once.
        self.precompute_ref_logps = True

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:  # noqa: ARG002 - training asks for the loss alone
        # The reference's log-probabilities go into the batch, where TRL's loss looks for them.
        stock: Any = super()
        inputs = dict(inputs)
        weight = inputs.pop("weight")
        reference = stock.compute_ref_log_probs(self.ref_model or self.model, inputs)
        inputs["ref_chosen_logps"], inputs["ref_rejected_logps"] = reference
        # TRL returns the loss alone: the policy's log-probabilities are noted on their way.
        outputs: list[Any] = []

        def noting(**kwargs: Any) -> Any:
            outputs.append(model(**kwargs))
            return outputs[-1]

        loss = stock._compute_loss(noting, inputs, return_outputs=False)
        # Chosen answers are the first half of the batch.
        chosen, rejected = outputs[0].log_probs.sum(dim=1).chunk(2)
        margin = self.beta * ((chosen - reference[0]) - (rejected - reference[1]))
        if self.consistency is None:
            return loss + soft_label_term(margin, weight).mean()
        agreed = self.accelerator.gather(((margin > 0) == (weight > 0.5)).float())
        self._metrics["train"]["consistency/agreement"].append(agreed.mean().item())
        return loss + consistency_term(margin, weight, self.consistency).mean()
