"""A request of each contract that is answered as it stands, for the OpenAPI document."""

from typing import Any

_PROMPT = "Use 7 3 12 to make 33 ."
_GOOD = "7 * 3 = 21 ; 21 + 12 = 33"
_BAD = "7 + 3 = 11"
_ITEM = {"prompt": _PROMPT, "response": _GOOD}
_BATCH = {"rubric": "countdown", "votes": 3, "seed": 1, "items": [_ITEM, {**_ITEM, "id": "bad", "response": _BAD}]}
_SCORE = {"model": "countdown", "text_1": _PROMPT, "text_2": [_GOOD, _BAD]}
_RERANK = {"model": "countdown", "query": _PROMPT, "documents": [_BAD, _GOOD], "top_n": 1}
_VERIFY = {
    "responses_create_params": {"input": [{"role": "user", "content": _PROMPT}]},
    "response": {
        "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": _GOOD}]}]
    },
}

EXAMPLES: dict[str, Any] = {
    "/v1/judge": _BATCH,
    "/v1/judge/pairwise": {"rubric": "pairwise", "seed": 1, "items": [{"prompt": _PROMPT, "a": _GOOD, "b": _BAD}]},
    "/v1/judge/meta": {
        "rubric": "meta",
        "items": [{**_ITEM, "judgement_a": "All steps are right. Score: 5", "judgement_b": "It is short. Score: 2"}],
    },
    "/v1/judge/rank": {"rubric": "countdown", "items": [{"prompt": _PROMPT, "candidates": [_BAD, _GOOD]}]},
    "/v1/jobs": _BATCH,
    "/v1/rubrics/{rubric_id}/prompt": {"items": [_ITEM]},
    "/score": _SCORE,
    "/v1/score": _SCORE,
    "/rerank": _RERANK,
    "/v1/rerank": _RERANK,
    "/v2/rerank": _RERANK,
    "/get_reward": {"query": [_PROMPT + _GOOD], "prompts": [_PROMPT], "labels": [""]},
    "/compat/slime": {"prompt": _PROMPT, "response": _GOOD, "label": None},
    "/verify": _VERIFY,
}
"""Body by path, for the POST routes."""
