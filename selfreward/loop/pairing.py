"""Pair selection that several methods share: candidates, rules, outcomes, best over worst."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from selfreward.contracts.base import Message, content_key
from selfreward.contracts.judging import Vote
from selfreward.contracts.rollouts import Match, PreferencePair, Response, Rollout
from selfreward.loop.stages import round_index
from selfreward.recipe.rounds import Pairs

OUTCOMES = ("kept", "tie", "unscored", "below_margin", "filtered", "truncated")
"""The outcomes of a rollout, for every method: it gave pairs (`kept`), or the reason why not. `truncated`: only answers
that ended at the token limit could have been chosen."""


_WON = {1: 1.0, 0: 0.5, -1: 0.0}


@dataclass(frozen=True)
class JudgePreference:
    """Two judgments of the only answer of `rollout`, and their ratings; the chosen judgment's is higher."""

    rollout: Rollout
    chosen: Vote
    rejected: Vote
    elo_chosen: float
    elo_rejected: float


@dataclass(frozen=True)
class Candidate:
    """One distinct scored answer and all its votes. `score` is the mean of the valid votes.

    `truncated`: the answer ended at the token limit each time that it was sampled.
    """

    text: str
    score: float
    votes: tuple[float | None, ...]
    truncated: bool = False


def distinct_places(responses: Sequence[Response]) -> list[int]:
    """The first place of each text that is not blank, in order."""
    places: dict[str, int] = {}
    for place, response in enumerate(responses):
        if response.text.strip():
            places.setdefault(response.text, place)
    return list(places.values())


def truncated_texts(responses: Iterable[Response]) -> set[str]:
    """The texts that ended at the token limit each time that they were sampled."""
    ends = [(response.text, response.finish_reason == "length") for response in responses]
    return {text for text, cut in ends if cut} - {text for text, cut in ends if not cut}


def candidates(rollout: Rollout) -> list[Candidate]:
    """The distinct scored answers of a rollout, in order of first appearance.

    Answers of equal text pool their votes, since a gap between two scores of one text is noise. Unscored answers are
    left out, and so are blank ones, which the trainer refuses.
    """
    votes: dict[str, list[float | None]] = {}
    for response, judgment in zip(rollout.responses, rollout.judgments, strict=False):
        if judgment.score is not None and response.text.strip():
            votes.setdefault(response.text, []).extend(vote.score for vote in judgment.votes)
    truncated = truncated_texts(rollout.responses)
    return [
        Candidate(text, fmean(score for score in scores if score is not None), tuple(scores), text in truncated)
        for text, scores in votes.items()
    ]


def choosable(scored: Iterable[Candidate], rules: Pairs) -> list[Candidate]:
    """The answers that may be chosen: those that ended at the token limit only if the recipe says so."""
    return [candidate for candidate in scored if rules.chosen_truncated or not candidate.truncated]


def apply_rules(chosen: Candidate, rejected: Candidate, rules: Pairs) -> tuple[Candidate, Candidate] | str:
    """(chosen, rejected), or the outcome by which the recipe's rules drop the pair."""
    if chosen.score - rejected.score < rules.margin:
        return "below_margin"
    if rules.min_chosen_score is not None and chosen.score < rules.min_chosen_score:
        return "filtered"
    if rules.max_rejected_score is not None and rejected.score > rules.max_rejected_score:
        return "filtered"
    return chosen, rejected


def make_pair(rollout: Rollout, chosen: Candidate, rejected: Candidate) -> PreferencePair:
    """The pair of two scored answers of a rollout."""
    votes = {"votes_chosen": list(chosen.votes), "votes_rejected": list(rejected.votes)}
    return judged_pair(rollout, (chosen.text, rejected.text), (chosen.score, rejected.score), **votes)


def judged_pair(rollout: Rollout, texts: tuple[str, str], scores: tuple[float, float], **rest: Any) -> PreferencePair:
    """The pair of two judged texts of a rollout; `texts` and `scores` are (chosen, rejected)."""
    judge = rollout.judge_version or rollout.policy_version
    return unjudged_pair(rollout, texts, scores, **{"judge_version": judge, "rubric": rollout.rubric or "", **rest})


def unjudged_pair(
    rollout: Rollout, texts: tuple[str, str], scores: tuple[float, float] = (1.0, 0.0), **rest: Any
) -> PreferencePair:
    """The pair of two texts where no judge was asked. `rest` are further fields of the pair."""
    fields = {"prompt": rollout.prompt, "judge_version": "", "rubric": "", **rest}
    return PreferencePair(
        chosen=[Message(role="assistant", content=texts[0])],
        rejected=[Message(role="assistant", content=texts[1])],
        prompt_id=rollout.prompt_id,
        score_chosen=scores[0],
        score_rejected=scores[1],
        policy_version=rollout.policy_version,
        **fields,
    )


