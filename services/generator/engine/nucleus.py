"""`top_p` inside the CPU engine (vLLM's `--logits-processors`).

vLLM 0.32 sorts the logits of the whole vocabulary for each token that is sampled with `top_p` on a CPU, which takes as
long as a small model. So the gateway takes `top_p` out of a request and sends it as an argument of this processor.
"""

from typing import Any

import torch
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from services.generator.engine.top_p import keep_nucleus

ARGUMENT = "top_p"


class Nucleus(AdapterLogitsProcessor):
    """Masks the tokens outside of the nucleus, of the requests that have the argument. The likeliest token stays."""

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Nothing to refuse: the gateway alone sends the argument."""

    def is_argmax_invariant(self) -> bool:
        """Whether greedy requests, which need no nucleus, are spared: they are."""
        return True

    def new_req_logits_processor(self, params: Any) -> Any:
        """The mask of a request; None for a request without the argument."""
        p = (params.extra_args or {}).get(ARGUMENT)
        if p is None:
            return None

        def mask(_: list[int], logits: torch.Tensor) -> torch.Tensor:
            return keep_nucleus(logits, p)

        return mask
