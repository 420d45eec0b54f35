"""The mathematics of proximal policy optimisation (Schulman et al. 2017, 1707.06347) on padded answers.

Every tensor is `(answers, tokens)`. `mask` is 1 on the tokens of an answer, its end token included, and 0 after it. The
log-probability and the value of a token are those before it is written.
"""

import torch


def token_rewards(
    verdicts: torch.Tensor, logps: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor, beta: float
) -> torch.Tensor:
    """Rewards of tokens: `-beta` times the log-ratio to the reference model, and at the last token the verdict as well.

    `verdicts` has shape `(answers,)` (Ouyang et al. 2022, 2203.02155, 3.5).
    """
    rewards = -beta * (logps - reference) * mask
    last = mask.sum(-1).long() - 1
    rewards[torch.arange(len(rewards)), last] += verdicts
    return rewards


def advantages_and_returns(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised advantage estimates, and the returns that the values should predict (1506.02438, 3), undiscounted.

    `delta_t = r_t + V_(t+1) - V_t`, `A_t = delta_t + lam A_(t+1)`, `return_t = A_t + V_t`; after its last token an
    answer has the value 0. Both are 0 outside the mask.
    """
    rewards, values = rewards * mask, values * mask
    advantages = torch.zeros_like(values)
    following = torch.zeros_like(values[:, 0])
    later = torch.zeros_like(values[:, 0])
    for step in reversed(range(values.shape[1])):
        delta = rewards[:, step] + later - values[:, step]
        following = (delta + lam * following) * mask[:, step]
        advantages[:, step] = following
        later = values[:, step]
    return advantages, advantages + values


def whitened(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`values` scaled to mean 0 and standard deviation 1 over the mask, 0 outside it."""
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    return (values - mean) * torch.rsqrt(variance + 1e-8) * mask


def policy_loss(
    logps: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, clip: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The clipped surrogate loss of each token (1707.06347, equation 7), and 1.0 where the clipped term is larger."""
    ratio = torch.exp(logps - old)
    free, bound = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    return torch.maximum(free, bound), (bound > free).float()


def value_loss(values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, clip: float) -> torch.Tensor:
    """Half the squared error of each token's value, or of the value kept within `clip` of `old` where that is worse."""
    clipped = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean of `values` over the mask, which must have at least one token."""
    return (values * mask).sum() / mask.sum()
