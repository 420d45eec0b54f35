"""What all methods share when they choose pairs: candidates, filters, outcomes."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import PreferencePair, Response, Rollout
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


def filtered(chosen: Candidate, rejected: Candidate, rules: Pairs) -> tuple[Candidate, Candidate] | str:
    """The two as a pair, or the outcome that explains why the recipe's rules leave it out."""
    if chosen.score - rejected.score < rules.margin:
        return "below_margin"
    if rules.min_chosen_score is not None and chosen.score < rules.min_chosen_score:
        return "filtered"
    if rules.max_rejected_score is not None and rejected.score > rules.max_rejected_score:
        return "filtered"
    return chosen, rejected


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
