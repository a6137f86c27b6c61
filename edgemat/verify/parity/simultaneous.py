"""Intervals of many strata that hold all at once, so that the worst of them can be judged without false alarms."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgemat.verify.bootstrap import SEED, Values
from edgemat.verify.crossed import RESAMPLES

LEAST_FACES = 3
"""A stratum where fewer faces have any error has no interval: its figure is theirs, not the stratum's."""
LEVEL = 95.0
"""Per cent of sets on which every interval holds its stratum's true value."""


class Intervals(NamedTuple):
    """One entry a stratum; NaN where there is nothing to divide by, or too few faces for an interval.

    Attributes:
        value: Per cent.
        low: Lower end.
        high: Upper end.
        faces: How many have any error there.
    """

    value: Values
    low: Values
    high: Values
    faces: npt.NDArray[np.int64]


def intervals(first: Values, other: Values, faces: Sequence[str], whole: Sequence[int]) -> Intervals:
    """Return by how many per cent ``other`` is above ``first`` in each stratum, with simultaneous 95 % intervals.

    Strata overlap and are many, and the worst of many is high by luck alone. The intervals ``value +- c * se`` are made
    for all strata at once: c is the 95th percentile of the largest ``|deviation| / se`` of any stratum over resamples
    of faces, all strata of a resample drawn together (the max-t bootstrap: Westfall and Young, "Resampling-Based
    Multiple Testing", 1993, single-step; Romano and Wolf, "Exact and Approximate Stepdown Methods for Multiple
    Hypothesis Testing", JASA, 2005), widened by Student's t for the number of faces (Hesterberg, "What Teachers Should
    Know About the Bootstrap", The American Statistician, 2015). Deviations are the ratio's, linearised (Davison and
    Hinkley, "Bootstrap Methods and their Application", 1997, chapter 2.7), so that a resample without a stratum's faces
    is no gap.

    A stratum of three faces says next to nothing of its own spread: three that happen to agree would be certain. So its
    standard error is never taken below that of the whole set's faces, scaled to as many as it has, and to the
    float network's own error there (a matte's error varies with its size).

    What it is worth, simulated (`tests/verify/parity/test_simultaneous.py`: 32 faces, 28 strata, 3 metrics; noise
    normal, of heavy tails, skewed): some stratum's lower end was above its true value in at most 2 % of sets (2.5 % is
    nominal; without the two corrections 15 %). A loss of 60 % in one stratum of 3 faces alone, noise of 3 %, was found
    to be more than 10 % in 99 of 100 sets; one of 30 % in two of three.

    Args:
        first: One row an image, one column a stratum (of one metric, at one place), float64, (N, K), >= 0; NaN where
            the image is not in the stratum.
        other: The same of what is compared, NaN in the same places.
        faces: One label a row; images of one face are drawn together.
        whole: Of each column, the column of the same quantity over the whole set, whose spread is the least; its own
            number where there is none.

    Returns:
        In per cent of ``first``'s mean in the stratum. The same values give the same numbers, always.

    Example:
        >>> first = np.array([[2.0], [2.0], [4.0]])
        >>> found = intervals(first, first * 1.5, ["a", "b", "c"], [0])
        >>> float(found.value[0]), float(found.low[0])
        (50.0, 50.0)
    """
    inside = np.isfinite(first)
    labels = np.unique(np.array(faces), return_inverse=True)[1]
    member = labels[None] == np.arange(int(labels.max()) + 1)[:, None]  # (faces, rows)
    base = np.where(inside, first, 0.0)
    change = np.where(inside, other - first, 0.0)
    total = base.sum(axis=0)
    divisor = np.where(total > 0, total, np.nan)
    ratio = change.sum(axis=0) / divisor
    count = (member @ (inside & ((base > 0) | (change != 0))) > 0).sum(axis=0)  # bool: any image of the face
    deviations = np.nan_to_num(member @ (change - ratio * base))  # by face; they add up to zero
    spread = _spread(deviations, base, inside, count, np.asarray(whole))
    judged = (count >= LEAST_FACES) & np.isfinite(ratio)
    half = _critical(deviations, spread, judged) * spread
    ends = np.where(judged, 100 * half / divisor, np.nan)
    return Intervals(100 * ratio, 100 * ratio - ends, 100 * ratio + ends, count)


def _spread(
    deviations: Values,
    base: Values,
    inside: npt.NDArray[np.bool_],
    faces: npt.NDArray[np.int64],
    whole: npt.NDArray[np.intp],
) -> Values:
    """Return the standard error of each column's sum of changes: its own, or the whole set's where that is larger."""
    images = np.maximum(inside.sum(axis=0), 1)
    own = np.sqrt((deviations**2).sum(axis=0) * faces / np.maximum(faces - 1, 1)) / images
    square = (base**2).sum(axis=0) / images
    larger = square / np.where(square[whole] > 0, square[whole], np.inf)
    least = own[whole] * np.sqrt(faces[whole] / np.maximum(faces, 1) * np.maximum(larger, 1))
    return np.asarray(np.maximum(own, least) * images)


def _critical(deviations: Values, spread: Values, judged: npt.NDArray[np.bool_]) -> float:
    """Return how many standard errors the intervals reach."""
    used = judged & (spread > 0)
    if not used.any():
        return 0.0
    from scipy import special

    faces = len(deviations)
    largest = np.abs(_drawn(faces) @ (deviations[:, used] / spread[used])).max(axis=1)
    # The bootstrap takes the standard errors as known. Student's t for as many faces reaches farther, equally likely.
    return float(-special.stdtrit(faces - 1, special.ndtr(-np.percentile(largest, LEVEL))))


@functools.lru_cache(maxsize=2)  # the same for all artefacts of a run
def _drawn(faces: int) -> Values:
    """Return how often each face is drawn in every resample, float64, (resamples, faces)."""
    drawn = np.random.default_rng(SEED).multinomial(faces, np.full(faces, 1 / faces), RESAMPLES)
    return drawn.astype(np.float64)
