"""Preference pairs of the self-rewarding method (Yuan et al. 2024, 2401.10020, section 2.2).

The answer with the highest mean score is chosen, the one with the lowest is rejected; a prompt whose answers all
score the same gives no pair.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from selfreward.contracts.judging import Message, PreferencePair, Response, Rollout, content_key
from selfreward.loop.plan import round_index
from selfreward.loop.seed import sft_row
from selfreward.recipe.rounds import Pairs

OUTCOMES = ("kept", "tie", "unscored", "below_margin", "filtered")
"""What becomes of a rollout, by every method: it gives pairs, or why it gives none."""


@dataclass(frozen=True)
class Candidate:
    """One distinct scored answer and all its votes. `score` is the mean of the valid ones."""

    text: str
    score: float
    votes: tuple[float | None, ...]


def distinct_places(responses: Sequence[Response]) -> list[int]:
    """Where each text that is not blank stands first, in that order."""
    places: dict[str, int] = {}
    for place, response in enumerate(responses):
        if response.text.strip():
            places.setdefault(response.text, place)
    return list(places.values())


def candidates(rollout: Rollout) -> list[Candidate]:
    """The distinct scored answers of a rollout, in order of first appearance.

    Answers of equal text pool their votes: a gap between two scores of one text is noise, not preference. Unscored
    answers are left out, and blank ones, which the trainer refuses to train on.
    """
    votes: dict[str, list[float | None]] = {}
    for response, judgment in zip(rollout.responses, rollout.judgments, strict=False):
        if judgment.score is not None and response.text.strip():
            votes.setdefault(response.text, []).extend(vote.score for vote in judgment.votes)
    return [
        Candidate(text, fmean(score for score in scores if score is not None), tuple(scores))
        for text, scores in votes.items()
    ]


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


def filtered(chosen: Candidate, rejected: Candidate, rules: Pairs) -> tuple[Candidate, Candidate] | str:
    """The two as a pair, or the outcome that explains why the recipe's rules leave it out."""
    if chosen.score - rejected.score < rules.margin:
        return "below_margin"
    if rules.min_chosen_score is not None and chosen.score < rules.min_chosen_score:
        return "filtered"
    if rules.max_rejected_score is not None and rejected.score > rules.max_rejected_score:
        return "filtered"
    return chosen, rejected


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


def make_pair(rollout: Rollout, chosen: Candidate, rejected: Candidate) -> PreferencePair:
    """The pair of two scored answers of a rollout."""
    return PreferencePair(
        prompt=rollout.prompt,
        chosen=[Message(role="assistant", content=chosen.text)],
        rejected=[Message(role="assistant", content=rejected.text)],
        prompt_id=rollout.prompt_id,
        score_chosen=chosen.score,
        score_rejected=rejected.score,
        votes_chosen=list(chosen.votes),
        votes_rejected=list(rejected.votes),
        policy_version=rollout.policy_version,
        judge_version=rollout.judge_version or rollout.policy_version,
        rubric=rollout.rubric or "",
    )
