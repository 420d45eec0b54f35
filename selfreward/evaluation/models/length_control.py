"""The win rate that is left when answers are as long as the baseline's (Dubois et al. 2024, 2404.04475).

A logistic model explains each preference by who wrote the answer and by how much longer it is; the length's part is
then set to zero. This is the minimal form of AlpacaEval 2's model, for judges and prompts of one's own: neither the
precomputed difficulty of its instructions nor its gamed baselines are in it.

    logit P(the model is preferred) = theta + phi * tanh(d),  d = (length of the baseline's answer - the model's) / std

`std` is the sample standard deviation of those differences, lengths are in characters, and there is no intercept beside
theta. What is reported is sigmoid(theta): the same at every prompt, so its interval comes from the bootstrap.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GroupKFold

from selfreward.evaluation.bootstrap import Array, Bootstrap, Interval

FOLDS = 5
SEED = 123
_NEXT_TO_NOTHING = 1e-9
_LASSO = {"solver": "liblinear", "fit_intercept": False, "random_state": SEED}


class LengthModel(NamedTuple):
    """The fitted model. `c` is the inverse strength of the L1 penalty that cross-validation chose."""

    theta: float
    phi: float
    c: float

    @property
    def win_rate(self) -> float:
        """Share of wins, 0 to 1, against a baseline of equal length."""
        return float(1 / (1 + np.exp(-self.theta)))


def length_feature(lengths: ArrayLike, baseline_lengths: ArrayLike) -> Array:
    """tanh(d) of each comparison; 0 everywhere when all differences are the same, which says nothing about length."""
    difference = np.asarray(baseline_lengths, dtype=np.float64) - np.asarray(lengths, dtype=np.float64)
    spread = difference.std(ddof=1) if len(difference) > 1 else 0.0
    return np.tanh(difference / spread) if spread > 0 else np.zeros_like(difference)


def fit(preferences: ArrayLike, feature: Array, groups: Sequence[int]) -> LengthModel:
    """Fit the model to preferences of 0 to 1 (1: the model's answer wins).

    A preference p is two rows, a win of weight p and a loss of weight 1 - p. The penalty is chosen by log loss over 5
    folds; `groups` names each comparison's prompt, and a prompt is in one fold only. ValueError with fewer than 5.
    """
    names = np.asarray(groups)
    prompts = len(np.unique(names))
    if prompts < FOLDS:
        raise ValueError(f"{prompts} prompts are too few for a length-controlled win rate: give {FOLDS} or more")
    rows, wins, weights = _duplicated(np.asarray(preferences, dtype=np.float64), feature)
    twice = np.concatenate([names, names])
    model = LogisticRegressionCV(
        cv=list(GroupKFold(FOLDS).split(rows, wins, twice)),
        l1_ratios=(1.0,),
        scoring="neg_log_loss",
        use_legacy_attributes=False,
        **_LASSO,
    ).fit(rows, wins, sample_weight=weights)
    theta, phi = model.coef_[0]
    return LengthModel(float(theta), float(phi), float(model.C_))


def length_controlled(
    preferences: ArrayLike, feature: Array, groups: Sequence[int], bootstrap: Bootstrap
) -> tuple[Interval, LengthModel]:
    """The length-controlled win rate (0 to 1) with its interval over prompts, and the model behind it.

    Every resample is fitted anew under the penalty that was chosen for all prompts. Raises as `fit` does.
    """
    fitted = fit(preferences, feature, groups)
    names, places = np.unique(np.asarray(groups), return_inverse=True)
    rows, wins, weights = _duplicated(np.asarray(preferences, dtype=np.float64), feature)
    places = np.concatenate([places, places])

    def refitted(times: Array) -> float:
        model = LogisticRegression(l1_ratio=1.0, C=fitted.c, **_LASSO)
        theta, phi = model.fit(rows, wins, sample_weight=weights * times[places]).coef_[0]
        return LengthModel(theta, phi, fitted.c).win_rate

    return bootstrap.of_weights(len(names), fitted.win_rate, refitted), fitted


def far_from_raw(raw: float, controlled: float) -> bool:
    """Whether the two win rates (0 to 1) are so far apart that the model is to be doubted.

    More than 10 points, and more than a quarter of the way to the end of the scale that it moved towards.
    """
    room = raw if controlled < raw else 1 - raw
    return abs(controlled - raw) > max(0.1, room / 4)


def _duplicated(preferences: Array, feature: Array) -> tuple[Array, NDArray[np.int64], Array]:
    """Design matrix (theta's column of ones, then phi's), labels and weights: every comparison as win and as loss."""
    once = np.column_stack([np.ones_like(feature), feature])
    labels = np.repeat(np.array([1, 0]), len(feature))
    weights = np.concatenate([preferences, 1 - preferences])
    # The solver drops rows of weight 0, and with the last one of a label the label, which it then warns of.
    return np.concatenate([once, once]), labels, np.maximum(weights, _NEXT_TO_NOTHING)
