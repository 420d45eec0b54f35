"""Judge pairs of Meta-Rewarding (Wu et al. 2024, 2407.19594, section 2.1): the model judges its own judgments.

For each prompt the answer whose votes differ most is taken, every two of its distinct judgments are compared in both
orders, and the judgment that rates highest is preferred over the one that rates lowest. Actor pairs are those of
`self_rewarding`, with length control.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import exp
from statistics import fmean, pvariance

from selfreward.contracts.base import Message, content_key
from selfreward.contracts.judging import Vote
from selfreward.contracts.rollouts import Match, PreferencePair, Rollout
from selfreward.recipe.methods import MetaJudging

_EQUAL = 1e-6
"""Ratings this close are equal: what is left between them is the optimiser's error."""
_NEWTON_STEPS = 200


@dataclass(frozen=True)
class Preference:
    """Two judgments of the one answer of `rollout`, and their ratings."""

    rollout: Rollout
    chosen: Vote
    rejected: Vote
    elo_chosen: float
    elo_rejected: float


def distinct(votes: Sequence[Vote]) -> list[int]:
    """Places of the valid votes, each text once."""
    places: dict[str, int] = {}
    for place, vote in enumerate(votes):
        if vote.status == "ok" and vote.text.strip():
            places.setdefault(vote.text, place)
    return list(places.values())


def widest(rollout: Rollout, seed: int) -> int | None:
    """The answer whose valid scores have the highest variance, of those with two or more distinct judgments; one of
    several is drawn at random, and None when there is none."""
    variances = {
        place: pvariance([vote.score for vote in judgment.votes if vote.score is not None])
        for place, judgment in enumerate(rollout.judgments)
        if len(distinct(judgment.votes)) > 1 and rollout.responses[place].text.strip()
    }
    if not variances:
        return None
    highest = max(variances.values())
    rng = random.Random(content_key(seed, rollout.prompt_id, "widest"))  # noqa: S311 - guards no secret
    return rng.choice([place for place, variance in variances.items() if variance == highest])


def position_weights(matches: Iterable[Match]) -> tuple[float, float]:
    """Weights of a win by the one shown first and by the one shown second: the rarer counts more. They add up to 1."""
    outcomes = Counter(match.outcome for match in matches)
    decided = outcomes[1] + outcomes[-1]
    return (outcomes[-1] / decided, outcomes[1] / decided) if decided else (0.5, 0.5)


def battles(matches: Iterable[Match], places: Sequence[int], weights: tuple[float, float]) -> list[list[float]]:
    """B of shape (n, n) for the n votes at `places`: B[m, k] is what m won against k, each win by its weight."""
    row = {place: number for number, place in enumerate(places)}
    won = [[0.0] * len(places) for _ in places]
    for match in matches:
        if match.outcome == 1:
            won[row[match.first]][row[match.second]] += weights[0]
        elif match.outcome == -1:
            won[row[match.second]][row[match.first]] += weights[1]
    return won


def elo(won: Sequence[Sequence[float]], ridge: float) -> list[float]:
    """Ratings e of shape (n,) with mean 0: argmax of sum B[m, k] log sigma(e_m - e_k) - ridge sum e^2.

    In natural-log units, rounded to six digits. The ridge is ours: without it the likelihood has no maximum where one
    judgment wins everything. Newton's method, whose steps are shortened while they are long: it converges from
    anywhere, since the loss is convex and its curvature changes slowly.
    """
    ratings = [0.0] * len(won)
    for _ in range(_NEWTON_STEPS):
        gradient = [2 * ridge * rating for rating in ratings]
        bend = [[2 * ridge * (m == k) for k in range(len(won))] for m in range(len(won))]
        for m, k in permutations(range(len(won)), 2):
            # The derivative of -log sigma(gap) is sigma(gap) - 1, for the winner; the loser's is its negative.
            surprise = 1 / (1 + exp(ratings[m] - ratings[k]))
            pull, curve = won[m][k] * surprise, won[m][k] * surprise * (1 - surprise)
            gradient[m] -= pull
            gradient[k] += pull
            bend[m][m] += curve
            bend[k][k] += curve
            bend[m][k] -= curve
            bend[k][m] -= curve
        step = _solved(bend, gradient)
        longest = max(map(abs, step))
        ratings = [rating - part / (1 + 2 * longest) for rating, part in zip(ratings, step, strict=True)]
        if longest < _EQUAL**2:
            break
    mean = fmean(ratings)
    return [round(rating - mean, 6) for rating in ratings]


