"""DPO on pairs whose label is a probability: CREAM's soft labels and SCIR's consistency term.

TRL has no label or weight for a single pair. Its own loss is kept as it is, and what a soft label changes is added to
it: so a pair with a probability of 1 trains exactly as TRL trains it.
"""

from typing import Any

import torch
from torch.nn.functional import logsigmoid
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

from selfreward.contracts.implicit import Consistency

NEARLY_SURE = 0.01
"""A judge's probability counts as at least this and at most 1 less this: the divergence from certainty is infinite."""


def soft_label_term(margin: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """What a soft label adds to DPO's loss of each pair, shape (pairs,) as both arguments.

    CREAM (2410.12735): C * [-log sigma(z)] + (1 - C) * [-log sigma(-z)], which is -log sigma(z) + (1 - C) * z. `margin`
    is z, beta times the difference of the implicit rewards, and `weight` is C, from 0 to 1.
    """
    return (1 - weight) * margin


def consistency_term(margin: torch.Tensor, judged: torch.Tensor, rules: Consistency) -> torch.Tensor:
    """What SCIR (2502.08922) adds to DPO's loss of each pair, shape (pairs,) as `margin` and `judged`.

    The model's own probability that the chosen answer is better is sigma(`margin`), the judge's is `judged`, without a
    gradient. Where they are on different sides of one half, DPO's own loss is taken away again. The term itself is the
    mean of both Kullback-Leibler divergences and the weighted entropies of both.
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
        stock: Any = super()
        inputs = dict(inputs)
        weight = inputs.pop("weight")
        reference = stock.compute_ref_log_probs(self.ref_model or self.model, inputs)
        inputs["ref_chosen_logps"], inputs["ref_rejected_logps"] = reference
        seen: list[Any] = []

        def observed(**kwargs: Any) -> Any:
            seen.append(model(**kwargs))
            return seen[-1]

        loss = stock._compute_loss(observed, inputs, return_outputs=False)
        chosen, rejected = seen[0].log_probs.sum(dim=1).chunk(2)
        margin = self.beta * ((chosen - reference[0]) - (rejected - reference[1]))
        if self.consistency is None:
            return loss + soft_label_term(margin, weight).mean()
        agreed = self.accelerator.gather(((margin > 0) == (weight > 0.5)).float())
        self._metrics["train"]["consistency/agreement"].append(agreed.mean().item())
        return loss + consistency_term(margin, weight, self.consistency).mean()
