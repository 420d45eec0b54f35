"""Consistency-regularised self-rewarding, CREAM (Wang et al. 2024, 2410.12735): nobody judges.

Of a prompt's answers the one with the highest implicit reward under M_t is chosen, the one with the lowest is rejected.
How alike M_t and M_{t-1} rank the answers is the probability C that the label is right, DPO's soft label: the loss is
C * L(chosen, rejected) + (1 - C) * L(rejected, chosen).
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Literal

from selfreward.contracts.base import Contract
from selfreward.contracts.rollouts import PreferencePair, ResponseLogprobs, Rollout
from selfreward.loop.methods.base import Inputs, Method, logprobs_of
from selfreward.loop.methods.implicit import Place, ScoredAnswer, answers, by_place, consistencies
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
    """The answer with the highest implicit reward over the one with the lowest, as certain as two models agree."""

    name = "cream"
    tables = {"cream": CreamRules}

    def check_pairs(self, recipe: Recipe) -> None:
        """Pairs are chosen by a rule of the method's own."""
        message = f"method={self.name!r} chooses pairs by its own rule: of `pairs` give judge_pairs alone"
        check_no_pair_rules(recipe, message, judge_pairs=True)

    def check_training(self, recipe: Recipe) -> None:
        """Soft labels are for the sigmoid loss."""
        super().check_training(recipe)
        check_sigmoid(recipe)

    def judged(self, recipe: Recipe) -> bool:
        """Nobody judges."""
        return False

    def scored(self, recipe: Recipe) -> bool:
        """By the models' own probabilities."""
        return True

    def pairs(
        self, recipe: Recipe, rollouts: Sequence[Rollout], inputs: Inputs
    ) -> tuple[list[PreferencePair], dict[str, int]]:
        """The highest implicit reward over the lowest."""
        if not rollouts:
            return [], {}
        by = scorers(rollouts[0].run, rollouts[0].stage)
        return build_pairs(rollouts, by_place(logprobs_of(inputs)), by, table(recipe, CreamRules))


def build_pairs(
    rollouts: Sequence[Rollout], rows: Mapping[Place, ResponseLogprobs], scorers: Scorers, rules: CreamRules
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


def _outcome(rollout: Rollout, rows: Mapping[Place, ResponseLogprobs], found: Iterable[ScoredAnswer]) -> str:
    scored = sum(
        (rollout.prompt_id, index) in rows for index, answer in enumerate(rollout.responses) if answer.text.strip()
    )
    rewards = {answer.now for answer in found}
    return "unscored" if scored < 2 else "tie" if len(rewards) < 2 else "kept"


def _pair(rollout: Rollout, found: Sequence[ScoredAnswer], weight: float) -> PreferencePair:
    best = max(found, key=lambda answer: answer.now)
    worst = min(found, key=lambda answer: answer.now)
    return unjudged_pair(rollout, (best.text, worst.text), (best.now, worst.now), weight=weight)
