"""`top_p` inside the CPU engine (vLLM's `--logits-processors`).

vLLM 0.32 sorts the logits of the whole vocabulary for each token that is sampled with `top_p` on a CPU, which takes as
long as a small model. So the gateway takes `top_p` out of a request and sends it as an argument of this processor.
"""

from typing import Any

import torch
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from services.generator.engine.top_p import keep_nucleus

ARGUMENT = "top_p"


class Nucleus(LogitsProcessor):
    """Masks the tokens outside of the nucleus, of the requests that have the argument. The likeliest token stays.

    All rows of a step are masked at once: a call for each row takes longer than a small model's forward pass.
    """

    def __init__(self, *_: Any) -> None:
        self._p_by_row: dict[int, float] = {}

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Nothing to refuse: the gateway alone sends the argument."""

    def is_argmax_invariant(self) -> bool:
        """Whether greedy requests, which need no nucleus, are spared: they are."""
        return True

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the requests that come, go and change their row."""
        process_dict_updates(self._p_by_row, batch_update, lambda params, *_: (params.extra_args or {}).get(ARGUMENT))

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Mask in place; shape (rows, vocabulary)."""
        if self._p_by_row:
            rows = sorted(self._p_by_row)
            p = torch.tensor([self._p_by_row[row] for row in rows])
            if len(rows) == len(logits):
                return keep_nucleus(logits, p)
            logits[rows] = keep_nucleus(logits[rows], p)
        return logits
