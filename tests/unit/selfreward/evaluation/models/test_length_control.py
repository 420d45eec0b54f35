"""The length-controlled win rate: against figures worked out by hand, its symmetries, and the rule that doubts it."""

import math
from itertools import pairwise

import numpy as np
import pytest

from selfreward.evaluation.bootstrap import Bootstrap
from selfreward.evaluation.models.length_control import (
    LengthModel,
    far_from_raw,
    fit,
    length_controlled,
    length_feature,
)


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_the_feature_is_tanh_of_the_difference_in_sample_standard_deviations() -> None:
    # Differences 10, -10, 20 and 0 have mean 5 and squares 25, 225, 225 and 25 about it: 500 / 3 is their variance.
    found = length_feature([10, 30, 10, 20], [20, 20, 30, 20])
    spread = math.sqrt(500 / 3)
    assert found == pytest.approx([math.tanh(10 / spread), math.tanh(-10 / spread), math.tanh(20 / spread), 0])


def test_equal_lengths_say_nothing_about_length() -> None:
    assert list(length_feature([7, 7, 7], [9, 9, 9])) == [0, 0, 0]
    assert list(length_feature([], [])) == []


def test_without_a_difference_in_length_only_the_penalty_stands_between_raw_and_controlled() -> None:
    # Where the slope of |theta| + C * (log loss over N comparisons) is zero: sigmoid(theta) = mean - 1 / (C * N).
    preferences = [0.9] * 30 + [0.5] * 20
    model = fit(preferences, np.zeros(50), range(50))
    assert model.win_rate == pytest.approx(0.74 - 1 / (model.c * 50), abs=1e-4)
    assert model.phi == 0


def test_two_lengths_give_the_coefficients_that_two_equations_give() -> None:
    # Half of the comparisons with tanh(d) = 0.7 and mean preference 0.8, half with -0.7 and 0.4. With k = 1 / (C * N)
    # the two slopes vanish where each half's probability is its mean less k * (sign(theta) +- sign(phi) / 0.7), and
    # theta is the mean of the two logits, phi half their difference over 0.7.
    size = 200
    model = fit([0.8] * 100 + [0.4] * 100, np.repeat([0.7, -0.7], 100), range(size))
    k = 1 / (model.c * size)
    longer, shorter = _logit(0.8 - k * (1 + 1 / 0.7)), _logit(0.4 - k * (1 - 1 / 0.7))
    assert model.theta == pytest.approx((longer + shorter) / 2, abs=1e-3)
    assert model.phi == pytest.approx((longer - shorter) / 2 / 0.7, abs=1e-3)
    assert model.win_rate == pytest.approx(1 / (1 + math.exp(-(longer + shorter) / 2)), abs=1e-3)


def _contest(seed: int, size: int = 200) -> tuple[list[float], list[int], list[int]]:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(10, 80, size), rng.integers(10, 60, size)
    wins = rng.random(size) < 1 / (1 + np.exp(-0.3 - (a - b) / 20))
    return [float(win) for win in wins], list(map(int, a)), list(map(int, b))


@pytest.mark.parametrize("seed", range(3))
def test_a_against_b_and_b_against_a_make_one(seed: int) -> None:
    wins, a, b = _contest(seed)
    one = fit(wins, length_feature(a, b), range(len(wins)))
    other = fit([1 - win for win in wins], length_feature(b, a), range(len(wins)))
    assert one.win_rate + other.win_rate == pytest.approx(1, abs=1e-9)
    assert one.phi == pytest.approx(other.phi, abs=1e-9)


def test_a_against_itself_is_one_half_even_by_a_judge_that_flips_coins() -> None:
    assert fit([0.5] * 20, np.zeros(20), range(20)).win_rate == 0.5
    found, _ = length_controlled([0.5] * 20, np.zeros(20), range(20), Bootstrap(100))
    assert found[:3] == (0.5, 0.5, 0.5)


def test_winning_everything_is_a_win_rate_of_one_without_a_word_from_the_solver(
    capfd: pytest.CaptureFixture[str],
) -> None:
    _, a, b = _contest(0)
    found, _ = length_controlled([1.0] * len(a), length_feature(a, b), range(len(a)), Bootstrap(100))
    assert found.value == pytest.approx(1, abs=1e-3)
    assert capfd.readouterr() == ("", "")


def test_answers_to_one_prompt_are_in_one_fold_and_resampled_together() -> None:
    wins, a, b = _contest(1)
    feature = length_feature(a, b)
    alone, _ = length_controlled(wins, feature, range(len(wins)), Bootstrap(200))
    thrice, _ = length_controlled(wins * 3, np.tile(feature, 3), list(range(len(wins))) * 3, Bootstrap(200))
    widths = [found.high - found.low for found in (alone, thrice) if found.high is not None and found.low is not None]
    assert thrice.n == alone.n == len(wins)
    # The same answers three times are no more evidence: the interval does not shrink by a factor of 1.7.
    assert widths[1] == pytest.approx(widths[0], rel=0.1)
    with pytest.raises(ValueError, match="4 prompts are too few"):
        fit([1.0] * 8, np.zeros(8), [0, 1, 2, 3] * 2)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    truth = 1 / (1 + math.exp(-0.3))
    intervals = []
    for seed in range(12):
        wins, a, b = _contest(seed)
        intervals.append(length_controlled(wins, length_feature(a, b), range(len(wins)), Bootstrap(50))[0])
    bounds = [(found.low, found.high) for found in intervals if found.low is not None and found.high is not None]
    covered = sum(low - 0.02 <= truth <= high + 0.02 for low, high in bounds)
    assert covered >= 10


def test_the_model_is_doubted_past_ten_points_and_a_quarter_of_the_room() -> None:
    # Rising from 0.5 there is 0.5 of room: the quarter, 0.125, is what counts. From 0.8 it is the ten points.
    assert not far_from_raw(0.5, 0.62)
    assert far_from_raw(0.5, 0.63)
    assert not far_from_raw(0.8, 0.89)
    assert far_from_raw(0.8, 0.91)
    # Falling from 0.2 a quarter is 0.05, ten points are more; from 0.8 a quarter is 0.2.
    assert not far_from_raw(0.2, 0.11)
    assert far_from_raw(0.2, 0.09)
    assert not far_from_raw(0.8, 0.61)
    assert far_from_raw(0.8, 0.59)


def test_the_win_rate_grows_with_theta() -> None:
    rates = [LengthModel(theta, 0.0, 1.0).win_rate for theta in (-2.0, 0.0, 2.0)]
    assert all(later > earlier for earlier, later in pairwise(rates))
    assert rates[1] == 0.5
