"""The judge's prompts for training rows, filled by the judge service."""

from collections.abc import Sequence

from selfreward.client.http import ServiceClient
from selfreward.contracts.base import Message
from selfreward.contracts.judging import JudgePrompts
from selfreward.contracts.rollouts import Rollout
from selfreward.loop.eft import Place

_CHUNK = 128


async def filled_prompts(
    judge: ServiceClient, rubric: str, rollouts: Sequence[Rollout], places: Sequence[Place]
) -> tuple[dict[Place, list[Message]], str]:
    """The judge's prompt about each of the answers at `places`, and the rubric's identity (`name@sha256:...`)."""
    by_prompt = {rollout.prompt_id: rollout for rollout in rollouts}
    prompts: dict[Place, list[Message]] = {}
    identity = rubric
    for start in range(0, len(places), _CHUNK):
        chunk = places[start : start + _CHUNK]
        items = [
            {
                "prompt": [message.model_dump() for message in by_prompt[prompt_id].prompt],
                "response": by_prompt[prompt_id].responses[index].text,
            }
            for prompt_id, index in chunk
        ]
        reply = await judge.request("POST", f"/v1/rubrics/{rubric}/prompt", json={"items": items})
        filled = JudgePrompts.model_validate_json(reply.content)
        identity = filled.rubric
        prompts |= dict(zip(chunk, filled.messages, strict=True))
    return prompts, identity
