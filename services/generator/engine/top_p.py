"""Nucleus sampling without sorting the vocabulary (`top_p`; Holtzman et al. 2020, 1904.09751)."""

import torch

CANDIDATES = 1024
"""The best tokens that are looked at first. They nearly always have the mass; otherwise all tokens are sorted."""


def keep_nucleus(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Mask all but the fewest best tokens whose probabilities reach `p` (0 to 1), in place; shape (vocabulary,).

    Tokens as probable as the last of these stay too.
    """
    whole, count = logits.logsumexp(-1), min(CANDIDATES, len(logits))
    best = logits.topk(count).values
    reached = (best - whole).exp().cumsum(-1)
    if reached[-1] < p and count < len(logits):
        best = logits.sort(descending=True).values
        reached = (best - whole).exp().cumsum(-1)
    # The first token with which the mass is reached is the last one kept.
    last = min(int((reached < p).sum()), len(best) - 1)
    return logits.masked_fill_(logits < best[last], -torch.inf)
