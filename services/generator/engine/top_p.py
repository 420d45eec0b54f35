"""Nucleus sampling without sorting the vocabulary (`top_p`; Holtzman et al. 2020, 1904.09751)."""

import torch

CANDIDATES = 128
"""The best tokens that are looked at first. They nearly always have the mass; otherwise all tokens are sorted."""


def keep_nucleus(logits: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """Mask in each row all but the fewest best tokens whose probabilities reach `p`, in place.

    Shapes (rows, vocabulary) and (rows,), `p` from 0 to 1. Tokens as probable as the last of a row's best stay too.
    """
    count = min(CANDIDATES, logits.shape[-1])
    last, reaches = _last_kept(logits, p, logits.topk(count).values)
    if not reaches.all() and count < logits.shape[-1]:
        wide = ~reaches
        last[wide], _ = _last_kept(logits[wide], p[wide], logits[wide].sort(descending=True).values)
    return logits.masked_fill_(logits < last, -torch.inf)


def _last_kept(logits: torch.Tensor, p: torch.Tensor, best: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """By row: the logit of the token that reaches the mass, (rows, 1), and whether `best` has that token, (rows,)."""
    mass = (best - logits.logsumexp(-1, keepdim=True)).exp_().cumsum(-1)
    before = (mass < p[:, None]).sum(-1, keepdim=True)
    return best.gather(-1, before.clamp(max=best.shape[-1] - 1)), before[:, 0] < best.shape[-1]
