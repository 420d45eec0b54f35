"""Turn selected judgments into training rows: the judge's own filled prompts come from the judge service."""

from collections.abc import Mapping, Sequence

from selfreward.client.http import ServiceClient
from selfreward.contracts.base import Message
from selfreward.contracts.judging import JudgePrompts
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop.eft import Contrast, Verdict
from selfreward.loop.seed import sft_row

_CHUNK = 128
Place = tuple[str, int]
"""Prompt id and index of an answer."""


async def filled_prompts(
    judge: ServiceClient, rubric: str, rollouts: Sequence[Rollout], places: Sequence[Place]
) -> tuple[dict[Place, list[Message]], str]:
    """The judge's prompt about each of the answers at `places`, and the rubric's identity (`name@sha256:...`)."""
    by_prompt = {rollout.prompt_id: rollout for rollout in rollouts}
    found: dict[Place, list[Message]] = {}
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
        found |= dict(zip(chunk, filled.messages, strict=True))
    return found, identity


def sft_rows(verdicts: Sequence[Verdict], prompts: Mapping[Place, list[Message]]) -> list[dict[str, object]]:
    """EFT rows: the filled judge prompt, and the judgment as its completion."""
    return [sft_row(prompts[verdict.prompt_id, verdict.index], verdict.text) for verdict in verdicts]


def judge_pairs(
    contrasts: Sequence[Contrast], prompts: Mapping[Place, list[Message]], policy_version: str, rubric: str
) -> list[PreferencePair]:
    """Preference pairs of judgments. Their scores are agreement with the human ranking: 1 and 0."""
    return [
        PreferencePair(
            prompt=prompts[contrast.chosen.prompt_id, contrast.chosen.index],
            chosen=[Message(role="assistant", content=contrast.chosen.text)],
            rejected=[Message(role="assistant", content=contrast.rejected.text)],
            kind="judge",
            prompt_id=f"{contrast.chosen.prompt_id}.{contrast.chosen.index}",
            score_chosen=1.0,
            score_rejected=0.0,
            votes_chosen=[contrast.chosen.score],
            votes_rejected=[contrast.rejected.score],
            policy_version=policy_version,
            judge_version=policy_version,
            rubric=rubric,
        )
        for contrast in contrasts
    ]
