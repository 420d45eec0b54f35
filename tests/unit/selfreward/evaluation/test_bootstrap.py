"""Intervals: coverage, pairing, clusters, and what happens when nothing was measured."""

import numpy as np
import pytest

from selfreward.evaluation.bootstrap import EMPTY, Bootstrap, mean, ratio


def test_value_is_the_pooled_ratio_and_n_counts_prompts() -> None:
    interval = Bootstrap().interval(ratio([1, 0, 3], [2, 0, 4]))
    assert interval.value == pytest.approx(4 / 6)
    assert interval.n == 2
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low <= 4 / 6 <= interval.high


def test_the_same_seed_gives_the_same_interval() -> None:
    figure = mean(np.random.default_rng(0).random(80))
    assert Bootstrap(seed=3).interval(figure) == Bootstrap(seed=3).interval(figure)
    assert Bootstrap(seed=3).interval(figure) != Bootstrap(seed=4).interval(figure)


def test_interval_agrees_with_the_normal_approximation() -> None:
    values = np.random.default_rng(1).normal(2.0, 1.0, 1000)
    interval = Bootstrap(resamples=2000).interval(mean(values))
    half = 1.96 * values.std() / np.sqrt(1000)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.01)


def test_answers_of_one_prompt_are_resampled_together() -> None:
    """Four equal answers to each prompt say no more than one: the interval must not shrink."""
    solved = (np.random.default_rng(2).random(200) < 0.4).astype(float)
    one = Bootstrap().interval(mean(solved))
    four = Bootstrap().interval(ratio(4 * solved, np.full(200, 4)))
    assert four == pytest.approx(one)


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 1, 500)
    a, b = mean(hard + 0.1 + rng.normal(0, 0.1, 500)), mean(hard)
    difference = Bootstrap().difference(a, b)
    assert difference.low is not None
    assert difference.low > 0.08
    alone = Bootstrap().interval(a)
    assert alone.high is not None
    assert alone.low is not None
    assert alone.high - alone.low > 0.15


def test_figures_over_different_prompts_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="over 2 and 3 prompts"):
        Bootstrap().difference(mean([1, 2]), mean([1, 2, 3]))


def test_nothing_measured_is_none() -> None:
    assert Bootstrap().interval(ratio([], [])) == EMPTY
    assert Bootstrap().interval(ratio([0, 0], [0, 0])) == EMPTY
    assert Bootstrap().difference(mean([1.0]), mean([np.nan])) == EMPTY


def test_a_rare_denominator_is_left_out_of_the_draws_it_is_not_in() -> None:
    interval = Bootstrap().interval(ratio([1, 0, 0], [1, 0, 0]))
    assert interval == (1.0, 1.0, 1.0, 1)
