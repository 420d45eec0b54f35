"""An answer found step by step: what is compared, how a search continues or goes back, and where it ends."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from selfreward.contracts.rollouts import Match, Response, Step
from selfreward.loop.pairing import preference


@dataclass(frozen=True)
class StepChoice:
    """Places of the best and the worst candidate of a step, and how many others each beats."""

    best: int
    worst: int
    best_wins: int
    worst_wins: int


def usable_candidates(candidates: Sequence[Response], separator: str) -> list[int]:
    """Places of the candidates that can be compared: each text once, neither blank nor truncated within a step."""
    places: dict[str, int] = {}
    for place, candidate in enumerate(candidates):
        complete = candidate.text.endswith(separator) or candidate.finish_reason == "stop"
        if complete and candidate.text.removesuffix(separator).strip():
            places.setdefault(candidate.text, place)
    return list(places.values())


def pairs_to_compare(candidates: Sequence[Response], separator: str) -> list[tuple[int, int]]:
    """Places of every two candidates to compare."""
    return list(combinations(usable_candidates(candidates, separator), 2))


def wins(candidates: Sequence[Response], matches: Sequence[Match], separator: str) -> dict[int, int]:
    """How many others each usable candidate beats, by its place (Score_i of the paper), with equal weight for both
    orders.

    If an order has no verdict, neither candidate beats the other.
    """
    beaten = dict.fromkeys(usable_candidates(candidates, separator), 0)
    for a, b in combinations(beaten, 2):
        p = preference(matches, a, b)
        if p is not None and p != 0.5:
            beaten[a if p > 0.5 else b] += 1
    return beaten


def best_and_worst(candidates: Sequence[Response], matches: Sequence[Match], separator: str) -> StepChoice | None:
    """The best and the worst candidate, the first of equal ones. None without a usable candidate."""
    beaten = wins(candidates, matches, separator)
    if not beaten:
        return None
    best, worst = max(beaten, key=lambda place: beaten[place]), min(beaten, key=lambda place: beaten[place])
    return StepChoice(best, worst, beaten[best], beaten[worst])


def extend(
    steps: Sequence[Step], candidates: list[Response], matches: list[Match], separator: str, backtracks: int
) -> list[Step]:
    """The steps of a search, extended by a step of compared candidates.

    The answer continues with the best candidate. If none beats more than another and the search may still go back, the
    new step and the step before it are dropped.
    """
    choice = best_and_worst(candidates, matches, separator)
    new = Step(candidates=candidates, matches=matches, chosen=choice.best if choice else None)
    if choice is None or choice.best_wins > choice.worst_wins or count_backtracks(steps) >= backtracks:
        return [*steps, new]
    last = max((place for place, step in enumerate(steps) if not step.dropped), default=None)
    earlier = [step.model_copy(update={"dropped": True}) if place == last else step for place, step in enumerate(steps)]
    return [*earlier, new.model_copy(update={"chosen": None, "dropped": True})]


def count_backtracks(steps: Iterable[Step]) -> int:
    """How often a search went back."""
    return sum(step.dropped and step.chosen is None for step in steps)


def is_over(steps: Sequence[Step], separator: str, max_steps: int) -> bool:
    """Whether a search ends here: the answer is complete, no candidate is usable, or the answer has `max_steps`
    steps."""
    taken = kept_steps(steps)
    if not taken or len(taken) == max_steps:
        return bool(taken)
    last = taken[-1]
    return last.chosen is None or ends_answer(last.candidates[last.chosen].text, separator)


def kept_steps(steps: Iterable[Step]) -> list[Step]:
    """The steps of an answer, without the dropped ones."""
    return [step for step in steps if not step.dropped]


def ends_answer(text: str, separator: str) -> bool:
    """Whether a chosen step is the last of its answer."""
    return not text.endswith(separator)


def answer_text(steps: Iterable[Step]) -> str:
    """The text of the chosen candidates, without the dropped steps."""
    return "".join(step.candidates[step.chosen].text for step in kept_steps(steps) if step.chosen is not None)


def answer_of(steps: Sequence[Step], separator: str) -> Response:
    """The answer of a search. Its `finish_reason` is `length` if it is incomplete."""
    kept = kept_steps(steps)
    taken = [step.candidates[step.chosen] for step in kept if step.chosen is not None]
    complete = len(taken) == len(kept) and ends_answer(taken[-1].text, separator)
    tokens = sum(candidate.tokens for candidate in taken)
    return Response(text=answer_text(steps), finish_reason="stop" if complete else "length", tokens=tokens)
