"""The canary of a checkpoint: what its weights say next, and how far an engine's rounding may move that.

Tokens are no measure of rounding: where two are nearly as likely, half precision picks the other one. So the manifest
holds log-probabilities along one answer, and a bound for their difference, measured on these weights.
"""

from typing import Any

import torch

from selfreward.contracts.base import Message
from selfreward.store.manifest import Canary
from services.trainer.training.checks import render

TOKENS = 8
CANDIDATES = 5
FACTOR = 4.0
"""An engine may differ from float32 by this many times what half precision differs by here: other kernels round in
another order, and one prompt is a small sample."""
LEAST_TOLERANCE = 0.02
"""In nats: small models differ by thousandths, and no wrong weights have been seen to differ by so little."""


def make_canary(model: Any, tokenizer: Any, messages: list[Message], dtype: torch.dtype) -> Canary:
    """The canary of a float32 model that is served in `dtype`.

    The model is left in half precision, so that no second copy of it is needed: in `dtype`, or in bf16 where that is
    float32, since an engine may serve it so.
    """
    model.eval()
    ids = render(tokenizer, messages, answer_next=True)
    answer = _greedy(model, ids, tokenizer.eos_token_id)
    exact = _log_probabilities(model, ids, answer)
    model.to(dtype if dtype in (torch.bfloat16, torch.float16) else torch.bfloat16)
    rounded = _log_probabilities(model, ids, answer)
    best = exact.topk(CANDIDATES)
    difference = float((rounded.gather(1, best.indices) - best.values).square().mean().sqrt())
    candidates = [
        dict(zip(tokens, (round(value, 4) for value in values), strict=True))
        for tokens, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
    tolerance = max(LEAST_TOLERANCE, FACTOR * difference)
    return Canary(messages=messages, token_ids=answer, candidates=candidates, tolerance=round(tolerance, 4))


def _greedy(model: Any, ids: list[int], stop: int) -> list[int]:
    """The first greedy token ids, at most `TOKENS`, up to the end of the answer."""
    answer: list[int] = []
    while len(answer) < TOKENS and stop not in answer:
        answer.append(int(_log_probabilities(model, ids, [*answer, stop])[-1].argmax()))
    return answer


def _log_probabilities(model: Any, ids: list[int], answer: list[int]) -> torch.Tensor:
    """Log-probabilities of every token at each place of `answer`, in nats and float32; shape (answer, vocabulary)."""
    read = torch.tensor([ids + answer[:-1]], device=model.device)
    with torch.inference_mode():
        logits: torch.Tensor = model(read, logits_to_keep=len(answer)).logits[0]
    return logits.float().log_softmax(-1).cpu()
