"""Figures of a judge on labelled answers that `judge_metrics` does not have: bias, consistency, calibration.

All are over pairs of answers to the same prompt, so that a judge that scores and a judge that compares are measured
alike. Sums are taken within a group (a prompt, or all rows of an MT-Bench question) before anything is resampled.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfreward.contracts.comparisons import PairVerdict
from selfreward.contracts.judging import Judgment
from selfreward.evaluation.bootstrap import Array, Bootstrap, Interval, Ratio, ratio
from selfreward.evaluation.judge.labelled import Labelled, pairs_of, text_length

_BINS = 5


class Pairs(NamedTuple):
    """Pairs (a, b) of answers, each array [pairs]; signs are 1 where a is the better (or the longer), -1 where b is.

    `judge` is 0 for a tie and NaN where the judge gave no verdict. `p_a` is the judge's probability that a is better
    (from its votes or its own statement) and `gap` the distance of the scores; both NaN where there is none.
    """

    group: NDArray[np.intp]
    gold: Array
    judge: Array
    longer: Array
    p_a: Array
    gap: Array


def scored_pairs(rows: Sequence[Labelled], judged: Sequence[Sequence[Judgment]], groups: Sequence[int]) -> Pairs:
    """Pairs of a judge that scores; one judgment for each answer."""
    pairs = []
    for row, a, b in pairs_of(list(rows)):
        first, second = judged[row][a], judged[row][b]
        difference = np.nan
        if first.score is not None and second.score is not None:
            difference = first.score - second.score
        probability = np.nan if np.isnan(difference) else _from_votes(first, second)
        labels = _gold_and_length(rows[row], a, b)
        pairs.append((groups[row], *labels, np.sign(difference), probability, abs(difference)))
    return _pairs(pairs)


def compared_pairs(rows: Sequence[Labelled], compared: Sequence[PairVerdict], groups: Sequence[int]) -> Pairs:
    """Pairs of a judge that compares; one comparison for each of `pairs_of(rows)`."""
    signs = {"a": 1.0, "b": -1.0, "tie": 0.0, "unscored": np.nan}
    pairs = []
    for (row, a, b), verdict in zip(pairs_of(list(rows)), compared, strict=True):
        probability = np.nan if verdict.p_a is None else verdict.p_a
        labels = _gold_and_length(rows[row], a, b)
        pairs.append((groups[row], *labels, signs[verdict.winner], probability, np.nan))
    return _pairs(pairs)


def _gold_and_length(row: Labelled, a: int, b: int) -> tuple[float, float]:
    lengths = [text_length(response) for response in row.responses]
    return float(np.sign(row.gold[a] - row.gold[b])), float(np.sign(lengths[a] - lengths[b]))


def _pairs(rows: Sequence[tuple[float, ...]]) -> Pairs:
    columns = np.asarray(rows, dtype=np.float64).reshape(-1, 6).T
    group, gold, longer, judge, p_a, gap = columns
    return Pairs(group.astype(np.intp), gold, judge, longer, p_a, gap)


def _from_votes(first: Judgment, second: Judgment) -> float:
    """How often a vote on a beats a vote on b, over all pairs of valid votes, equal ones half."""
    a, b = (np.array([vote.score for vote in judgment.votes if vote.score is not None]) for judgment in (first, second))
    signs = np.sign(a[:, None] - b[None, :])
    return float((signs + 1).mean() / 2)


def pair_figures(pairs: Pairs, groups: int) -> dict[str, Ratio]:
    """Accuracy with both tie rules, and the length figures; gold ties do not count.

    The accuracies where the longer answer is the worse or the better count judge ties as half, so that a judge that
    never looks at length has equal ones.
    """
    ordered = pairs.gold != 0
    right = ordered & (pairs.gold == pairs.judge)
    tied = ordered & (pairs.judge == 0)
    half = right + 0.5 * tied
    worse, better = ordered & (pairs.longer == -pairs.gold), ordered & (pairs.longer == pairs.gold)
    decided = (pairs.judge != 0) & ~np.isnan(pairs.judge) & (pairs.longer != 0)
    unequal = ordered & (pairs.longer != 0)

    def over(numerator: NDArray[np.generic], denominator: NDArray[np.generic]) -> Ratio:
        return ratio(_sums(pairs, numerator, groups), _sums(pairs, denominator, groups))

    return {
        "pairwise_accuracy": over(right, ordered),
        "pairwise_accuracy_ties_half": over(half, ordered),
        "tie_rate": over(pairs.judge == 0, np.ones_like(ordered)),
        "unscored_pairs": over(np.isnan(pairs.judge), np.ones_like(ordered)),
        "accuracy_longer_worse": over(half * worse, worse),
        "accuracy_longer_better": over(half * better, better),
        "longer_preferred": over(decided & (pairs.judge == pairs.longer), decided),
        "longer_preferred_gold": over(unequal & (pairs.gold == pairs.longer), unequal),
    }


def accuracy_by_gap(pairs: Pairs, groups: int) -> dict[str, Ratio]:
    """Accuracy (ties half) of pairs by the distance of their scores, rounded up to a whole point."""
    ordered = pairs.gold != 0
    half = (pairs.gold == pairs.judge) + 0.5 * (pairs.judge == 0)
    steps = np.ceil(pairs.gap)
    return {
        f"{step:g}": ratio(_sums(pairs, half * at_step, groups), _sums(pairs, at_step, groups))
        for step in np.unique(steps[ordered & ~np.isnan(steps)])
        for at_step in [ordered & (steps == step)]
    }


class Calibration(NamedTuple):
    """Confidence `max(p_a, 1 - p_a)` in bins from 0.5 to 1, accuracy (ties half) in each, and their mean distance.

    `bins` are (mean confidence, accuracy); bins without pairs are left out. `error` is the expected calibration error.
    """

    error: Interval
    bins: list[tuple[float, Interval]]


def calibration(pairs: Pairs, groups: int, bootstrap: Bootstrap) -> Calibration:
    """How far the judge's probabilities are from how often it is right, over pairs with a gold order."""
    used = (pairs.gold != 0) & ~np.isnan(pairs.p_a)
    p_a = np.where(used, pairs.p_a, 0.5)
    confidence = np.maximum(p_a, 1 - p_a)
    right = np.where(p_a == 0.5, 0.5, np.sign(p_a - 0.5) == pairs.gold)
    place = np.minimum(((confidence - 0.5) * 2 * _BINS).astype(int), _BINS - 1)
    parts = np.stack(
        [
            _sums(pairs, values * (used & (place == index)), groups)
            for values in (np.ones_like(p_a), confidence, right)
            for index in range(_BINS)
        ]
    )
    bins = []
    for index in range(_BINS):
        count, sum_of_confidence, hits = (parts[index + kind * _BINS] for kind in range(3))
        if count.sum():
            mean_confidence = float(sum_of_confidence.sum() / count.sum())
            bins.append((mean_confidence, bootstrap.interval(ratio(hits, count))))
    return Calibration(bootstrap.of_sums(parts, _expected_error), bins)


