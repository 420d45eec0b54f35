"""Preference pairs of self-consistent internal rewards, SCIR (2502.08922): two judges inside one model.

The generative judge reads two answers and says which is better; the implicit reward compares their probabilities under
the model and a reference. Where both agree a pair is trusted. The reference is M0, as in CREAM, which is ours: the
summary of the paper at hand does not say which it is. So is how pairs are drawn: the distinct answers to a prompt are
paired in the order in which they were sampled, so that neither judge has a say in what it is asked.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean

from selfreward.contracts.base import Message
from selfreward.contracts.judging import Judgment
from selfreward.contracts.rollouts import Match, PreferencePair, Response, ResponseLogprobs, Rollout
from selfreward.loop.methods.implicit import Answer, Place, Scorers, answers
from selfreward.loop.pairing import OUTCOMES, distinct_places
from selfreward.recipe.methods import Scir


@dataclass(frozen=True)
class Opinion:
    """A pair of answers, the judge's probability that `a` is better, and the implicit reward's: yes or no."""

    a: Answer
    b: Answer
    judged: float
    implicit: bool

    @property
    def agreed(self) -> bool:
        """Whether both prefer the same answer."""
        return (self.judged > 0.5) == self.implicit


def offered(responses: Sequence[Response]) -> list[tuple[int, int]]:
    """Places of the answers to compare: distinct and not blank, two by two in their order; an odd last one is left."""
    places = distinct_places(responses)
    return list(zip(places[::2], places[1::2], strict=False))


def pairwise_probability(matches: Iterable[Match], a: int, b: int) -> float | None:
    """The judge's probability (0 to 1) that answer `a` beats `b`; None where an order has no verdict.

    Both orders weigh the same. From the judge's own probabilities where every valid verdict has one, else the share of
    verdicts, a tie being half.
    """
    valid = [match for match in matches if {match.first, match.second} == {a, b} and match.status == "ok"]
    soft = all(match.p_first is not None for match in valid)
    each = []
    for first in (a, b):
        shown = [match for match in valid if match.first == first]
        if not shown:
            return None
        share = fmean(
            match.p_first if soft and match.p_first is not None else (match.outcome + 1) / 2 for match in shown
        )
        each.append(share if first == a else 1 - share)
    return fmean(each)


def pointwise_probability(a: Judgment, b: Judgment) -> float | None:
    """The same from the votes on each answer: the share of vote pairs in which a's is above b's, equal ones half."""
    ours, theirs = ([vote.score for vote in one.votes if vote.score is not None] for one in (a, b))
    if not ours or not theirs:
        return None
    return fmean(1.0 if mine > other else 0.5 if mine == other else 0.0 for mine, other in product(ours, theirs))


def opinions(
    rollout: Rollout, rows: Mapping[Place, ResponseLogprobs], scorers: Scorers, rules: Scir
) -> tuple[list[Opinion], int]:
    """What both say of each offered pair, and how many pairs both have looked at; those that one finds even are no
    opinions."""
    known = {answer.index: answer for answer in answers(rollout, rows, scorers)}
    found, seen = [], 0
    for place_a, place_b in offered(rollout.responses):
        a, b = known.get(place_a), known.get(place_b)
        if rules.judge == "pairwise":
            judged = pairwise_probability(rollout.matches, place_a, place_b)
        else:
            judged = pointwise_probability(rollout.judgments[place_a], rollout.judgments[place_b])
        if a is None or b is None or judged is None:
            continue
        seen += 1
        if judged != 0.5 and a.now != b.now:
            found.append(Opinion(a, b, judged, a.now > b.now))
    return found, seen


def build_pairs(
    rollouts: Iterable[Rollout], rows: Mapping[Place, ResponseLogprobs], scorers: Scorers, rules: Scir
) -> tuple[list[PreferencePair], dict[str, int]]:
    """The pairs of all rollouts, and how many rollouts ended in which way.

    With `filter` the pairs on which both agree, with `consistency` all, each with the judge's probability as `weight`.
    `unscored`: no pair has a verdict and rewards, `tie`: one of both finds each pair even, `filtered`: they disagree.
    """
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        found, seen = opinions(rollout, rows, scorers, rules)
        kept = [opinion for opinion in found if opinion.agreed or rules.mode == "consistency"]
        counts["kept" if kept else "filtered" if found else "tie" if seen else "unscored"] += 1
        pairs += [_pair(rollout, opinion, rules) for opinion in kept]
    return pairs, counts


def monitors(
    rollouts: Sequence[Rollout], rows: Mapping[Place, ResponseLogprobs], scorers: Scorers, rules: Scir
) -> dict[str, float | None]:
    """`agreement`: the share of pairs on which both judges prefer the same answer (0 to 1), None without any.

    Of a judge that compares, `invalid_vote_rate` too: the share of its verdicts that cannot be read.
    """
    agreed = [opinion.agreed for rollout in rollouts for opinion in opinions(rollout, rows, scorers, rules)[0]]
    found = {"agreement": fmean(agreed) if agreed else None}
    if rules.judge == "pairwise":
        invalid = [match.status != "ok" for rollout in rollouts for match in rollout.matches]
        found["invalid_vote_rate"] = fmean(invalid) if invalid else None
    return found


def _pair(rollout: Rollout, opinion: Opinion, rules: Scir) -> PreferencePair:
    better, worse = (opinion.a, opinion.b) if opinion.judged > 0.5 else (opinion.b, opinion.a)
    sure = max(opinion.judged, 1 - opinion.judged)
    return PreferencePair(
        prompt=rollout.prompt,
        chosen=[Message(role="assistant", content=better.text)],
        rejected=[Message(role="assistant", content=worse.text)],
        prompt_id=rollout.prompt_id,
        score_chosen=sure,
        score_rejected=1 - sure,
        policy_version=rollout.policy_version,
        judge_version=rollout.judge_version or rollout.policy_version,
        rubric=rollout.rubric or "",
        weight=sure if rules.mode == "consistency" else None,
    )
