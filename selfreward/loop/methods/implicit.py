"""Implicit rewards of a round's answers, and how far two models agree on them (CREAM, 2410.12735).

Every log-probability is found by prompt and answer, never by its position in a list: answers that are left out shift
nothing. Sums, not means over tokens, as in the paper's code.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from selfreward.contracts.rollouts import ResponseLogprobs, Rollout
from selfreward.loop.stages import Scorers

Place = tuple[str, int]
"""Prompt id and index of an answer."""


@dataclass(frozen=True)
class ScoredAnswer:
    """One distinct answer: its place in the rollout, and its rewards under M_t (`now`) and M_{t-1} (`before`)."""

    index: int
    text: str
    now: float
    before: float


def by_place(rows: Iterable[ResponseLogprobs]) -> dict[Place, ResponseLogprobs]:
    """Rows by prompt and answer. ValueError when one is there twice."""
    found: dict[Place, ResponseLogprobs] = {}
    for row in rows:
        if (row.prompt_id, row.index) in found:
            raise ValueError(f"answer {row.index} of prompt {row.prompt_id!r} has two rows of log-probabilities")
        found[row.prompt_id, row.index] = row
    return found


def reward(row: ResponseLogprobs, model: str, reference: str) -> float:
    """log p_model - log p_reference of an answer, in nats.

    Where the model is its own reference, that is 0 for every answer and ranks none: then it is the log-likelihood for
    each token, as the paper's code ranks by the initial model in the first round. KeyError for a model without a value.
    """
    if model == reference:
        return row.logprobs[model] / row.tokens
    return row.logprobs[model] - row.logprobs[reference]


def answers(rollout: Rollout, rows: Mapping[Place, ResponseLogprobs], scorers: Scorers) -> list[ScoredAnswer]:
    """The distinct answers of a rollout that can be trained on, in order of first appearance.

    Left out are blank ones and those without log-probabilities, which are longer than the models' context.
    """
    found: dict[str, ScoredAnswer] = {}
    for index, response in enumerate(rollout.responses):
        row = rows.get((rollout.prompt_id, index))
        if row is None or not response.text.strip() or response.text in found:
            continue
        now = reward(row, scorers.policy, scorers.reference)
        before = reward(row, scorers.previous, scorers.reference)
        found[response.text] = ScoredAnswer(index, response.text, now, before)
    return list(found.values())


def ranks(rewards: Sequence[float]) -> list[int]:
    """Ordinal ranks from 1, the lowest reward; of equal ones the earlier ranks lower."""
    order = sorted(range(len(rewards)), key=lambda place: rewards[place])
    found = [0] * len(rewards)
    for rank, place in enumerate(order, start=1):
        found[place] = rank
    return found


def kendall_tau(now: Sequence[float], before: Sequence[float]) -> float:
    """Kendall's tau of two lists of rewards of the same answers, from -1 to 1: (concordant - discordant) / pairs.

    ValueError for lists of different lengths or of fewer than two.
    """
    if len(now) != len(before) or len(now) < 2:
        raise ValueError(f"{len(now)} and {len(before)} rewards: give both of the same two or more answers")
    ours, theirs = ranks(now), ranks(before)
    pairs = list(combinations(range(len(now)), 2))
    agreed = sum((ours[a] < ours[b]) == (theirs[a] < theirs[b]) for a, b in pairs)
    return (2 * agreed - len(pairs)) / len(pairs)


def consistency(tau: float) -> float:
    """C of the paper, from 0 to 1: the share of answer pairs that both models order alike."""
    return (tau + 1) / 2


def consistencies(
    rollouts: Iterable[Rollout], rows: Mapping[Place, ResponseLogprobs], scorers: Scorers
) -> dict[str, float]:
    """C of each prompt with at least two distinct answers, by prompt id."""
    found: dict[str, float] = {}
    for rollout in rollouts:
        own = answers(rollout, rows, scorers)
        if len(own) >= 2:
            tau = kendall_tau([answer.now for answer in own], [answer.before for answer in own])
            found[rollout.prompt_id] = consistency(tau)
    return found


def monitors(
    rollouts: Sequence[Rollout], rows: Mapping[Place, ResponseLogprobs], scorers: Scorers
) -> dict[str, float | None]:
    """`consistency` (mean C) and `kendall_tau` (mean) of M_t and M_{t-1} over the round's prompts; None without any."""
    found = list(consistencies(rollouts, rows, scorers).values())
    mean = fmean(found) if found else None
    return {"consistency": mean, "kendall_tau": None if mean is None else 2 * mean - 1}


def judge_agreement(
    rollouts: Iterable[Rollout], rows: Mapping[Place, ResponseLogprobs], scorers: Scorers
) -> dict[str, float | None]:
    """`agreement`: the share of answer pairs with two scores that the judge and the implicit reward order alike.

    From 0 to 1, over the pairs of all prompts together, pairs that one of both finds even left out; None without any.
    """
    agreed = []
    for rollout in rollouts:
        own = answers(rollout, rows, scorers)
        scores = {answer.index: rollout.judgments[answer.index].score for answer in own}
        for a, b in combinations(own, 2):
            ours, theirs = scores[a.index], scores[b.index]
            if ours is not None and theirs is not None and ours != theirs and a.now != b.now:
                agreed.append((ours > theirs) == (a.now > b.now))
    return {"agreement": fmean(agreed) if agreed else None}
