"""The terms that soft labels add to DPO's loss, against the formulas of the papers."""

import math

import pytest
import torch
from torch.nn.functional import logsigmoid

from selfreward.contracts.training import Consistency
from services.trainer.algorithms.dpo import NEARLY_SURE, consistency_term, soft_label_term


def dpo(margin: float) -> float:
    return -float(logsigmoid(torch.tensor(margin)))


def soft(margin: float, weight: float) -> float:
    return dpo(margin) + float(soft_label_term(torch.tensor([margin]), torch.tensor([weight])))


def test_golden_vector_of_cream() -> None:
    assert soft(0.7, 1.0) == pytest.approx(0.40319, abs=1e-5)
    assert soft(0.7, 0.0) == pytest.approx(1.10319, abs=1e-5)
    assert soft(0.7, 0.8) == pytest.approx(0.54319, abs=1e-5)


def test_an_even_label_holds_the_margin_at_zero() -> None:
    margin = torch.tensor([0.0], requires_grad=True)
    loss = (-logsigmoid(margin) + soft_label_term(margin, torch.tensor([0.5]))).sum()
    (slope,) = torch.autograd.grad(loss, margin)
    assert float(slope) == pytest.approx(0.0, abs=1e-7)


def consistent(margin: float, judged: float, weight: float, entropy: float) -> float:
    rules = Consistency(weight=weight, entropy=entropy)
    return dpo(margin) + float(consistency_term(torch.tensor([margin]), torch.tensor([judged]), rules))


def written_out(margin: float, judged: float, weight: float, entropy: float) -> float:
    """The loss as the paper's formula says it, in Python's floats."""

    def divergence(a: float, b: float) -> float:
        return a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))

    def uncertainty(a: float) -> float:
        return -a * math.log(a) - (1 - a) * math.log(1 - a)

    own = 1 / (1 + math.exp(-margin))
    agreed = (own > 0.5) == (judged > 0.5)
    term = 0.5 * (divergence(own, judged) + divergence(judged, own)) + entropy * (
        uncertainty(own) + uncertainty(judged)
    )
    return agreed * -math.log(own) + weight * term


@pytest.mark.parametrize("margin", [-1.3, 0.4, 2.0])
@pytest.mark.parametrize("judged", [0.55, 0.9])
def test_consistency_is_what_the_formula_says(margin: float, judged: float) -> None:
    assert consistent(margin, judged, 0.7, 0.2) == pytest.approx(written_out(margin, judged, 0.7, 0.2), rel=1e-5)


def test_a_certain_judge_gives_a_finite_loss_and_draws_the_model_to_it() -> None:
    margin = torch.tensor([-2.0, 3.0], requires_grad=True)
    judged = torch.tensor([1.0, 1.0])
    rules = Consistency(weight=1.0, entropy=0.0)
    loss = (-logsigmoid(margin) + consistency_term(margin, judged, rules)).sum()
    (slopes,) = torch.autograd.grad(loss, margin)
    assert torch.isfinite(slopes).all()
    assert float(slopes[0]) < 0, "where both disagree the model is drawn to the judge"
    assert consistent(3.0, 1.0, 1.0, 0.0) == pytest.approx(written_out(3.0, 1 - NEARLY_SURE, 1.0, 0.0), rel=1e-4)
