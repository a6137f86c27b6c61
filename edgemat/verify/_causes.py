"""Guess from the pattern of differing codes what is wrong with a layer."""

from __future__ import annotations

import numpy as np

from edgemat.quantize.grid import Codes

_MOST = 0.95
"""Share of the values that must fit a pattern."""
_NOTICEABLE = 0.004
"""Relative difference of a slope from 1 that is more than rounding makes."""
_CLEAR = 2.0
"""Codes of offset that no rounding makes."""


def guess(found: Codes, expected: Codes, zero_point: int) -> str:
    """Return a likely cause in a few words; empty where no pattern stands out.

    Args:
        found: The backend's codes, NCHW.
        expected: The reference's, of the same shape.
        zero_point: Of the tensor.
    """
    difference = (found - expected).astype(np.float64)
    if difference.ndim != 4 or not difference.any():
        return ""
    channels = np.flatnonzero((difference != 0).any(axis=(0, 2, 3)))
    if len(channels) == 1 < difference.shape[1]:
        return f"channel {channels[0]} only: its bias, or its scale of the weight"
    if _only_border(difference):
        return "the border only: padding (its value must be the zero point), or the sides that are padded"
    low, high = min(found.min(), expected.min()), max(found.max(), expected.max())
    inner = (found > low) & (found < high) & (expected > low) & (expected < high)
    if inner.sum() < 16:
        return ""
    values, offset = difference[inner], float(np.median(difference[inner]))
    if offset and (values == offset).mean() > _MOST:
        return f"{offset:+.0f} everywhere: the zero point, or a bias"
    return _by_channel(found, expected, zero_point, inner)


def _only_border(difference: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> bool:
    """Return whether all differences lie in the outermost two rows or columns, and some place is left inside."""
    return min(difference.shape[2:]) > 4 and not difference[:, :, 2:-2, 2:-2].any()


def _by_channel(
    found: Codes, expected: Codes, zero_point: int, inner: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> str:
    """Fit each channel as slope and offset of the expected values; name what most channels share."""
    slopes, offsets = [], []
    for channel in range(found.shape[1]):
        seen = inner[:, channel]
        x = (expected[:, channel][seen] - zero_point).astype(np.float64)
        y = (found[:, channel][seen] - zero_point).astype(np.float64)
        if len(x) < 16 or x.std() < 1.0:
            continue
        slope, offset = np.polyfit(x, y, 1)
        if np.abs(slope * x + offset - y).mean() < 1.0:
            slopes.append(slope)
            offsets.append(offset)
    if not slopes:
        return ""
    slope, spread = float(np.median(slopes)), float(np.ptp(slopes))
    if spread < 0.05 and abs(slope - 1.0) > _NOTICEABLE and np.abs(offsets).max() < 1.5:
        return f"all values are {slope:.4g} times what they should be: a scale"
    if len(slopes) > 1 and spread >= 0.05:
        return f"each channel has a factor of its own, {min(slopes):.3g} to {max(slopes):.3g}: the weight's scales"
    if np.abs(offsets).max() >= _CLEAR and spread < 0.05:
        return f"each channel has an offset of its own, {min(offsets):+.2g} to {max(offsets):+.2g} codes: the bias"
    return ""
