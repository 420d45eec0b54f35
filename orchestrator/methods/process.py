"""Preference pairs of single steps: process-based self-rewarding (PSRLM, 2503.03746).

An answer is found step by step. At each step the model samples candidates and compares every two of them itself; the
score of a candidate is how many it beats. The best continues the answer and, over the worst, is a pair of next steps
after the same beginning.

Where no candidate beats another there is nothing to prefer, and the answer goes on with the first one. That is ours:
the paper drops such a step and goes back to the one before it, which need not come to an end with a model that is sure
of what it says. So is it that cut-off candidates are left out, since nobody knows how they would go on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from orchestrator.methods.constitutional import preference
from orchestrator.methods.self_rewarding import OUTCOMES
from selfreward.contracts import Match, Message, PreferencePair, Response, Rollout, Step


@dataclass(frozen=True)
class Choice:
    """Places of the best and the worst candidate of a step, and how many others each beats."""

    best: int
    worst: int
    best_wins: int
    worst_wins: int


def usable(candidates: Sequence[Response], separator: str) -> list[int]:
    """Places of the candidates that can be compared: each text once, neither blank nor cut off within a step."""
    places: dict[str, int] = {}
    for place, candidate in enumerate(candidates):
        whole = candidate.text.endswith(separator) or candidate.finish_reason == "stop"
        if whole and candidate.text.removesuffix(separator).strip():
            places.setdefault(candidate.text, place)
    return list(places.values())


def offered(candidates: Sequence[Response], separator: str) -> list[tuple[int, int]]:
    """Places of every two candidates to compare."""
    return list(combinations(usable(candidates, separator), 2))


def wins(candidates: Sequence[Response], matches: Sequence[Match], separator: str) -> dict[int, int]:
    """For each usable candidate, by its place, how many others it beats (the paper's Score_i), both orders alike.

    Where an order has no verdict neither beats the other.
    """
    found = dict.fromkeys(usable(candidates, separator), 0)
    for a, b in combinations(found, 2):
        p = preference(matches, a, b)
        if p is not None and p != 0.5:
            found[a if p > 0.5 else b] += 1
    return found


def choose(candidates: Sequence[Response], matches: Sequence[Match], separator: str) -> Choice | None:
    """The best and the worst candidate, the first of equal ones; None where no candidate can be used."""
    found = wins(candidates, matches, separator)
    if not found:
        return None
    best, worst = max(found, key=lambda place: found[place]), min(found, key=lambda place: found[place])
    return Choice(best, worst, found[best], found[worst])


def ended(text: str, separator: str) -> bool:
    """Whether a chosen step is the last of its answer."""
    return not text.endswith(separator)


def answer(steps: Iterable[Step]) -> str:
    """The text of the chosen steps."""
    return "".join(step.candidates[step.chosen].text for step in steps if step.chosen is not None)


def build_pairs(rollouts: Iterable[Rollout], separator: str) -> tuple[list[PreferencePair], dict[str, int]]:
    """A pair of each step at which one candidate beats more than another, and how many rollouts ended in which way.

    Scores are the candidates beaten. `unscored`: no step has a comparison with a verdict; `tie`: none has a winner.
    """
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        made = [pair for number in range(len(rollout.steps)) if (pair := _pair(rollout, number, separator)) is not None]
        judged = any(
            preference(step.matches, a, b) is not None
            for step in rollout.steps
            for a, b in offered(step.candidates, separator)
        )
        counts["kept" if made else "tie" if judged else "unscored"] += 1
        pairs += made
    return pairs, counts


def _pair(rollout: Rollout, number: int, separator: str) -> PreferencePair | None:
    step = rollout.steps[number]
    found = choose(step.candidates, step.matches, separator)
    if found is None or found.best_wins == found.worst_wins:
        return None
    begun = answer(rollout.steps[:number])
    return PreferencePair(
        prompt=[*rollout.prompt, *([Message(role="assistant", content=begun)] if begun else [])],
        chosen=[Message(role="assistant", content=step.candidates[found.best].text)],
        rejected=[Message(role="assistant", content=step.candidates[found.worst].text)],
        prompt_id=rollout.prompt_id,
        score_chosen=found.best_wins,
        score_rejected=found.worst_wins,
        separator=separator,
        policy_version=rollout.policy_version,
        judge_version=rollout.judge_version or rollout.policy_version,
        rubric=rollout.rubric or "",
    )


def monitors(rollouts: Sequence[Rollout], separator: str) -> dict[str, float | None]:
    """Figures of a round; None where there is nothing to count.

    `mean_steps` of an answer; `finished`: the share of answers that came to their end; `paired_steps`: the share of
    steps that gave a pair; `invalid_vote_rate`: the share of comparisons without a verdict.
    """
    steps = [step for rollout in rollouts for step in rollout.steps]
    paired = [_pair(rollout, number, separator) for rollout in rollouts for number in range(len(rollout.steps))]
    invalid = [match.status != "ok" for step in steps for match in step.matches]
    return {
        "mean_steps": fmean(len(rollout.steps) for rollout in rollouts) if rollouts else None,
        "finished": fmean(rollout.responses[0].finish_reason == "stop" for rollout in rollouts) if rollouts else None,
        "paired_steps": fmean(pair is not None for pair in paired) if paired else None,
        "invalid_vote_rate": fmean(invalid) if invalid else None,
    }
