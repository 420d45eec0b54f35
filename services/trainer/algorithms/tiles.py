"""Makes TRL's fused output head fit into a CPU's memory.

The head computes logits tile by tile, and never those of a whole batch. Its tiles are made for GPUs: 4,096 tokens by
32,768 entries of the vocabulary, of which the computation in torch, which a CPU takes, holds several float32 copies at
once. And only with Triton does it leave out the tokens that nothing is learned from, such as prompts and padding.
"""

from typing import Any

import torch
from trl.kernels import chunked_logprob
from trl.trainer import utils

CPU_TOKENS = 256
"""Tokens of a tile on a CPU: 32 MiB of float32."""


def fit_to_cpu() -> None:
    """Take small tiles, and the learned tokens alone, where there is no GPU. Changes TRL for the whole process."""
    if not torch.cuda.is_available():
        head: Any = utils
        chunked_logprob.TOKEN_CHUNK_SIZE = CPU_TOKENS
        # The head asks this whether to leave tokens out; the kernels ask a function of their own.
        head._use_triton = lambda _: True
