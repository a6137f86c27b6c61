"""Multiplication of int32 by a real as TFLite does it: 31 fraction bits and a shift, rounded in one or two steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def multiplier(real: npt.ArrayLike) -> tuple[Integers, Integers]:
    """Return positive reals as ``multiplier * 2**(shift - 31)``, the multiplier in [2**30, 2**31).

    Example:
        >>> [value.tolist() for value in multiplier([0.75, 0.001])]
        [[1610612736, 1099511628], [0, -9]]
    """
    fraction, shift = np.frexp(np.asarray(real, np.float64))
    whole = np.floor(fraction * 2.0**31 + 0.5).astype(np.int64)
    full = whole == 2**31
    return np.where(full, whole // 2, whole), shift.astype(np.int64) + full


def multiplied(values: npt.NDArray[Any], real: npt.ArrayLike, ties_up: npt.ArrayLike = False) -> Integers:
    """Return ``values * real``, rounded twice: to what the shift leaves of the fraction bits, then to whole numbers.

    Args:
        values: Integers.
        real: Positive; broadcasts.
        ties_up: Whether the second step rounds halves up (TFLite's vector code) or away from zero; broadcasts.
    """
    factor, shift = multiplier(real)
    return _applied(values, factor, shift, ties_up)


def multiplied_once(values: npt.NDArray[Any], real: float) -> Integers:
    """Return ``values * real``, rounded once, halves up."""
    factor, shift = multiplier(real)
    down = 31 - shift
    product: Integers = values.astype(np.int64) * factor
    return (product + (np.int64(1) << (down - 1))) >> down


def averaged(sums: npt.NDArray[Any], real: float, count: int) -> Integers:
    """Return ``sums / count * real`` as TFLite's reference MEAN: the multiplier is divided, and its rest cut off."""
    factor, shift = multiplier(real)
    bits = min(count.bit_length() - 1, 32, 31 + int(shift))
    return _applied(sums, (factor << bits) // count, shift - bits, ties_up=False)


def _applied(values: npt.NDArray[Any], factor: Integers, shift: Integers, ties_up: npt.ArrayLike) -> Integers:
    product = (values.astype(np.int64) << np.maximum(shift, 0)) * factor
    high = (product + (1 << 30)) >> 31
    down = np.maximum(-shift, 0)
    found: Integers = np.where(ties_up, (high + ((np.int64(1) << down) >> 1)) >> down, _halves_away(high, down))
    return found


def _halves_away(values: Integers, bits: npt.NDArray[np.int64] | np.int64) -> Integers:
    """Return ``values / 2**bits``, halves rounded away from zero."""
    rounded = (np.abs(values) + ((np.int64(1) << bits) >> 1)) >> bits
    signed: Integers = np.where(values < 0, -rounded, rounded)
    return signed


def divided(values: Integers, count: npt.ArrayLike) -> Integers:
    """Return ``values / count``, halves rounded away from zero."""
    count = np.asarray(count, np.int64)
    rounded: Integers = np.sign(values) * ((np.abs(values) + count // 2) // count)
    return rounded
