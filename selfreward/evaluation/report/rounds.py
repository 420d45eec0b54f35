"""The training rounds of a run: what the orchestrator counted, and figures of the pairs that trained each round."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from selfreward.contracts.rollouts import PreferencePair
from selfreward.evaluation.bootstrap import Bootstrap, mean, ratio
from selfreward.evaluation.report.answers import pooled

_COUNTED = ("prompts", "pairs", "ties", "unscored", "score_histogram", "seconds")
SIDES = ("chosen", "rejected")


def round_report(
    entry: Mapping[str, Any],
    pairs: Sequence[PreferencePair],
    labels: Sequence[tuple[float, float]],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """A round's entry with intervals for pair yield, chosen-rejected gap (rubric points) and length ratio.

    `entry` is the orchestrator's record, kept as it is but for `chosen_rejected_gap`. Only actor pairs are looked at.
    The gap is left out where nobody judged.
    `labels` are the checker's scores of each one's chosen and rejected answer, if there are any: they give the shares
    of `pairs_right` and `pairs_wrong` (the others are equal to the checker).
    """
    actor = [pair for pair in pairs if pair.kind == "actor"]
    places: dict[str, list[int]] = {}
    for place, pair in enumerate(actor):
        places.setdefault(pair.prompt_id, []).append(place)
    gave_a_pair = np.zeros(max(int(entry.get("prompts") or 0), len(places)))
    gave_a_pair[: len(places)] = 1

    def by_prompt(values: Sequence[float]) -> list[list[float]]:
        """One list for each prompt, since several pairs of a prompt are not independent."""
        return [[values[place] for place in listed] for listed in places.values()] if values else []

    chosen, rejected = (by_prompt([len(getattr(pair, side)[-1].content) for pair in actor]) for side in SIDES)
    judged = all(pair.rubric for pair in actor)
    figures = {
        "pair_yield": mean(gave_a_pair),
        "chosen_rejected_gap": pooled(by_prompt([pair.margin for pair in actor] if judged else [])),
        "length_ratio": ratio([sum(row) for row in chosen], [sum(row) for row in rejected]),
        "pairs_right": pooled(by_prompt([float(better > worse) for better, worse in labels])),
        "pairs_wrong": pooled(by_prompt([float(better < worse) for better, worse in labels])),
    }
    counted = {name: entry.get(name) for name in _COUNTED}
    return {**entry, **counted, **{name: bootstrap.interval(figure)._asdict() for name, figure in figures.items()}}
