"""Data of Constitutional AI (Bai et al. 2022, 2212.08073): revised answers for M1, preferences by principle for rounds.

The paper trains a preference model on the preferences and PPO on that; here DPO trains on them directly, with the same
soft labels. Which answers are harmless people need not say; which are helpful they show in the IFT data.
"""

import random
from collections.abc import Iterable, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from selfreward.contracts.base import Contract, Message, content_key
from selfreward.contracts.rollouts import Match, PreferencePair, Response, Rollout
from selfreward.loop.constitution import Constitution, Principle, fill
from selfreward.loop.pairing import OUTCOMES, distinct_places
from selfreward.loop.seed import sft_row
from selfreward.recipe.methods import ByConstitution

_WON = {1: 1.0, 0: 0.5, -1: 0.0}


class Revision(Contract):
    """The requests of one round of revision, complete but for the texts that are yet to come."""

    critique: str
    revision: str


def revisions(constitution: Constitution, rounds: int, seed: int, prompt_id: str) -> list[Revision]:
    """What an answer to a prompt is criticised for, round by round; each principle is drawn by itself."""
    rng = random.Random(content_key(seed, prompt_id, "revisions"))  # noqa: S311 - guards no secret
    drawn = [rng.choice(constitution.principles) for _ in range(rounds)]
    return [
        Revision(
            critique=fill(constitution.critique, principle=principle.critique),
            revision=fill(constitution.revision, principle=principle.revision),
        )
        for principle in drawn
    ]


def choices(principles: Sequence[Principle], count: int, seed: int, prompt_id: str) -> list[str]:
    """The principles by which the answers to a prompt are compared: `count` of them, or all where there are fewer."""
    rng = random.Random(content_key(seed, prompt_id, "choices"))  # noqa: S311 - guards no secret
    return [principle.choice for principle in rng.sample(principles, min(count, len(principles)))]


def offered(responses: Sequence[Response]) -> list[tuple[int, int]]:
    """Places of every two different answers, each text once; blank ones are not compared."""
    return list(combinations(distinct_places(responses), 2))


def preference(matches: Iterable[Match], a: int, b: int) -> float | None:
    """Probability (0 to 1) that answer `a` is better than `b`: the mean over principles, both orders alike.

    A match counts by the judge's own probability, else as won, lost or even. None when an order has no verdict: then
    the judge's liking for a position would decide.
    """
    orders: dict[bool, list[float]] = {True: [], False: []}
    for match in matches:
        if match.status == "ok" and {match.first, match.second} == {a, b}:
            first = _WON[match.outcome] if match.p_first is None else match.p_first
            orders[match.first == a].append(first if match.first == a else 1 - first)
    return fmean(fmean(found) for found in orders.values()) if all(orders.values()) else None


def build_pairs(rollouts: Iterable[Rollout], rules: ByConstitution) -> tuple[list[PreferencePair], dict[str, int]]:
    """A pair of every two compared answers of which one is preferred, and how many rollouts ended in which way.

    Scores are probabilities, and so is `weight`, by `rules.clamp` and only with soft labels. `tie`: all answers are the
    same or equally good.
    """
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        found = {(a, b): preference(rollout.matches, a, b) for a, b in offered(rollout.responses)}
        decided = {places: p for places, p in found.items() if p is not None}
        made = [_pair(rollout, a, b, p, rules) for (a, b), p in decided.items() if p != 0.5]
        alike = not found and any(response.text.strip() for response in rollout.responses)
        counts["kept" if made else "tie" if decided or alike else "unscored"] += 1
        pairs += made
    return pairs, counts


def _pair(rollout: Rollout, a: int, b: int, p_a: float, rules: ByConstitution) -> PreferencePair:
    (chosen, rejected), p = ((a, b), p_a) if p_a > 0.5 else ((b, a), 1 - p_a)
    texts = [[Message(role="assistant", content=rollout.responses[place].text)] for place in (chosen, rejected)]
    return PreferencePair(
        prompt=rollout.prompt,
        chosen=texts[0],
        rejected=texts[1],
        prompt_id=rollout.prompt_id,
        score_chosen=p,
        score_rejected=1 - p,
        weight=clamped(p, rules.clamp) if rules.soft_labels else None,
        policy_version=rollout.policy_version,
        judge_version=rollout.judge_version or rollout.policy_version,
        rubric=rollout.rubric or "",
    )


def clamped(p: float, bounds: tuple[float, float] | None) -> float:
    """A probability within `bounds` (section 4.1: 40 to 60 % for a judge that reasons first)."""
    return p if bounds is None else min(max(p, bounds[0]), bounds[1])


def revised_rows(rollouts: Iterable[Rollout]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Rows of SFT data: each prompt with its last revision, and how many chains ended in which way.

    A rollout's responses are the answer and, for each round, a critique and a revision. `blank` and `truncated`
    revisions are left out; of those `kept`, `unchanged` ones are the first answer.
    """
    rows: list[dict[str, Any]] = []
    counts = {"kept": 0, "blank": 0, "truncated": 0, "unchanged": 0}
    for rollout in rollouts:
        first, last = rollout.responses[0], rollout.responses[-1]
        if not last.text.strip():
            counts["blank"] += 1
        elif last.finish_reason == "length":
            counts["truncated"] += 1
        else:
            counts["kept"] += 1
            counts["unchanged"] += first.text == last.text
            rows.append(sft_row(rollout.prompt, last.text))
    return rows, counts
