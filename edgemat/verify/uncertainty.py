"""How well a predicted error foretells the actual one: pure functions of two arrays, in float64.

Every function takes the uncertainty (the expected ``|error|`` of alpha, per pixel) and the actual ``|error|``, in any
shape, pixel for pixel. Pixels of equal uncertainty are never put in an order that nobody predicted: ranks are averaged
over ties, and a cut through ties takes the same share of each, as removing them at random would on average.

Sorting is what takes time, so :func:`skill` finds all figures in one go, with two sorts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError

Floats = npt.NDArray[np.floating[Any]]
Values = npt.NDArray[np.float64]

STEPS = 100
"""Points of a sparsification curve, from nothing removed to 99 % removed."""
BINS = 20
"""Bins of a reliability curve, of equally many pixels."""
LEVELS = (0.5, 0.8, 0.95)
"""Levels of the intervals whose coverage is measured."""


def spearman(uncertainty: Floats, error: Floats) -> float:
    """Spearman's rank correlation: Pearson's, of average ranks (Spearman, 1904).

    Args:
        uncertainty: Expected ``|error|``, floating, any shape, finite, >= 0.
        error: Actual ``|error|``, same shape, finite, >= 0.

    Returns:
        In [-1, 1]; NaN where one of the two is constant and ranks nothing.

    Raises:
        InputError: The arrays are empty, differ in shape, or hold a negative or non-finite value.

    Example:
        >>> spearman(np.array([0.1, 0.2, 0.9]), np.array([0.0, 0.3, 0.4]))
        1.0
        >>> spearman(np.array([0.5, 0.5, 0.5]), np.array([0.0, 0.3, 0.4]))
        nan
    """
    u, e = _checked(uncertainty, error)
    return _spearman(_sorted(u), _sorted(e))


@dataclass(frozen=True, eq=False)
class Sparsification:
    """How fast the mean error falls as pixels are taken away, after Ilg et al. (ECCV 2018).

    Attributes:
        removed: Share of the pixels taken away, float64, (STEPS,), from 0 to 0.99.
        remaining: Mean ``|error|`` of what remains when the most uncertain pixels go first, over that of all pixels.
        oracle: The same when the pixels of the largest error go first: no order falls faster.
    """

    removed: Values
    remaining: Values
    oracle: Values

    @property
    def ause(self) -> float:
        """Area between the two curves, >= 0, lower is better; NaN where no pixel errs."""
        return float(np.trapezoid(self.remaining - self.oracle, self.removed))

    @property
    def random(self) -> float:
        """The same area for pixels taken away at random, whose expected curve stays at 1."""
        return float(np.trapezoid(1 - self.oracle, self.removed))

    @property
    def ratio(self) -> float:
        """`ause` over `random`: 0 is the oracle, 1 no better than chance; NaN where all errors are the same."""
        return self.ause / self.random if self.random > 0 else math.nan


def sparsification(uncertainty: Floats, error: Floats) -> Sparsification:
    """Take away the most uncertain pixels first and follow the mean error of the rest.

    Curves are divided by the mean error of all pixels, as in Ilg et al., "Uncertainty Estimates and Multi-Hypotheses
    Networks for Optical Flow" (ECCV 2018). They end at 99 % removed: the mean of the last few pixels is noise.
    Arguments and errors as :func:`spearman`.

    Example:
        >>> error = np.array([0.0, 0.1, 0.2, 0.3])
        >>> curves = sparsification(error, error)
        >>> curves.ause, round(float(curves.remaining[50]), 3)
        (0.0, 0.333)
        >>> sparsification(np.ones(4), error).ratio
        1.0
    """
    u, e = _checked(uncertainty, error)
    return _sparsification(e, _sorted(u), _sorted(e))


@dataclass(frozen=True, eq=False)
class Reliability:
    """Whether an expected error of x is an actual error of x.

    Attributes:
        predicted: Mean uncertainty of each bin, float64, (BINS,), rising.
        actual: Mean ``|error|`` of the same pixels.
    """

    predicted: Values
    actual: Values

    @property
    def ece(self) -> float:
        """Expected calibration error: mean over bins of ``|predicted - actual|``, in the unit of alpha."""
        return float(np.abs(self.predicted - self.actual).mean())


def reliability(uncertainty: Floats, error: Floats) -> Reliability:
    """Compare expected with actual error in bins of equally many pixels, from the most certain to the least.

    It is the expected calibration error of Naeini et al. (AAAI 2015) carried over to regression, as by Levi et al.,
    "Evaluating and Calibrating Uncertainty Prediction in Regression Tasks" (2019). Arguments and errors as
    :func:`spearman`.

    Example:
        >>> error = np.linspace(0, 0.5, 101)
        >>> reliability(error, error).ece
        0.0
        >>> round(reliability(error + 0.25, error).ece, 6)
        0.25
    """
    u, e = _checked(uncertainty, error)
    return _reliability(u, e, _sorted(u))


def coverage(uncertainty: Floats, error: Floats) -> Mapping[float, float]:
    """Share of pixels whose error lies within the interval that a Laplace distribution of scale b = u promises.

    ``P(|error| <= b ln(1 / (1 - q))) = q``, for each level q of `LEVELS`. Arguments and errors as :func:`spearman`.

    Returns:
        By level, the share found, in [0, 1]; above the level the uncertainty is too large, below it too small.

    Example:
        >>> coverage(np.ones(4), np.array([0.5, 1.0, 2.0, 5.0]))
        {0.5: 0.25, 0.8: 0.5, 0.95: 0.75}
    """
    u, e = _checked(uncertainty, error)
    return {level: float(np.mean(e <= u.astype(np.float64) * math.log(1 / (1 - level)))) for level in LEVELS}


class Skill(NamedTuple):
    """All figures of the same pixels."""

    spearman: float
    sparsification: Sparsification
    reliability: Reliability
    coverage: Mapping[float, float]


def skill(uncertainty: Floats, error: Floats) -> Skill:
    """Find every figure of this module at once. Arguments and errors as :func:`spearman`.

    Example:
        >>> found = skill(np.array([0.1, 0.2, 0.9]), np.array([0.0, 0.3, 0.4]))
        >>> found.spearman, found.sparsification.ratio
        (1.0, 0.0)
    """
    u, e = _checked(uncertainty, error)
    by_u, by_e = _sorted(u), _sorted(e)
    curves = _sparsification(e, by_u, by_e)
    return Skill(_spearman(by_u, by_e), curves, _reliability(u, e, by_u), coverage(u, e))


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Where values stand among each other.

    Attributes:
        order: What sorts them.
        ends: For each distinct value, from the lowest, how many are not greater.
    """

    order: npt.NDArray[np.intp]
    ends: npt.NDArray[np.intp]

    def ranks(self) -> Values:
        """Rank from the lowest to the highest, ties averaged, less the mean rank."""
        counts = np.diff(self.ends, prepend=0)
        middle = self.ends - (counts - 1) / 2 - (self.order.size + 1) / 2
        ranks = np.empty(self.order.size)
        ranks[self.order] = np.repeat(middle, counts)
        return ranks

    def sums(self, values: Floats, counts: Values) -> Values:
        """Sum other values of the same pixels over the first ``counts`` of this order, linear within ties."""
        at_ends = np.cumsum(values[self.order], dtype=np.float64)[self.ends - 1]
        return np.asarray(np.interp(counts, np.append(0, self.ends), np.append(0.0, at_ends)))


