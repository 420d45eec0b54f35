"""Preference pairs of the self-rewarding method (Yuan et al. 2024, 2401.10020, section 2.2).

The answer with the highest mean score is chosen, the one with the lowest is rejected; a prompt whose answers all
score the same gives no pair.
"""

import random
from collections.abc import Callable, Iterable

from selfreward.contracts.base import content_key
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop.pairing import OUTCOMES, Candidate, candidates, filtered, make_pair
from selfreward.loop.plan import round_index
from selfreward.loop.seed import sft_row
from selfreward.recipe.rounds import Pairs


def choose(
    found: list[Candidate], rules: Pairs, rng: random.Random, rho: float = 0.0
) -> tuple[Candidate, Candidate] | str:
    """(chosen, rejected), or the outcome that explains why there is no pair.

    Among several maxima (or minima) one is drawn at random; the paper does not say how it breaks such ties. With
    `rho` above 0 the shortest of the nearly best is chosen over the longest of the nearly worst.
    """
    if not found:
        return "unscored"
    highest = max(candidate.score for candidate in found)
    lowest = min(candidate.score for candidate in found)
    if highest == lowest:
        return "tie"
    slack = rho * (highest - lowest)
    best = [candidate for candidate in found if candidate.score >= highest - slack]
    worst = [candidate for candidate in found if candidate.score <= lowest + slack]
    if rho:
        best, worst = _of_length(min, best), _of_length(max, worst)
    return filtered(rng.choice(best), rng.choice(worst), rules)


def _of_length(extreme: Callable[[Iterable[int]], int], found: list[Candidate]) -> list[Candidate]:
    length = extreme(len(candidate.text) for candidate in found)
    return [candidate for candidate in found if len(candidate.text) == length]


def build_pairs(rollouts: Iterable[Rollout], rules: Pairs, seed: int) -> tuple[list[PreferencePair], dict[str, int]]:
    """At most one pair for each rollout, and how many rollouts ended in which way.

    A rollout with fewer than two scored answers counts as unscored. The result depends on `seed` and each rollout
    alone, not on their order.
    """
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        scored = sum(judgment.score is not None for judgment in rollout.judgments)
        rng = random.Random(content_key(seed, rollout.prompt_id))  # noqa: S311 - guards no secret
        rho = rules.rho(round_index(rollout.stage))
        outcome = choose(candidates(rollout), rules, rng, rho) if scored >= 2 else "unscored"
        if isinstance(outcome, str):
            counts[outcome] += 1
            continue
        counts["kept"] += 1
        pairs.append(make_pair(rollout, *outcome))
    return pairs, counts


def positives(pairs: Iterable[PreferencePair]) -> list[dict[str, object]]:
    """Rows of SFT data: the chosen answer of each pair, for rounds that learn nothing from the rejected one."""
    return [sft_row(pair.prompt, pair.chosen[-1].content) for pair in pairs]
