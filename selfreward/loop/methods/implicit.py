"""Implicit rewards of a round's answers, and how far two models agree on them (CREAM, 2410.12735).

Log-probabilities are looked up by prompt and answer, never by their position in a list, so a missing answer shifts no
other. They are sums over tokens, not means, as in the paper's code.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from selfreward.contracts.rollouts import ResponseLogprobs, Rollout
from selfreward.loop.pairing import truncated_texts
from selfreward.loop.stages import Scorers

Place = tuple[str, int]
"""Prompt id and index of an answer."""


@dataclass(frozen=True)
class ScoredAnswer:
    """One distinct answer: its place in the rollout, and its rewards under M_t (`now`) and M_{t-1} (`before`).

    `truncated`: it ended at the token limit each time that it was sampled.
    """

    index: int
    text: str
    now: float
    before: float
    truncated: bool = False


def rows_by_place(rows: Iterable[ResponseLogprobs]) -> dict[Place, ResponseLogprobs]:
    """Rows by prompt and answer. ValueError for two rows of one answer."""
    rows_of: dict[Place, ResponseLogprobs] = {}
    for row in rows:
        if (row.prompt_id, row.index) in rows_of:
            raise ValueError(f"answer {row.index} of prompt {row.prompt_id!r} has two rows of log-probabilities")
        rows_of[row.prompt_id, row.index] = row
    return rows_of


def reward(row: ResponseLogprobs, model: str, reference: str) -> float:
    """log p_model - log p_reference of an answer, in nats.

    A model that is its own reference gives every answer 0 and so ranks none. The reward is then the log-likelihood per
    token, as in the paper's code, which ranks by the initial model in the first round. KeyError for a model without a
    value.
    """
    if model == reference:
        return row.logprobs[model] / row.tokens
    return row.logprobs[model] - row.logprobs[reference]


def scored_answers(rollout: Rollout, rows: Mapping[Place, ResponseLogprobs], scorers: Scorers) -> list[ScoredAnswer]:
    """The distinct answers of a rollout that can be trained on, in order of first appearance.

    Without blank answers, and without answers that have no log-probabilities because they exceed the models' context.
    """
    by_text: dict[str, ScoredAnswer] = {}
    truncated = truncated_texts(rollout.responses)
    for index, response in enumerate(rollout.responses):
        row = rows.get((rollout.prompt_id, index))
        if row is None or not response.text.strip() or response.text in by_text:
            continue
        now = reward(row, scorers.policy, scorers.reference)
        before = reward(row, scorers.previous, scorers.reference)
        by_text[response.text] = ScoredAnswer(index, response.text, now, before, response.text in truncated)
    return list(by_text.values())


def ranks(rewards: Sequence[float]) -> list[int]:
    """Ordinal ranks; 1 is the lowest reward. Of equal rewards the earlier one ranks lower."""
    order = sorted(range(len(rewards)), key=lambda place: rewards[place])
    ranked = [0] * len(rewards)
    for rank, place in enumerate(order, start=1):
        ranked[place] = rank
    return ranked


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
    by_prompt: dict[str, float] = {}
    for rollout in rollouts:
        scored = scored_answers(rollout, rows, scorers)
        if len(scored) >= 2:
            tau = kendall_tau([answer.now for answer in scored], [answer.before for answer in scored])
            by_prompt[rollout.prompt_id] = consistency(tau)
    return by_prompt


def monitors(
    rollouts: Sequence[Rollout], rows: Mapping[Place, ResponseLogprobs], scorers: Scorers
) -> dict[str, float | None]:
    """`consistency` (mean C) and `kendall_tau` (mean) of M_t and M_{t-1} over the round's prompts; None without any."""
    per_prompt = list(consistencies(rollouts, rows, scorers).values())
    mean = fmean(per_prompt) if per_prompt else None
    return {"consistency": mean, "kendall_tau": None if mean is None else 2 * mean - 1}


def judge_agreement(
    rollouts: Iterable[Rollout], rows: Mapping[Place, ResponseLogprobs], scorers: Scorers
) -> dict[str, float | None]:
    """`agreement`: the share of answer pairs with two scores that the judge and the implicit reward order alike.

    From 0 to 1, over the pairs of all prompts together. Pairs that either of them scores equally do not count. None
    without pairs.
    """
    agreed = []
    for rollout in rollouts:
        scored = scored_answers(rollout, rows, scorers)
        scores = {answer.index: rollout.judgments[answer.index].score for answer in scored}
        for a, b in combinations(scored, 2):
            ours, theirs = scores[a.index], scores[b.index]
            if ours is not None and theirs is not None and ours != theirs and a.now != b.now:
                agreed.append((ours > theirs) == (a.now > b.now))
    return {"agreement": fmean(agreed) if agreed else None}