def _sorted(values: Floats) -> _Sorted:
    order = np.argsort(values)
    ranked = values[order]
    return _Sorted(order, np.append(np.flatnonzero(ranked[1:] != ranked[:-1]) + 1, values.size))


def _spearman(by_uncertainty: _Sorted, by_error: _Sorted) -> float:
    x, y = by_uncertainty.ranks(), by_error.ranks()
    spread = math.sqrt(float(x @ x) * float(y @ y))
    return min(max(float(x @ y) / spread, -1.0), 1.0) if spread > 0 else math.nan


def _sparsification(error: Values, by_uncertainty: _Sorted, by_error: _Sorted) -> Sparsification:
    removed = np.arange(STEPS) / STEPS
    kept = error.size * (1 - removed)
    remaining, oracle = (by.sums(error, kept) / kept for by in (by_uncertainty, by_error))
    mean = oracle[0] if oracle[0] > 0 else math.nan
    return Sparsification(removed, remaining / mean, oracle / mean)


def _reliability(uncertainty: Floats, error: Values, by_uncertainty: _Sorted) -> Reliability:
    edges = np.linspace(0, error.size, BINS + 1)
    predicted, actual = (by_uncertainty.sums(values, edges) for values in (uncertainty, error))
    per_bin = error.size / BINS
    return Reliability(np.diff(predicted) / per_bin, np.diff(actual) / per_bin)


def _checked(uncertainty: Floats, error: Floats) -> tuple[Floats, Values]:
    """Flatten both; the uncertainty keeps its dtype, in which it sorts faster."""
    u, e = np.ravel(uncertainty), np.ravel(error).astype(np.float64, copy=False)
    if np.shape(uncertainty) != np.shape(error) or u.size == 0:
        shapes = f"{np.shape(uncertainty)} and {np.shape(error)}"
        raise InputError(f"uncertainty and error have shapes {shapes}; expected the same one, not empty")
    for name, values in (("uncertainty", u), ("error", e)):
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high < math.inf):  # also false when either is NaN
            raise InputError(f"{name} spans [{low:g}, {high:g}]; expected finite values >= 0")
    return u, e
