"""Choose the range of a group of tensors from what was seen of them, by one of four methods. Pure, deterministic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError
from edgemat.quantize.grid import QParams
from edgemat.quantize.observe import Stats

Values = npt.NDArray[np.float64]

PERCENTILE = 99.99
"""Share of the values, in percent, that ``percentile`` leaves unclipped at each end."""
_STEPS, _ROUNDS, _NARROWEST = 32, 3, 0.02
_DEAD = 1.0
"""Range of a tensor that was always 0: nothing is known of it, and the passport says so."""


@dataclass(frozen=True)
class Form:
    """What the rules of the grid leave open about a range.

    Attributes:
        low: Smallest code.
        high: Largest code.
        symmetric: The zero point is 0.
        from_zero: The values are never negative: the zero point is the smallest code (unless symmetric).
        bound: The range may not end above this; infinite where no Clip bounds it.
    """

    low: int = 0
    high: int = 255
    symmetric: bool = False
    from_zero: bool = False
    bound: float = float("inf")

    def params(self, bottom: float, top: float) -> QParams:
        """Return scale and zero point of a range: widened to hold 0, and held to the rules.

        Example:
            >>> Form().params(-1.0, 1.55).zero_point
            100
            >>> Form(from_zero=True, bound=6.0).params(-1.0, 9.0)
            QParams(scale=0.0235294122248888, zero_point=0, low=0, high=255)
        """
        bottom, top = min(bottom, 0.0), min(max(top, 0.0), self.bound)
        if self.from_zero:
            bottom = 0.0
        if top - bottom < np.finfo(np.float32).tiny * (self.high - self.low):
            bottom, top = 0.0, min(_DEAD, self.bound)
        if self.symmetric:
            return QParams(max(-bottom, top) / self.high, 0, self.low, self.high)
        scale = np.float32((top - bottom) / (self.high - self.low))
        zero = self.low + round(-bottom / float(scale))
        return QParams(float(scale), min(zero, self.high), self.low, self.high)


def choose(stats: Stats, form: Form, method: str, percentile: float = PERCENTILE) -> QParams:
    """Return scale and zero point of a group of tensors.

    Args:
        stats: What was seen.
        form: What the rules leave open.
        method: One of `METHODS`.
        percentile: For ``percentile``: share of values kept at each end, in percent.

    Raises:
        InputError: The method is not known.
    """
    check_method(method)
    if method == "percentile":
        return form.params(*_percentiles(stats, percentile / 100.0))
    return form.params(*_CHOICES[method](stats, form))


def check_method(method: str) -> None:
    """Raise for a method that is none of `METHODS`.

    Raises:
        InputError: Naming them all.
    """
    if method not in METHODS:
        raise InputError(f"calibration method {method!r} is not known; expected one of {', '.join(METHODS)}")


def _extremes(stats: Stats, form: Form) -> tuple[float, float]:
    """Everything that was seen."""
    del form
    return float(stats.lows.min()), float(stats.highs.max())


def _mean_extremes(stats: Stats, form: Form) -> tuple[float, float]:
    """The mean of each image's extremes: a moving average that does not depend on the order of the images."""
    del form
    return float(stats.lows.mean()), float(stats.highs.mean())


def _percentiles(stats: Stats, share: float) -> tuple[float, float]:
    """The values between which a share lies, so many at each end left out."""
    summed = np.cumsum(stats.counts.sum(0))
    edges = np.linspace(stats.start, stats.stop, stats.counts.shape[1] + 1)
    below = np.searchsorted(summed, summed[-1] * (1.0 - share), side="right")
    above = np.searchsorted(summed, summed[-1] * share, side="left")
    return float(edges[min(below, len(edges) - 2)]), float(edges[min(above, len(edges) - 2) + 1])


def _least_squares(stats: Stats, form: Form) -> tuple[float, float]:
    """The range whose codes have the least mean squared error: each end is sought in turn, coarse to fine."""
    density = stats.counts.sum(0)
    seen = density > 0
    centres, density = stats.centres[seen], density[seen]
    bottom, top = _extremes(stats, form)
    bottom, top = min(bottom, 0.0), max(top, 0.0)

    def error(low: float, high: float) -> float:
        params = form.params(low, high)
        codes = np.clip(np.rint(centres / params.scale) + params.zero_point, params.low, params.high)
        return float(density @ ((codes - params.zero_point) * params.scale - centres) ** 2)

    if form.symmetric:
        widest = max(-bottom, top)
        narrowed = _search(lambda f: error(-f * widest, f * widest))
        return -narrowed * widest, narrowed * widest
    below = above = 1.0
    for _ in range(1 if form.from_zero or bottom == 0.0 else _ROUNDS):
        above = _search(lambda f, b=below: error(b * bottom, f * top))  # type: ignore[misc]
        if bottom < 0.0 and not form.from_zero:
            below = _search(lambda f, a=above: error(f * bottom, a * top))  # type: ignore[misc]
    return below * bottom, above * top


def _search(error: Callable[[float], float]) -> float:
    """Return the fraction of a range, at most 1, of least error: geometric steps first, then between neighbours."""
    fractions = np.geomspace(_NARROWEST, 1.0, _STEPS)
    for _ in range(_ROUNDS):
        errors = [error(float(f)) for f in fractions]
        best = len(errors) - 1 - int(np.argmin(errors[::-1]))  # of equals the widest
        found = float(fractions[best])
        fractions = np.linspace(fractions[max(best - 1, 0)], fractions[min(best + 1, len(errors) - 1)], _STEPS // 4 + 1)
    return found


_CHOICES: dict[str, Callable[[Stats, Form], tuple[float, float]]] = {
    "minmax": _extremes,
    "moving-average": _mean_extremes,
    "mse": _least_squares,
}
METHODS = ("minmax", "moving-average", "percentile", "mse")
"""All values seen; the mean of each image's extremes; all but the outermost; least squared error."""