def choose(
    scored: list[Candidate], rules: Pairs, rng: random.Random, rho: float = 0.0
) -> tuple[Candidate, Candidate] | str:
    """(chosen, rejected), or the outcome that explains why there is no pair.

    One of several maxima (or minima) is drawn at random; the paper does not say how it breaks such ties. With `rho`
    above 0 the shortest nearly best answer is chosen over the longest nearly worst one. The best is that of the answers
    that the rules allow to be chosen.
    """
    if not scored:
        return "unscored"
    highest = max(candidate.score for candidate in scored)
    lowest = min(candidate.score for candidate in scored)
    if highest == lowest:
        return "tie"
    allowed = choosable(scored, rules)
    highest = max((candidate.score for candidate in allowed), default=lowest)
    if highest == lowest:
        return "truncated"
    slack = rho * (highest - lowest)
    best = [candidate for candidate in allowed if candidate.score >= highest - slack]
    worst = [candidate for candidate in scored if candidate.score <= lowest + slack]
    if rho:
        best, worst = _of_length(min, best), _of_length(max, worst)
    return apply_rules(rng.choice(best), rng.choice(worst), rules)


def best_over_worst(
    rollouts: Iterable[Rollout], rules: Pairs, seed: int
) -> tuple[list[PreferencePair], dict[str, int]]:
    """Pairs of the best-scored answer over the worst (Yuan et al. 2024, 2.2), and how many rollouts ended in which way.

    A rollout gives at most one pair, and none if all its answers have the same score. With fewer than two scored
    answers it counts as unscored. The result depends on `seed` and on each rollout alone, not on the order.
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


def judge_pair(preference: JudgePreference, prompt: Sequence[Message], rubric: str) -> PreferencePair:
    """The pair that teaches the judge: `prompt` is the filled judge prompt of `rubric` (`name@sha256:...`)."""
    rollout = preference.rollout
    return PreferencePair(
        prompt=list(prompt),
        chosen=[Message(role="assistant", content=preference.chosen.text)],
        rejected=[Message(role="assistant", content=preference.rejected.text)],
        kind="judge",
        prompt_id=f"{rollout.prompt_id}.{rollout.judgments[0].index}",
        score_chosen=preference.elo_chosen,
        score_rejected=preference.elo_rejected,
        votes_chosen=[preference.chosen.score],
        votes_rejected=[preference.rejected.score],
        policy_version=rollout.policy_version,
        judge_version=rollout.judge_version or rollout.policy_version,
        rubric=rubric,
    )


def _of_length(extreme: Callable[[Iterable[int]], int], candidates: list[Candidate]) -> list[Candidate]:
    length = extreme(len(candidate.text) for candidate in candidates)
    return [candidate for candidate in candidates if len(candidate.text) == length]


def neighbours(responses: Sequence[Response]) -> list[tuple[int, int]]:
    """Places of the answers to compare: the distinct ones that are not blank, two by two. An odd last one is left
    out."""
    places = distinct_places(responses)
    return list(zip(places[::2], places[1::2], strict=False))


def pairs_to_compare(responses: Sequence[Response]) -> list[tuple[int, int]]:
    """Places of every two different answers. Each text counts once, and blank answers do not count."""
    return list(combinations(distinct_places(responses), 2))


def preference(matches: Iterable[Match], a: int, b: int) -> float | None:
    """Probability (0 to 1) that answer `a` is better than `b`: the mean over principles and both orders.

    A match counts by the judge's probability if there is one, else as won, lost or tied. None when one order has no
    verdict, since the judge's position bias would then decide.
    """
    orders: dict[bool, list[float]] = {True: [], False: []}
    for match in matches:
        if match.status == "ok" and {match.first, match.second} == {a, b}:
            first = _WON[match.outcome] if match.p_first is None else match.p_first
            orders[match.first == a].append(first if match.first == a else 1 - first)
    return fmean(fmean(probabilities) for probabilities in orders.values()) if all(orders.values()) else None


def distinct_votes(votes: Sequence[Vote]) -> list[int]:
    """Places of the valid votes; each text counts once."""
    places: dict[str, int] = {}
    for place, vote in enumerate(votes):
        if vote.status == "ok" and vote.text.strip():
            places.setdefault(vote.text, place)
    return list(places.values())
