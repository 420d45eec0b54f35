"""Preference pairs of single steps: process-based self-rewarding (PSRLM, 2503.03746).

An answer is found step by step. At each step the model samples candidates and compares every two of them itself; the
score of a candidate is how many it beats. The best continues the answer and, over the worst, is a pair of next steps
after the same beginning.

Where the best beats no more than the worst there is nothing to prefer: the step is dropped, and the one before it is
sampled anew, as in the paper. With a model that is sure of what it says that need not come to an end, so a search goes
back a few times only, and then goes on with the first candidate. That is ours, as it is that the pair of a step that is
sampled anew is dropped with it (our notes of the paper do not say), and that cut-off candidates are left out, since
nobody knows how they would go on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import Match, PreferencePair, Response, Rollout, Step
from selfreward.loop.methods.constitutional import preference
from selfreward.loop.pairing import OUTCOMES


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


def after(
    steps: Sequence[Step], candidates: list[Response], matches: list[Match], separator: str, backtracks: int
) -> list[Step]:
    """A search's steps after these candidates have been compared: the answer goes on with the best of them or, where
    there is none and the search may go back once more, this step and the one before it are dropped."""
    found = choose(candidates, matches, separator)
    new = Step(candidates=candidates, matches=matches, chosen=found.best if found else None)
    if found is None or found.best_wins > found.worst_wins or went_back(steps) >= backtracks:
        return [*steps, new]
    last = max((place for place, step in enumerate(steps) if not step.dropped), default=None)
    kept = [step.model_copy(update={"dropped": True}) if place == last else step for place, step in enumerate(steps)]
    return [*kept, new.model_copy(update={"chosen": None, "dropped": True})]


def went_back(steps: Iterable[Step]) -> int:
    """How often a search has gone back."""
    return sum(step.dropped and step.chosen is None for step in steps)


def over(steps: Sequence[Step], separator: str, max_steps: int) -> bool:
    """Whether a search ends here: with the answer, without a usable candidate, or after `max_steps` of its steps."""
    taken = kept_steps(steps)
    if not taken or len(taken) == max_steps:
        return bool(taken)
    last = taken[-1]
    return last.chosen is None or ended(last.candidates[last.chosen].text, separator)


def kept_steps(steps: Iterable[Step]) -> list[Step]:
    """The steps of an answer, without those that were dropped."""
    return [step for step in steps if not step.dropped]


def ended(text: str, separator: str) -> bool:
    """Whether a chosen step is the last of its answer."""
    return not text.endswith(separator)


def answer(steps: Iterable[Step]) -> str:
    """The text of the chosen steps, but of those that were dropped."""
    return "".join(step.candidates[step.chosen].text for step in kept_steps(steps) if step.chosen is not None)


def build_pairs(rollouts: Iterable[Rollout], separator: str) -> tuple[list[PreferencePair], dict[str, int]]:
    """A pair of each step of an answer at which one candidate beats more than another, and how rollouts ended.

    Scores are the candidates beaten. `unscored`: no step has a comparison with a verdict; `tie`: none has a winner.
    """
    pairs: list[PreferencePair] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        made = [pair for pair in _pairs(rollout, separator) if pair is not None]
        judged = any(
            preference(step.matches, a, b) is not None
            for step in rollout.steps
            for a, b in offered(step.candidates, separator)
        )
        counts["kept" if made else "tie" if judged else "unscored"] += 1
        pairs += made
    return pairs, counts


def _pairs(rollout: Rollout, separator: str) -> list[PreferencePair | None]:
    """For each step of the answer its pair, or None."""
    taken = kept_steps(rollout.steps)
    return [_pair(rollout, step, answer(taken[:number]), separator) for number, step in enumerate(taken)]


def _pair(rollout: Rollout, step: Step, begun: str, separator: str) -> PreferencePair | None:
    found = choose(step.candidates, step.matches, separator)
    if found is None or found.best_wins == found.worst_wins:
        return None
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

    `mean_steps` of an answer; `mean_backtracks`: how often its search went back; `finished`: the share of answers that
    came to their end; `paired_steps`: the share of the answers' steps that gave a pair; `invalid_vote_rate`: the share
    of all comparisons without a verdict.
    """
    paired = [pair for rollout in rollouts for pair in _pairs(rollout, separator)]
    invalid = [match.status != "ok" for rollout in rollouts for step in rollout.steps for match in step.matches]
    return {
        "mean_steps": fmean(len(kept_steps(rollout.steps)) for rollout in rollouts) if rollouts else None,
        "mean_backtracks": fmean(went_back(rollout.steps) for rollout in rollouts) if rollouts else None,
        "finished": fmean(rollout.responses[0].finish_reason == "stop" for rollout in rollouts) if rollouts else None,
        "paired_steps": fmean(pair is not None for pair in paired) if paired else None,
        "invalid_vote_rate": fmean(invalid) if invalid else None,
    }
