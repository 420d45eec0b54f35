"""What the changes between a run's models say: is a later model worse than the base, and what kind of gain is a step?

All functions are pure, of the report's `differences`: `{a, b, <figure>: {value, low, high, n} or None}`, model `a`
minus model `b`, shares from -1 to 1.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

Figure = Mapping[str, Any] | None
"""`{value, low, high, n}` with None for what could not be measured, or None for no figure at all."""
Kind = Literal["better", "sharper", "unclear"]

BASE, FIRST = "M0", "M1"
SAMPLED, GREEDY, BEST_OF_N = "solve_rate", "solve_rate_greedy", "solve_rate_best_of_n"


def above_zero(change: Figure) -> bool:
    """Whether the interval of a change lies above 0."""
    return change is not None and change["low"] is not None and change["low"] > 0


def below_zero(change: Figure) -> bool:
    """Whether the interval of a change lies below 0."""
    return change is not None and change["high"] is not None and change["high"] < 0


def steps(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs (later, earlier) of the models that a reader asks about, out of the `names` in order.

    Each step, then M1 since M0, and the last model since M1 and since M0; none twice.
    """
    asked = [(later, earlier) for earlier, later in pairwise(names)]
    asked += [(later, earlier) for later, earlier in ((FIRST, BASE), (names[-1], FIRST), (names[-1], BASE))]
    order = {name: place for place, name in enumerate(names)}
    known = [(a, b) for a, b in asked if a in order and b in order and order[a] > order[b]]
    return list(dict.fromkeys(known))


def kind_of_gain(sampled: Figure, greedy: Figure, best_of_n: Figure) -> Kind:
    """What a step changed, by the changes of the three solve rates (best of n: an oracle picks, which is pass@n).

    `better`: greedy and best of n are up, both intervals above 0, and sampled is not down. The model solves what it
    could not. `sharper`: sampled is up, its interval above 0, and neither of the others is. The model says more often
    what it could say before. `unclear`: anything else, also where a figure is missing.
    """
    if any(change is None or change["value"] is None for change in (sampled, greedy, best_of_n)):
        return "unclear"
    if above_zero(greedy) and above_zero(best_of_n) and not below_zero(sampled):
        return "better"
    if above_zero(sampled) and not above_zero(greedy) and not above_zero(best_of_n):
        return "sharper"
    return "unclear"


def gains(differences: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, str]]:
    """The kind of gain on each of `steps`, as `{a, b, kind}`; empty where no independent checker solved anything."""
    by_models = {(entry["a"], entry["b"]): entry for entry in differences}
    asked = [by_models[step] for step in steps(names) if step in by_models]
    return [
        {
            "a": entry["a"],
            "b": entry["b"],
            "kind": kind_of_gain(*(entry[name] for name in (SAMPLED, GREEDY, BEST_OF_N))),
        }
        for entry in asked
        if entry[SAMPLED] is not None
    ]


def below_base(differences: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """The alarm `below_base`: a later model solves less than M0, sampled or greedily, its interval below 0.

    `{model, figure, change}` for each, in the order of the models. None where nobody can know: without M0's evaluation
    or without an independent checker.
    """
    since_base = [entry for entry in differences if entry["b"] == BASE and entry[SAMPLED] is not None]
    if not since_base:
        return None
    return [
        {"model": entry["a"], "figure": name, "change": entry[name]}
        for entry in since_base
        for name in (SAMPLED, GREEDY)
        if below_zero(entry[name])
    ]
