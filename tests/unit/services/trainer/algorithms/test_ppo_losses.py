"""The mathematics of PPO against values worked out by hand."""

import math

import pytest
import torch

from services.trainer.algorithms.ppo import answer_mask, positions
from services.trainer.algorithms.ppo_losses import (
    advantages_and_returns,
    masked_mean,
    policy_loss,
    token_rewards,
    value_loss,
    whitened,
)


def close(found: torch.Tensor, expected: list[list[float]]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected))


def test_the_verdict_comes_at_the_last_token_and_the_penalty_at_each() -> None:
    logps = torch.tensor([[-1.0, -2.0, -9.0], [-1.0, -1.0, -1.0]])
    reference = torch.tensor([[-1.5, -1.0, 0.0], [-1.0, -1.0, -3.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    rewards = token_rewards(torch.tensor([1.0, 0.0]), logps, reference, mask, 0.1)
    close(rewards, [[-0.05, 1.1, 0.0], [0.0, 0.0, -0.2]])


def test_generalised_advantages_by_hand() -> None:
    """Deltas from the end: 1 - 0.4 = 0.6, 0.4 - 0.3 = 0.1, 0.3 - 0.5 = -0.2; lambda 0.5."""
    mask = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    rewards = torch.tensor([[0.0, 0.0, 1.0, 7.0]])
    values = torch.tensor([[0.5, 0.3, 0.4, 8.0]])
    advantages, returns = advantages_and_returns(rewards, values, mask, 0.5)
    close(advantages, [[0.0, 0.4, 0.6, 0.0]])
    close(returns, [[0.5, 0.7, 1.0, 0.0]])


def test_lambda_one_gives_the_whole_return_and_lambda_zero_one_step() -> None:
    mask = torch.ones(1, 3)
    rewards, values = torch.tensor([[0.2, 0.0, 1.0]]), torch.tensor([[0.5, 0.3, 0.4]])
    _, returns = advantages_and_returns(rewards, values, mask, 1.0)
    close(returns, [[1.2, 1.0, 1.0]])
    advantages, _ = advantages_and_returns(rewards, values, mask, 0.0)
    close(advantages, [[0.0, 0.1, 0.6]])


def test_whitening_ignores_what_is_masked() -> None:
    found = whitened(torch.tensor([[1.0, 3.0, 100.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
    close(found, [[-1.0, 1.0, 0.0]])


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (1.0, 2.0, -2.0, 0.0),
        (1.5, 2.0, -2.4, 1.0),  # gain is held at 1.2
        (0.5, 2.0, -1.0, 0.0),  # a loss is not
        (0.5, -2.0, 1.6, 1.0),
        (1.5, -2.0, 3.0, 0.0),
    ],
)
def test_the_clipped_surrogate_by_hand(ratio: float, advantage: float, loss: float, clipped: float) -> None:
    found, held = policy_loss(
        torch.tensor([[math.log(ratio)]]), torch.zeros(1, 1), torch.tensor([[advantage]]), clip=0.2
    )
    close(found, [[loss]])
    assert float(held) == clipped


def test_the_surrogate_has_the_policy_gradient_where_the_policy_has_not_moved() -> None:
    logps = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    advantages = torch.tensor([[0.5, -3.0]])
    (gradient,) = torch.autograd.grad(policy_loss(logps, logps.detach(), advantages, 0.2)[0].sum(), [logps])
    torch.testing.assert_close(gradient, -advantages)


@pytest.mark.parametrize(
    ("value", "loss"),
    [
        (0.6, 0.5 * 0.4**2),  # within the clip: the plain error
        (0.9, 0.5 * 0.3**2),  # too far at once: the error of 0.5 + 0.2 is the larger one
        (1.9, 0.5 * 0.9**2),  # beyond the return: its own error is the larger one
    ],
)
def test_the_clipped_value_loss_by_hand(value: float, loss: float) -> None:
    found = value_loss(torch.tensor([[value]]), torch.tensor([[0.5]]), torch.tensor([[1.0]]), 0.2)
    close(found, [[loss]])


def test_the_mean_is_over_the_tokens_that_count() -> None:
    values, mask = torch.tensor([[1.0, 5.0], [3.0, 100.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    assert float(masked_mean(values, mask)) == 3.0


def test_an_answer_ends_with_its_first_stop_token() -> None:
    answers = torch.tensor([[5, 2, 2, 0], [5, 6, 7, 8], [3, 9, 2, 9]])
    expected = [[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]]
    close(answer_mask(answers, [2, 3]), expected)


def test_places_are_counted_from_the_first_real_token() -> None:
    assert positions(torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]])).tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 3]]
