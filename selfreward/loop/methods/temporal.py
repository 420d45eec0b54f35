"""Preference pairs of temporal self-rewarding (2508.06026): rejected answers of the past, chosen ones of the future.

The answers of one model grow alike, and with them the gap between chosen and rejected shrinks (9 times in 4 rounds,
ibid.). So a round rejects the worst answer of M1, which stays where it was, and chooses the best one of a future model,
trained on the round's first pairs and then discarded. All are scored by the model that training starts from.
A rollout holds that model's own answers and, after them, those of M1.
"""

import random
from collections.abc import Iterable, Sequence
from typing import Any

from selfreward.contracts.base import content_key
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop.pairing import OUTCOMES, Candidate, candidates, filtered, make_pair
from selfreward.recipe.rounds import Pairs


def anchored_prompts(rows: Sequence[dict[str, Any]], past: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The prompts with the past answers to them, without those that M1 could not answer."""
    answered = {row["prompt_id"]: row["responses"] for row in past}
    return [{**row, "responses": answered[row["prompt_id"]]} for row in rows if row["prompt_id"] in answered]


def choose(
    own: Sequence[Candidate],
    past: Sequence[Candidate],
    future: Sequence[Candidate],
    rules: Pairs,
    rng: random.Random,
) -> tuple[Candidate, Candidate] | str:
    """(chosen, rejected), or the outcome that explains why there is no pair.

    Chosen is the best of the present model's `own` answers, or the best `future` one where that scores higher. Rejected
    is the worst own answer, or the worst `past` one where that scores lower. Of equals one is drawn at random.
    """
    if not own or len(own) + len(past) + len(future) < 2:
        return "unscored"
    chosen, rejected = rng.choice(_best(own)), rng.choice(_worst(own))
    if past and _worst(past)[0].score < rejected.score:
        rejected = rng.choice(_worst(past))
    # Last, so that the rejected answer is the one that the future model was trained with.
    if future and _best(future)[0].score > chosen.score:
        chosen = rng.choice(_best(future))
    if chosen.score == rejected.score:
        return "tie"
    return filtered(chosen, rejected, rules)


def build_pairs(
    rollouts: Iterable[Rollout], foreseen: Iterable[Rollout], sampled: int, rules: Pairs, seed: int
) -> tuple[list[PreferencePair], dict[str, int]]:
    """At most one pair for each rollout, and how many rollouts ended in which way.

    The first `sampled` answers of a rollout are the present model's own. `foreseen` are the future model's answers to
    the same prompts, matched by prompt id; without them these are the pairs that train the future model.
    """
    later = {rollout.prompt_id: candidates(rollout) for rollout in foreseen}
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        rng = random.Random(content_key(seed, rollout.prompt_id))  # noqa: S311 - guards no secret
        found, mine = candidates(rollout), {response.text for response in rollout.responses[:sampled]}
        own = [candidate for candidate in found if candidate.text in mine]
        past = [candidate for candidate in found if candidate.text not in mine]
        # A text that is known already has its score: another one would be noise.
        known = {candidate.text for candidate in found}
        future = [candidate for candidate in later.get(rollout.prompt_id, []) if candidate.text not in known]
        outcome = choose(own, past, future, rules, rng)
        if isinstance(outcome, str):
            counts[outcome] += 1
            continue
        counts["kept"] += 1
        pairs.append(make_pair(rollout, *outcome))
    return pairs, counts


def _best(found: Sequence[Candidate]) -> list[Candidate]:
    highest = max(candidate.score for candidate in found)
    return [candidate for candidate in found if candidate.score == highest]


def _worst(found: Sequence[Candidate]) -> list[Candidate]:
    lowest = min(candidate.score for candidate in found)
    return [candidate for candidate in found if candidate.score == lowest]
