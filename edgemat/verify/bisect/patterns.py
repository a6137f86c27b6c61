"""What the shape of a difference gives away: one channel, the border, a factor, an offset, another order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edgemat.verify.bisect.floats import Residual

Reals = npt.NDArray[np.float64]
_FEW = 16
"""Values that a fit needs."""
_SAME = 0.99
"""Share of a channel's values that must be another's."""
_TIGHT = 0.02
"""Largest deviation from a pattern, over the difference itself."""


def guess(residual: Residual) -> str:
    """Return a likely cause in a few words; empty where no pattern stands out.

    Args:
        residual: A tensor and what was expected, (1, C, H, W).

    Example:
        >>> from edgemat.verify.bisect.floats import Residual
        >>> expected = np.linspace(-1, 1, 128, dtype=np.float32).reshape(1, 2, 8, 8)
        >>> guess(Residual(expected * np.float32(1.01), expected, np.full_like(expected, 1e-6)))
        'all values are 1.01 times what they should be: a scale'
    """
    found, expected = residual.found.astype(np.float64), residual.expected.astype(np.float64)
    if not np.isfinite(found).all():
        return _broken(found, expected)
    difference, beyond = found - expected, residual.times > 1.0
    if found.ndim != 4 or not beyond.any():
        return ""
    if expected.any() and not found.any():
        return "it is zero everywhere"
    channels = np.flatnonzero(beyond.any(axis=(0, 2, 3)))
    if min(found.shape[2:]) > 4 and not beyond[:, :, 2:-2, 2:-2].any():
        return "the border only: padding, or the sides that are padded"
    if text := order(found, expected, 4.0 * float(residual.limit.max())):
        return text
    noise = residual.limit.astype(np.float64)
    fits = {int(c): fit for c in channels if (fit := _line(expected[:, c], found[:, c], noise[:, c])) is not None}
    if len(channels) == 1 < found.shape[1]:
        slope, offset = fits.get(int(channels[0]), (1.0, 0.0))
        off = f", {slope:.4g} times what it should be, {offset:+.3g}" if fits else ""
        return f"channel {channels[0]} only{off}: its bias, or its scale of the weight"
    return _lines(fits, len(channels), float(np.abs(difference).max()))


def _broken(found: Reals, expected: Reals) -> str:
    peak = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    if peak > 65504.0:
        return f"an overflow: it peaks at {peak:.3g}, float16 ends at 65504; rescale the layer before it, or use fp32"
    return f"{int((~np.isfinite(found)).sum())} values are NaN or infinite"


def order(found: Reals, expected: Reals, near: float) -> str:
    """Return what was permuted: channels, or rows and columns; empty where nothing was.

    Args:
        found: (1, C, H, W).
        expected: Of the same shape.
        near: How far two values may be apart that are the same.
    """
    for name, flipped in (
        ("upside down", found[:, :, ::-1]),
        ("mirrored", found[..., ::-1]),
        ("with rows and columns swapped", found.swapaxes(2, 3)),
    ):
        if flipped.shape == expected.shape and np.abs(flipped - expected).max() <= near:
            return f"it is {name}"
    count = found.shape[1]
    if not 1 < count <= 512:
        return ""
    flat = found[0].reshape(count, -1), expected[0].reshape(count, -1)
    # equal channels have equal sums: those alone are compared
    places = [_match(channel, flat[0], near) for channel in flat[1]]
    if sorted(places) != list(range(count)) or places == list(range(count)):
        return ""
    moved = [(here, there) for here, there in enumerate(places) if here != there]
    text = ", ".join(f"{here} is at {there}" for here, there in moved[:4]) + (" ..." if len(moved) > 4 else "")
    return f"the channels are in another order: {text}"


def _match(channel: Reals, candidates: Reals, near: float) -> int:
    sums = np.abs(candidates.mean(1) - channel.mean())
    for place in np.argsort(sums)[:4]:
        if (np.abs(candidates[place] - channel) <= near).mean() >= _SAME:
            return int(place)
    return -1


def _line(x: Reals, y: Reals, noise: Reals) -> tuple[float, float] | None:
    """Return slope and offset of one channel where a line explains its difference; None else.

    Values that an activation has cut, at either end of the channel, say nothing.
    """
    inner = (x > x.min()) & (x < x.max()) & (y > y.min()) & (y < y.max())
    if inner.sum() < _FEW or x[inner].std() == 0.0:
        return None
    slope, offset = np.polyfit(x[inner], y[inner], 1)
    left = np.abs(slope * x[inner] + offset - y[inner])
    allowed = _TIGHT * float(np.abs(y - x).max()) + noise[inner]
    return (float(slope), float(offset)) if (left <= allowed).all() else None


def _lines(fits: dict[int, tuple[float, float]], channels: int, largest: float) -> str:
    """Name what most channels share."""
    if len(fits) < max(1, channels // 2):
        return ""
    slopes, offsets = (np.array(values) for values in zip(*fits.values(), strict=True))
    slope, spread = float(np.median(slopes)), float(np.ptp(slopes))
    scaled, moved = abs(slopes - 1.0).max() > 1e-6, np.abs(offsets).max() > _TIGHT * largest
    if scaled and not moved and spread < 0.05 * abs(slope - 1.0):
        return f"all values are {slope:.4g} times what they should be: a scale"
    if not moved and scaled:
        return f"each channel has a factor of its own, {slopes.min():.4g} to {slopes.max():.4g}: the weight's scales"
    if scaled and spread < 0.05 * abs(slope - 1.0):
        return f"the sums are {slope:.4g} times what they should be, the bias is right: the weight, or its scale"
    if abs(slopes - 1.0).max() < 0.005:
        low, high = float(offsets.min()), float(offsets.max())
        if high - low <= _TIGHT * max(abs(low), abs(high)):
            return f"{np.median(offsets):+.3g} everywhere: a bias, or the input's mean"
        return f"each channel has an offset of its own, {low:+.3g} to {high:+.3g}: the bias, or the input's mean"
    return ""
