"""Seeded bootstrap intervals for means and medians: how far a figure can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

RESAMPLES = 1000
SEED = 0
_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % percentile-bootstrap interval (Efron and Tibshirani, 1993).

    Attributes:
        value: The statistic of the data themselves.
        low: Lower end.
        high: Upper end.

    Example:
        >>> print(Interval(12.34, 11.02, 13.9))
        12.3 [11, 13.9]
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Print three significant digits of each."""
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"

    def to_json(self) -> dict[str, float]:
        """Return the three numbers by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


def interval(value: float, draws: Values) -> Interval:
    """Return an estimate with the 95 % percentile interval of its resamples, float64, (resamples,)."""
    low, high = np.percentile(draws, _PERCENTILES)
    return Interval(value, float(low), float(high))


def cluster_draws(clusters: Sequence[str]) -> Values:
    """Draw as many clusters as there are, again and again, and say how often each row was drawn.

    Args:
        clusters: One label a row, at least one.

    Returns:
        float64, (resamples, rows); the same labels give the same draws, always.

    Example:
        >>> cluster_draws(["anna", "anna"])[0].tolist()
        [1.0, 1.0]
    """
    places = np.unique(np.array(clusters), return_inverse=True)[1]
    count = int(places.max()) + 1
    draws = np.random.default_rng(SEED).integers(0, count, (RESAMPLES, count))
    return np.stack([np.bincount(draw, minlength=count)[places] for draw in draws]).astype(np.float64)


def mean_intervals(values: Values, clusters: Sequence[str] | None = None) -> list[Interval]:
    """Bootstrap the mean of each column; rows are drawn together, so columns stay paired.

    Args:
        values: One row an observation, one column a quantity, float64, (n, k), n >= 1.
        clusters: One label a row; rows of one label belong together (composites of one face) and are drawn as one, so
            that the interval is as wide as their number allows. None takes rows as independent.

    Returns:
        k intervals; the same values give the same intervals, always.

    Example:
        >>> [str(i) for i in mean_intervals(np.array([[1.0, 5.0], [1.0, 5.0]]))]
        ['1 [1, 1]', '5 [5, 5]']
    """
    weights = cluster_draws([f"{i:09d}" for i in range(len(values))] if clusters is None else clusters)
    means = weights @ values / weights.sum(axis=1, keepdims=True)
    low, high = np.percentile(means, _PERCENTILES, axis=0)
    mean = values.mean(axis=0)
    return [Interval(*map(float, ends)) for ends in zip(mean, low, high, strict=True)]


def median_interval(values: Values) -> Interval:
    """Bootstrap the median of independent observations, float64, (n,), n >= 1.

    Example:
        >>> print(median_interval(np.array([2.0, 2.0, 2.0, 9.0])))
        2 [2, 9]
    """
    draws = np.random.default_rng(SEED).integers(0, len(values), (RESAMPLES, len(values)))
    return interval(float(np.median(values)), np.median(values[draws], axis=1))