def _solved(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """x with `matrix` x = `right`, by elimination. A diagonal that outweighs its row, as here, needs no pivoting."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for place, pivot in enumerate(rows):
        for row in rows[:place] + rows[place + 1 :]:
            share = row[place] / pivot[place]
            row[place:] = [a - share * b for a, b in zip(row[place:], pivot[place:], strict=True)]
    return [row[-1] / row[place] for place, row in enumerate(rows)]


def preferences(
    rollouts: Sequence[Rollout], rules: MetaJudging, actor_pairs: int, seed: int
) -> tuple[list[Preference], dict[str, int]]:
    """Judge preferences of meta-judged rollouts (one answer each), and how many rollouts ended in which way.

    There are at most `rules.share` as many as the round has `actor_pairs`. `kept`; `equal`: the ratings prefer none;
    `long`: the chosen judgment is too long; `surplus`: left out because there are enough.
    """
    pooled = position_weights(match for rollout in rollouts for match in rollout.matches)
    found: list[Preference] = []
    counts = {"kept": 0, "equal": 0, "long": 0, "surplus": 0}
    for rollout in rollouts:
        votes = rollout.judgments[0].votes
        places = distinct(votes)
        weights = pooled if rules.positions == "round" else position_weights(rollout.matches)
        ratings = elo(battles(rollout.matches, places, weights), rules.ridge)
        best, worst = ratings.index(max(ratings)), ratings.index(min(ratings))
        chosen, rejected = votes[places[best]], votes[places[worst]]
        if ratings[best] - ratings[worst] < _EQUAL:
            counts["equal"] += 1
        elif rules.max_chosen_length is not None and len(chosen.text) > rules.max_chosen_length:
            counts["long"] += 1
        else:
            found.append(Preference(rollout, chosen, rejected, ratings[best], ratings[worst]))
    rng = random.Random(content_key(seed, "meta-judged pairs", [p.rollout.key for p in found]))  # noqa: S311 - no secret
    most = round(rules.share * actor_pairs)
    kept = [found[place] for place in sorted(rng.sample(range(len(found)), min(most, len(found))))]
    return kept, {**counts, "kept": len(kept), "surplus": len(found) - len(kept)}


def make_pair(preference: Preference, prompt: Sequence[Message], rubric: str) -> PreferencePair:
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


def figures(rollouts: Sequence[Rollout]) -> dict[str, float | None]:
    """What a round's meta-verdicts say of the meta-judge; None where there is nothing to measure, else shares (0 to 1).

    `no_verdict`: verdicts that could not be read. `prefers_higher_score`: of the decided ones between judgments of
    unequal score, those for the higher one; near 1 the meta-judge adds nothing to the scores (63 % in the first and
    98 % in the second round of the paper). `first_wins`: of the decided ones, those for the judgment shown first.
    `flips`: of the pairs decided in both orders, those decided differently.
    """
    matches = [(rollout.judgments[0].votes, match) for rollout in rollouts for match in rollout.matches]
    decided = [(votes, match) for votes, match in matches if match.outcome]
    higher = [
        (first > second) == (match.outcome == 1)
        for votes, match in decided
        if (first := votes[match.first].score) is not None
        and (second := votes[match.second].score) is not None
        and first != second
    ]
    flips = []
    for rollout in rollouts:
        won = {(match.first, match.second): match.outcome for match in rollout.matches if match.outcome}
        flips += [won[a, b] == won[b, a] for a, b in won if a < b and (b, a) in won]
    return {
        "no_verdict": _share([match.status != "ok" for _, match in matches]),
        "prefers_higher_score": _share(higher),
        "first_wins": _share([match.outcome == 1 for _, match in decided]),
        "flips": _share(flips),
    }


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None
