"""Judge figures against scipy and against cases worked out by hand."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from selfreward.evaluation.judge_metrics import grades, judge_figures


def _value(name: str, gold: Sequence[Sequence[float]], judge: Sequence[Sequence[float | None]]) -> float | None:
    return judge_figures(grades(gold, judge))[name].value


def test_pairwise_accuracy_pools_pairs_and_counts_ties_both_ways() -> None:
    gold = [[3.0, 2.0, 1.0], [1.0, 2.0]]
    judge: list[list[float | None]] = [[5.0, 4.0, 4.0], [4.0, 3.0]]
    # Of 3 + 1 pairs two are right, one is tied and one is wrong.
    assert _value("pairwise_accuracy", gold, judge) == pytest.approx(2 / 4)
    assert _value("pairwise_accuracy_ties_half", gold, judge) == pytest.approx(2.5 / 4)


def test_gold_ties_make_no_pair() -> None:
    assert _value("pairwise_accuracy", [[2.0, 2.0, 1.0]], [[1.0, 5.0, 0.0]]) == 1.0
    assert _value("pairwise_accuracy", [[2.0, 2.0]], [[1.0, 5.0]]) is None


def test_an_unscored_answer_makes_its_pairs_wrong() -> None:
    gold, judge = [[3.0, 2.0, 1.0]], [[None, 4.0, 3.0]]
    figures = judge_figures(grades(gold, judge))
    assert figures["pairwise_accuracy"].value == pytest.approx(1 / 3)
    assert figures["pairwise_accuracy_ties_half"].value == pytest.approx(1 / 3)
    assert figures["exact_match"].value == 0.0
    assert figures["spearman"].value == 0.0
    assert figures["kendall_tau_b"].value == 0.0


def test_exact_match_asks_for_the_whole_order() -> None:
    gold = [[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [2.0, 2.0, 1.0], [2.0, 2.0, 1.0], [1.0, 1.0, 1.0]]
    judge: list[list[float | None]] = [[5, 4, 3], [5, 3, 4], [4, 4, 0], [5, 4, 0], [1, 2, 3]]
    figure = judge_figures(grades(gold, judge))["exact_match"]
    assert figure.numerator.tolist() == [1, 0, 1, 0, 0]
    assert figure.denominator.tolist() == [1, 1, 1, 1, 0]


def test_five_best_counts_top_scores_that_nothing_beats() -> None:
    gold = [[3.0, 3.0, 1.0], [2.0, 1.0], [1.0, 2.0], [1.0, 1.0]]
    judge: list[list[float | None]] = [[5.0, 5.0, 5.0], [5.0, None], [5.0, 4.7], [5.0, 5.0]]
    # Top scores: three in the first prompt (two right), one right, one wrong; the last prompt has no order.
    assert _value("five_best", gold, judge) == pytest.approx(3 / 5)
    assert _value("five_best", [[2.0, 1.0]], [[4.9, 4.0]]) is None


def test_a_constant_judge_correlates_with_nothing() -> None:
    gold, judge = [[3.0, 2.0, 1.0]], [[4.0, 4.0, 4.0]]
    assert _value("spearman", gold, judge) == 0.0
    assert _value("kendall_tau_b", gold, judge) == 0.0
    assert _value("pairwise_accuracy_ties_half", gold, judge) == 0.5


def test_correlations_equal_scipy_on_ragged_prompts_with_ties() -> None:
    rng = np.random.default_rng(7)
    sizes = rng.integers(2, 7, size=200)
    gold = [rng.integers(0, 6, size).astype(float).tolist() for size in sizes]
    judge = [(rng.integers(0, 13, size) / 3).tolist() for size in sizes]
    figures = judge_figures(grades(gold, judge))
    expected = {"spearman": [], "kendall_tau_b": []}  # type: dict[str, list[float]]
    for truth, given in zip(gold, judge, strict=True):
        if len(set(truth)) == 1:
            continue
        varied = len(set(given)) > 1
        expected["spearman"].append(stats.spearmanr(truth, given).statistic if varied else 0.0)
        expected["kendall_tau_b"].append(stats.kendalltau(truth, given).statistic if varied else 0.0)
    for name, values in expected.items():
        assert figures[name].value == pytest.approx(float(np.mean(values)))
        assert figures[name].n == len(values)


def test_pairwise_accuracy_equals_a_loop_over_pairs() -> None:
    rng = np.random.default_rng(8)
    gold = rng.integers(0, 6, (50, 4)).astype(float)
    judge = rng.integers(0, 6, (50, 4)).astype(float)
    right = total = 0
    for truth, given in zip(gold, judge, strict=True):
        for i in range(4):
            for j in range(i):
                if truth[i] != truth[j]:
                    total += 1
                    right += math.copysign(1, truth[i] - truth[j]) * (given[i] - given[j]) > 0
    assert _value("pairwise_accuracy", gold.tolist(), judge.tolist()) == pytest.approx(right / total)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="prompt 0 has 2 gold scores and 1 judgments"):
        grades([[1.0, 2.0]], [[3.0]])


def test_no_prompts_give_no_figures() -> None:
    assert all(figure.value is None for figure in judge_figures(grades([], [])).values())
