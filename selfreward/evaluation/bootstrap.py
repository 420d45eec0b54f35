"""Confidence intervals by the percentile bootstrap over prompts.

A prompt is the unit that is resampled, with everything sampled for it: answers to one prompt are not independent. Every
figure of the report is a ratio of two sums over prompts (a mean is the ratio with denominator 1), so one matrix of
resampling weights serves all figures over the same prompts, and figures of two models over the same prompts are
resampled together (a paired bootstrap).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """A figure and its interval. `n` counts the prompts it rests on; all values are None when there are none."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class Ratio(NamedTuple):
    """Per-prompt numerators and denominators, both of shape [prompts]; a prompt with denominator 0 does not count."""

    numerator: Array
    denominator: Array

    @property
    def value(self) -> float | None:
        """The figure over all prompts, or None when no prompt counts."""
        total = float(self.denominator.sum())
        return float(self.numerator.sum()) / total if total else None

    @property
    def n(self) -> int:
        """Prompts that count."""
        return int(np.count_nonzero(self.denominator))


EMPTY = Interval(None, None, None, 0)


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Ratio:
    """A pooled ratio: sum of numerators over sum of denominators."""
    return Ratio(np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64))


def mean(values: ArrayLike) -> Ratio:
    """A mean over prompts of per-prompt `values`; NaN marks a prompt that does not count."""
    array = np.asarray(values, dtype=np.float64)
    return Ratio(np.nan_to_num(array), (~np.isnan(array)).astype(np.float64))


class Bootstrap:
    """`resamples` draws of as many prompts as there are, with replacement; `level` is the interval's coverage."""

    def __init__(self, resamples: int = 1000, seed: int = 0, level: float = 0.95) -> None:
        self.resamples = resamples
        self.seed = seed
        self.level = level

    def interval(self, figure: Ratio) -> Interval:
        """The figure with its percentile interval."""
        if figure.value is None:
            return EMPTY
        return self._percentiles(figure.value, self._draws(figure), figure.n)

    def of_sums(self, parts: Array, figure: Callable[[Array], Array]) -> Interval:
        """Any function of sums over prompts (a correlation, a calibration error) with its interval.

        `parts` is [sums, prompts]; `figure` takes [sums, draws] and returns [draws], NaN where there is no figure. A
        prompt whose parts are all 0 does not count.
        """
        value = float(figure(parts.sum(axis=1, keepdims=True))[0])
        if np.isnan(value):
            return EMPTY
        draws = figure((_weights(parts.shape[1], self.resamples, self.seed) @ parts.T).T)
        return self._percentiles(value, draws, int(np.count_nonzero(parts.any(axis=0))))

    def of_weights(self, prompts: int, value: float, figure: Callable[[Array], float]) -> Interval:
        """Any figure that has to be computed anew for each resample (a fitted model), with its interval.

        `value` is the figure over all `prompts`; `figure` takes how often each prompt counts, [prompts].
        """
        draws = np.array([figure(weights) for weights in _weights(prompts, self.resamples, self.seed)])
        return self._percentiles(value, draws, prompts)

    def difference(self, a: Ratio, b: Ratio) -> Interval:
        """`a` minus `b`, resampled together; ValueError when they are not over the same number of prompts."""
        if a.value is None or b.value is None:
            return EMPTY
        if len(a.numerator) != len(b.numerator):
            raise ValueError(f"figures over {len(a.numerator)} and {len(b.numerator)} prompts cannot be paired")
        return self._percentiles(a.value - b.value, self._draws(a) - self._draws(b), min(a.n, b.n))

    def _draws(self, figure: Ratio) -> Array:
        weights = _weights(len(figure.numerator), self.resamples, self.seed)
        sums, totals = weights @ figure.numerator, weights @ figure.denominator
        return np.divide(sums, totals, out=np.full_like(sums, np.nan), where=totals > 0)

    def _percentiles(self, value: float, draws: Array, n: int) -> Interval:
        tail = 50 * (1 - self.level)
        low, high = np.nanpercentile(draws, [tail, 100 - tail])
        return Interval(value, float(low), float(high), n)


@lru_cache(maxsize=16)
def _weights(prompts: int, resamples: int, seed: int) -> Array:
    """How often each prompt is in each resample, shape [resamples, prompts]."""
    drawn = np.random.default_rng([seed, prompts]).integers(0, prompts, size=(resamples, prompts))
    cells = drawn + np.arange(resamples)[:, None] * prompts
    counts = np.bincount(cells.ravel(), minlength=resamples * prompts)
    return counts.reshape(resamples, prompts).astype(np.float64)
