"""Preference pairs of self-play fine-tuning, SPIN (Chen et al. 2024, 2401.01335): nobody judges.

The demonstration is chosen and the policy's own answer to the same prompt is rejected, so what the loop can reach is
the demonstrations' own quality. A rollout holds the sampled answers and, last, the demonstration.
"""

import random
from collections.abc import Iterable, Sequence
from typing import Any

from selfreward.contracts.base import Message, content_key
from selfreward.contracts.rollouts import PreferencePair, Rollout


def demonstrated_prompts(ift: Sequence[dict[str, Any]], size: int, seed: int) -> list[dict[str, Any]]:
    """`size` of the IFT rows as prompts with their demonstration, the same ones in every round as in the paper.

    ValueError when there are fewer rows than that.
    """
    rng = random.Random(content_key(seed, "demonstrated prompts"))  # noqa: S311 - guards no secret
    return [
        {
            "prompt_id": f"ift-{number:05d}",
            "prompt": ift[number]["prompt"],
            "responses": [{"text": ift[number]["completion"][-1]["content"]}],
        }
        for number in sorted(rng.sample(range(len(ift)), size))
    ]


def build_pairs(rollouts: Iterable[Rollout]) -> tuple[list[PreferencePair], dict[str, int]]:
    """A pair for each distinct answer that is not the demonstration, and how many rollouts ended in which way.

    `tie`: every answer is the demonstration, `unscored`: every answer is blank. Pairs have scores 1 and 0, no votes and
    no judge.
    """
    pairs: list[PreferencePair] = []
    counts = {"kept": 0, "tie": 0, "unscored": 0}
    for rollout in rollouts:
        *sampled, demonstration = (response.text.strip() for response in rollout.responses)
        own = [text for text in dict.fromkeys(sampled) if text]
        worse = [text for text in own if text != demonstration]
        counts["kept" if worse else "tie" if own else "unscored"] += 1
        pairs += [_pair(rollout, demonstration, text) for text in worse]
    return pairs, counts


def _pair(rollout: Rollout, chosen: str, rejected: str) -> PreferencePair:
    return PreferencePair(
        prompt=rollout.prompt,
        chosen=[Message(role="assistant", content=chosen)],
        rejected=[Message(role="assistant", content=rejected)],
        prompt_id=rollout.prompt_id,
        score_chosen=1.0,
        score_rejected=0.0,
        policy_version=rollout.policy_version,
        judge_version="",
        rubric="",
    )
