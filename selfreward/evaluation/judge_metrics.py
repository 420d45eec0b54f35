"""How well a judge orders answers to the same prompt, against a gold order (human ranks or an exact checker).

Definitions after Yuan et al. 2024 (2401.10020), section 3.1.3. What the paper leaves open is decided so:

- only prompts whose gold scores differ count: elsewhere there is no order to find;
- pairwise accuracy pools the pairs of all prompts; it is given with judge ties as wrong and with ties as half;
- an unscored answer (no valid vote) makes each of its pairs wrong in both: a judge gains nothing by not answering;
- exact match asks for the same order of the whole list, ties included;
- Spearman and Kendall's tau-b are averaged over prompts; a constant judge, or an unscored answer, gives the prompt 0;
- 5-best is the share of the answers with the judge's top score that no other answer to the prompt beats in gold.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfreward.evaluation.bootstrap import Array, Ratio, mean, ratio

Mask = NDArray[np.bool_]

TOP_SCORE = 5.0
"""The top of the shipped rubrics' scale, 0 to 5."""


class Grades(NamedTuple):
    """Gold and judge scores, each [prompts, answers], higher is better.

    `gold` is NaN where a prompt has fewer answers; `judge` is NaN there and where an answer is unscored.
    """

    gold: Array
    judge: Array


def grades(gold: Sequence[Sequence[float]], judge: Sequence[Sequence[float | None]]) -> Grades:
    """Pad per-prompt lists; None is an unscored answer. ValueError when the two differ in shape."""
    width = max((len(row) for row in gold), default=0)
    padded = np.full((2, len(gold), width), np.nan)
    for index, (truth, scores) in enumerate(zip(gold, judge, strict=True)):
        if len(truth) != len(scores):
            raise ValueError(f"prompt {index} has {len(truth)} gold scores and {len(scores)} judgments: give one each")
        padded[0, index, : len(truth)] = truth
        padded[1, index, : len(scores)] = [np.nan if score is None else score for score in scores]
    return Grades(padded[0], padded[1])


def judge_figures(scores: Grades, top_score: float = TOP_SCORE) -> dict[str, Ratio]:
    """All figures of a judge by their name in the report."""
    gold, judge = _signs(scores.gold), _signs(scores.judge)
    pairs = np.triu(np.ones(gold.shape[1:], dtype=bool), 1) & ~np.isnan(gold)
    ordered_pairs = pairs & (gold != 0)
    scored = ~np.isnan(judge)
    right = (ordered_pairs & (gold == judge)).sum(axis=(1, 2))
    tied = (ordered_pairs & (judge == 0)).sum(axis=(1, 2))
    total = ordered_pairs.sum(axis=(1, 2))
    ordered = total > 0
    complete = ~(pairs & ~scored).any(axis=(1, 2))
    same_order = complete & ~(pairs & (gold != judge)).any(axis=(1, 2))
    return {
        "pairwise_accuracy": ratio(right, total),
        "pairwise_accuracy_ties_half": ratio(right + 0.5 * tied, total),
        "spearman": _over(ordered, complete, _spearman(scores)),
        "kendall_tau_b": _over(ordered, complete, _kendall_tau_b(gold, judge)),
        "exact_match": mean(np.where(ordered, same_order, np.nan)),
        "five_best": _five_best(scores, ordered, top_score),
    }


def _signs(scores: Array) -> Array:
    """Sign of `scores[i] - scores[j]` in each prompt, [prompts, answers, answers]; NaN where either is missing."""
    return np.sign(scores[:, :, None] - scores[:, None, :])


def _over(ordered: Mask, complete: Mask, values: Array) -> Ratio:
    return mean(np.where(ordered, np.where(complete, values, 0.0), np.nan))


def _kendall_tau_b(gold: Array, judge: Array) -> Array:
    """Tau-b of each prompt from pair signs: the diagonal adds nothing, and each pair counts twice above and below."""
    return _quotient(np.nansum(gold * judge, axis=(1, 2)), np.nansum(gold**2, axis=(1, 2)), np.nansum(judge**2, (1, 2)))


def _spearman(scores: Grades) -> Array:
    """Pearson correlation of mean ranks in each prompt."""
    ranks = [np.where(np.isnan(each), np.nan, np.nansum(_signs(each), axis=2)) for each in scores]
    # A sum of signs is twice the mean rank minus a constant, and has mean 0: it correlates as the ranks do.
    gold, judge = (np.nan_to_num(rank) for rank in ranks)
    return _quotient((gold * judge).sum(axis=1), (gold**2).sum(axis=1), (judge**2).sum(axis=1))


def _quotient(product: Array, a: Array, b: Array) -> Array:
    scale = np.sqrt(a * b)
    result: Array = np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)
    return result


def _five_best(scores: Grades, ordered: Mask, top_score: float) -> Ratio:
    beaten = (_signs(scores.gold) < 0).any(axis=2)
    perfect = (scores.judge >= top_score) & ordered[:, None]
    return ratio((perfect & ~beaten).sum(axis=1), perfect.sum(axis=1))
