"""Figures of a judge that take chance, the two kinds of mistakes, and whose answers it judges, into account."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score

from selfreward.contracts.judging import Judgment
from selfreward.evaluation.bootstrap import Array, Bootstrap, Interval, Ratio, ratio
from selfreward.evaluation.judge.figures import Pairs
from selfreward.evaluation.judge.labelled import Labelled, pairs_of
from selfreward.files.rows import RowError


def pair_kappa(pairs: Pairs, groups: int, bootstrap: Bootstrap) -> Interval:
    """Cohen's kappa of the judge's order of two answers with gold's, over pairs with a gold order.

    Each pair counts in both directions, since which answer stands first in a file means nothing. A judge's ties and
    missing verdicts are classes of their own, so they agree with nothing, by chance neither.
    """
    ordered = pairs.gold != 0
    outcomes = (pairs.judge == pairs.gold, pairs.judge == -pairs.gold, pairs.judge == 0, np.isnan(pairs.judge))
    parts = np.stack([np.bincount(pairs.group, weights=ordered & outcome, minlength=groups) for outcome in outcomes])
    return _kappa(np.repeat(parts, 2, axis=0), [1, -1] * 4, [1, -1, -1, 1, 0, 0, 2, 2], bootstrap)


class Acceptance:
    """What a judge that scores makes of right and of wrong answers: it accepts those above the middle of its scale.

    An answer is right where no other answer to its prompt beats it in gold. Only prompts with both kinds count. An
    unscored answer is neither accepted nor rejected.
    """

    def __init__(
        self, rows: Sequence[Labelled], judged: Sequence[Sequence[Judgment]], groups: Sequence[int], middle: float
    ) -> None:
        # [right or wrong, accepted or rejected or unscored, groups]
        self._counts = np.zeros((2, 3, max(groups, default=-1) + 1))
        for row, judgments, group in zip(rows, judged, groups, strict=True):
            if len(set(row.gold)) < 2:
                continue
            for gold, judgment in zip(row.gold, judgments, strict=True):
                outcome = 2 if judgment.score is None else int(judgment.score <= middle)
                self._counts[int(gold < max(row.gold)), outcome, group] += 1

    def rates(self) -> dict[str, Ratio]:
        """Share of the right answers that are accepted, and of the wrong ones that are rejected."""
        right, wrong = self._counts
        return {
            "true_positive_rate": ratio(right[0], right.sum(axis=0)),
            "true_negative_rate": ratio(wrong[1], wrong.sum(axis=0)),
        }

    def kappa(self, bootstrap: Bootstrap) -> Interval:
        """Cohen's kappa of accepted and rejected with right and wrong."""
        return _kappa(self._counts.reshape(6, -1), [0, 0, 0, 1, 1, 1], [0, 1, 2] * 2, bootstrap)


def _kappa(parts: Array, gold: Sequence[int], judge: Sequence[int], bootstrap: Bootstrap) -> Interval:
    """Kappa over cells: `parts` is [cells, groups], how often gold said `gold` and the judge said `judge`."""

    def of_draws(sums: Array) -> Array:
        return np.array(
            [cohen_kappa_score(gold, judge, sample_weight=cells) if cells.any() else np.nan for cells in sums.T]
        )

    return bootstrap.of_sums(parts, of_draws)


def best_is_right(rows: Sequence[Labelled], judged: Sequence[Sequence[Judgment]], groups: Sequence[int]) -> Ratio:
    """Share of prompts whose highest score goes to a right answer; k answers that share it count 1/k each.

    RewardBench 2's accuracy, also for other lists. A prompt whose answers are all unscored counts as wrong.
    """
    sums = np.zeros((2, max(groups, default=-1) + 1))
    for row, judgments, group in zip(rows, judged, groups, strict=True):
        if len(set(row.gold)) < 2:
            continue
        scores = [-np.inf if judgment.score is None else judgment.score for judgment in judgments]
        best = [gold == max(row.gold) for gold, score in zip(row.gold, scores, strict=True) if score == max(scores)]
        sums[:, group] += [sum(best) / len(best) if max(scores) > -np.inf else 0.0, 1]
    return ratio(*sums)


def self_preference(rows: Sequence[Labelled], pairs: Pairs, groups: int, own: str) -> Mapping[str, Any]:
    """How often the judge prefers its own model's answer to another one that is equally good in gold; ties count half.

    0.5 is no preference. Returns the figure and the number of pairs. Raises RowError where no pair is of this kind.
    """
    models = {model for row in rows for model in row.models if model is not None}
    sides = np.zeros(len(pairs.gold))
    for index, (row, a, b) in enumerate(pairs_of(list(rows))):
        if rows[row].models:
            sides[index] = float(rows[row].models[a] == own) - float(rows[row].models[b] == own)
    used = (pairs.gold == 0) & (sides != 0) & ~np.isnan(pairs.judge)
    if not used.any():
        named = ", ".join(sorted(map(str, models))) or "none"
        raise RowError(
            f"--own {own!r}: of no two equally good answers is one by this model (the file names {named}); name the "
            "model of each answer, and give answers equal ranks that a checker calls equal"
        )
    prefers = (pairs.judge == sides) + 0.5 * (pairs.judge == 0)
    over = (np.bincount(pairs.group, weights=values, minlength=groups) for values in (prefers * used, used))
    return {"pairs": int(used.sum()), "figure": ratio(*over)}