def _expected_error(sums: Array) -> Array:
    counts, confidence, right = np.split(sums, 3)
    total = counts.sum(axis=0)
    distance = np.abs(confidence - right).sum(axis=0)
    error: Array = np.divide(distance, total, out=np.full_like(total, np.nan), where=total > 0)
    return error


def score_figures(
    rows: Sequence[Labelled], judged: Sequence[Sequence[Judgment]], groups: Sequence[int], bootstrap: Bootstrap
) -> dict[str, Interval]:
    """Correlation of score and length within prompts, agreement of votes, spread of votes, unscored share."""
    count = max(groups, default=-1) + 1
    products, agreement, spread, unscored = (np.zeros((k, count)) for k in (3, 2, 2, 2))
    for row, judgments, group in zip(rows, judged, groups, strict=True):
        answers = zip(judgments, row.responses, strict=True)
        scored = np.array(
            [(j.score, text_length(text)) for j, text in answers if j.score is not None], dtype=np.float64
        )
        if len(scored):
            # Centred in each prompt: longer prompts may have longer and better answers without any bias of the judge.
            score, length = (scored - scored.mean(axis=0)).T
            products[:, group] += [(score * length).sum(), (score**2).sum(), (length**2).sum()]
        unscored[:, group] += [len(judgments) - len(scored), len(judgments)]
        for judgment in judgments:
            votes = [vote.score for vote in judgment.votes if vote.score is not None]
            if len(votes) > 1:
                counts = np.unique(votes, return_counts=True)[1]
                equal = float((counts * (counts - 1)).sum()) / (len(votes) * (len(votes) - 1))
                agreement[:, group] += [equal, 1]
                spread[:, group] += [float(np.std(votes)), 1]
    return {
        "length_correlation": bootstrap.of_sums(products, _correlation),
        "vote_agreement": bootstrap.interval(ratio(*agreement)),
        "vote_stdev": bootstrap.interval(ratio(*spread)),
        "unscored": bootstrap.interval(ratio(*unscored)),
    }


def _correlation(sums: Array) -> Array:
    product, a, b = sums
    scale = np.sqrt(a * b)
    correlation: Array = np.divide(product, scale, out=np.full_like(scale, np.nan), where=scale > 0)
    return correlation


def best_by_score(
    rows: Sequence[Labelled], judged: Sequence[Sequence[Judgment]], groups: Sequence[int]
) -> dict[str, Ratio]:
    """For each score, rounded half up: the share of answers with it that no other answer beats in gold.

    Only prompts whose gold scores differ count. A calibrated judge's shares rise with the score.
    """
    count = max(groups, default=-1) + 1
    sums: dict[int, Array] = {}
    for row, judgments, group in zip(rows, judged, groups, strict=True):
        if len(set(row.gold)) < 2:
            continue
        for gold, judgment in zip(row.gold, judgments, strict=True):
            if judgment.score is not None:
                step = int(np.floor(judgment.score + 0.5))
                sums.setdefault(step, np.zeros((2, count)))[:, group] += [gold == max(row.gold), 1]
    return {str(step): ratio(*sums[step]) for step in sorted(sums)}


def by_group(figure: Ratio, groups: Sequence[int]) -> Ratio:
    """A figure over rows as one over groups of rows, which are not independent of each other."""
    count = max(groups, default=-1) + 1
    return ratio(
        np.bincount(groups, weights=figure.numerator, minlength=count),
        np.bincount(groups, weights=figure.denominator, minlength=count),
    )


def _sums(pairs: Pairs, values: NDArray[np.generic], groups: int) -> Array:
    weights = values.astype(np.float64)
    return np.bincount(pairs.group, weights=weights, minlength=groups).astype(np.float64)
