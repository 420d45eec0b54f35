"""The training rounds of a run: what the orchestrator counted, and figures of the pairs that trained each round."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.bootstrap import Bootstrap, mean, ratio
from selfreward.contracts import PreferencePair

_COUNTED = ("prompts", "pairs", "ties", "unscored", "score_histogram", "seconds")


def round_report(
    entry: Mapping[str, Any],
    pairs: Sequence[PreferencePair],
    labels: Sequence[tuple[float, float]],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """A round's entry with intervals for pair yield, chosen-rejected gap (rubric points) and length ratio.

    `entry` is the orchestrator's record, kept as it is but for `chosen_rejected_gap`. Only actor pairs are looked at.
    `labels` are the checker's scores of each one's chosen and rejected answer, if there are any: they give the shares
    of `pairs_right` and `pairs_wrong` (the others are equal to the checker).
    """
    actor = [pair for pair in pairs if pair.kind == "actor"]
    kept = np.zeros(max(int(entry.get("prompts") or 0), len(actor)))
    kept[: len(actor)] = 1
    figures = {
        "pair_yield": mean(kept),
        "chosen_rejected_gap": mean([pair.margin for pair in actor]),
        "length_ratio": ratio(_lengths(actor, "chosen"), _lengths(actor, "rejected")),
        "pairs_right": mean([float(chosen > rejected) for chosen, rejected in labels]),
        "pairs_wrong": mean([float(chosen < rejected) for chosen, rejected in labels]),
    }
    counted = {name: entry.get(name) for name in _COUNTED}
    return {**entry, **counted, **{name: bootstrap.interval(figure)._asdict() for name, figure in figures.items()}}


def _lengths(pairs: Sequence[PreferencePair], side: str) -> list[int]:
    return [len(getattr(pair, side)[-1].content) for pair in pairs]
