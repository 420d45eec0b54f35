"""Preference pairs of consistency-regularised self-rewarding, CREAM (Wang et al. 2024, 2410.12735): nobody judges.

Of a prompt's answers the one with the highest implicit reward under M_t is chosen, the one with the lowest is rejected.
How alike M_t and M_{t-1} rank the answers is the probability C that the label is right, DPO's soft label: the loss is
C * L(chosen, rejected) + (1 - C) * L(rejected, chosen).
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import PreferencePair, ResponseLogprobs, Rollout
from selfreward.loop.methods.implicit import Answer, Place, Scorers, answers, consistencies
from selfreward.loop.pairing import OUTCOMES
from selfreward.recipe.methods import Cream


def build_pairs(
    rollouts: Sequence[Rollout], rows: Mapping[Place, ResponseLogprobs], scorers: Scorers, rules: Cream
) -> tuple[list[PreferencePair], dict[str, int]]:
    """At most one pair for each rollout, and how many rollouts ended in which way.

    `unscored`: fewer than two answers have a reward, `tie`: all of them are one text or have one reward. Each pair's
    `weight` is C: the mean over all prompts with two answers or more, or its own prompt's.
    """
    consistent = consistencies(rollouts, rows, scorers)
    average = fmean(consistent.values()) if consistent else 0.5
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        found = answers(rollout, rows, scorers)
        outcome = _outcome(rollout, rows, found)
        counts[outcome] += 1
        if outcome == "kept":
            own = rules.soft_labels == "dynamic"
            pairs.append(_pair(rollout, found, consistent[rollout.prompt_id] if own else average))
    return pairs, counts


def _outcome(rollout: Rollout, rows: Mapping[Place, ResponseLogprobs], found: Iterable[Answer]) -> str:
    scored = sum(
        (rollout.prompt_id, index) in rows for index, answer in enumerate(rollout.responses) if answer.text.strip()
    )
    rewards = {answer.now for answer in found}
    return "unscored" if scored < 2 else "tie" if len(rewards) < 2 else "kept"


def _pair(rollout: Rollout, found: Sequence[Answer], weight: float) -> PreferencePair:
    best = max(found, key=lambda answer: answer.now)
    worst = min(found, key=lambda answer: answer.now)
    return PreferencePair(
        prompt=rollout.prompt,
        chosen=[Message(role="assistant", content=best.text)],
        rejected=[Message(role="assistant", content=worst.text)],
        prompt_id=rollout.prompt_id,
        score_chosen=best.now,
        score_rejected=worst.now,
        policy_version=rollout.policy_version,
        judge_version="",
        rubric="",
        weight=weight,
    )
