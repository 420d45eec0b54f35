"""Consistency-regularised self-rewarding, CREAM (Wang et al. 2024, 2410.12735). No judge is asked.

The chosen answer to a prompt has the highest implicit reward under M_t, the rejected one the lowest. The consistency C
of the rankings by M_t and M_{t-1} is DPO's soft label, the probability that the label is right: the loss is
C * L(chosen, rejected) + (1 - C) * L(rejected, chosen).
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Literal

from selfreward.contracts.base import Contract
from selfreward.contracts.rollouts import PreferencePair, ResponseLogprobs, Rollout
from selfreward.loop.methods.base import Inputs, Method, logprobs_of
from selfreward.loop.methods.implicit import Place, ScoredAnswer, consistencies, rows_by_place, scored_answers
from selfreward.loop.methods.plan import check_no_pair_rules, check_sigmoid, table
from selfreward.loop.pairing import OUTCOMES, unjudged_pair
from selfreward.loop.stages import Scorers, scorers
from selfreward.recipe.recipe import Recipe


class CreamRules(Contract):
    """The recipe's `[cream]`. `soft_labels`: the probability that a pair's chosen answer is better is the mean
    consistency of the whole round (`average`, the paper's default) or that of the pair's own prompt (`dynamic`).
    """

    soft_labels: Literal["average", "dynamic"] = "average"


class Cream(Method):
    """Prefers the highest implicit reward over the lowest; the label's weight is how far two models agree."""

    name = "cream"
    tables = {"cream": CreamRules}

    def check_pairs(self, recipe: Recipe) -> None:
        """The method has its own rule for pairs."""
        message = f"method={self.name!r} chooses pairs by its own rule: of `pairs` give judge_pairs and "
        message += "chosen_truncated alone"
        check_no_pair_rules(recipe, message, "judge_pairs", "chosen_truncated")

    def check_training(self, recipe: Recipe) -> None:
        """Soft labels need the sigmoid loss."""
        super().check_training(recipe)
        check_sigmoid(recipe)

    def judges(self, recipe: Recipe) -> bool:
        """No judge is asked."""
        return False

    def scores(self, recipe: Recipe) -> bool:
        """Answers are scored by the models' probabilities."""
        return True

    def pairs(
        self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> tuple[list[PreferencePair], dict[str, int]]:
        """The highest implicit reward over the lowest."""
        if not rollouts:
            return [], {}
        by = scorers(rollouts[0].run, rollouts[0].stage)
        return build_pairs(
            rollouts, rows_by_place(logprobs_of(inputs)), by, table(recipe, CreamRules), recipe.pairs.chosen_truncated
        )


def build_pairs(
    rollouts: Sequence[Rollout],
    rows: Mapping[Place, ResponseLogprobs],
    scorers: Scorers,
    rules: CreamRules,
    chosen_truncated: bool = False,
) -> tuple[list[PreferencePair], dict[str, int]]:
    """At most one pair for each rollout, and how many rollouts ended in which way.

    `unscored`: fewer than two answers have a reward. `tie`: all answers have the same text or the same reward.
    `truncated`: only answers that ended at the token limit have a reward above the lowest. The `weight` of a pair is C:
    the mean over all prompts with two answers or more, or that of the pair's prompt.
    """
    consistent = consistencies(rollouts, rows, scorers)
    average = fmean(consistent.values()) if consistent else 0.5
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        scored = scored_answers(rollout, rows, scorers)
        allowed = [answer for answer in scored if chosen_truncated or not answer.truncated]
        outcome = _outcome(rollout, rows, scored, allowed)
        counts[outcome] += 1
        if outcome == "kept":
            per_prompt = rules.soft_labels == "dynamic"
            pairs.append(_pair(rollout, scored, allowed, consistent[rollout.prompt_id] if per_prompt else average))
    return pairs, counts


def _outcome(
    rollout: Rollout,
    rows: Mapping[Place, ResponseLogprobs],
    scored: Iterable[ScoredAnswer],
    allowed: Iterable[ScoredAnswer],
) -> str:
    with_reward = sum(
        (rollout.prompt_id, index) in rows for index, answer in enumerate(rollout.responses) if answer.text.strip()
    )
    rewards = {answer.now for answer in scored}
    if with_reward < 2 or len(rewards) < 2:
        return "unscored" if with_reward < 2 else "tie"
    return "kept" if any(answer.now > min(rewards) for answer in allowed) else "truncated"


def _pair(
    rollout: Rollout, scored: Sequence[ScoredAnswer], allowed: Sequence[ScoredAnswer], weight: float
) -> PreferencePair:
    best = max(allowed, key=lambda answer: answer.now)
    worst = min(scored, key=lambda answer: answer.now)
    return unjudged_pair(rollout, (best.text, worst.text), (best.now, worst.now), weight=weight)
