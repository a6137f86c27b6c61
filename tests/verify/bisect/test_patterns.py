"""Patterns of a difference are told by what they are, and noise is told as nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.verify.bisect import patterns
from edgemat.verify.bisect.floats import Residual

Reals = npt.NDArray[np.float32]
LIMIT = 1e-6


def expected() -> Reals:
    return np.random.default_rng(2).normal(size=(1, 6, 12, 12)).astype(np.float32)


def one_channel(value: Reals) -> Reals:
    value = value.copy()
    value[:, 3] += 0.25
    return value


def border(value: Reals) -> Reals:
    value = value.copy()
    value[:, :, 0] = 0.0
    return value


def broken(value: Reals) -> Reals:
    value = value.copy()
    value[0, 0, 0, :5] = np.nan
    return value


OFFSETS = np.arange(1, 7, dtype=np.float32).reshape(1, 6, 1, 1)
SLOPES = (1 + np.arange(1, 7, dtype=np.float32) / 10).reshape(1, 6, 1, 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v * np.float32(1.01), "all values are 1.01 times"),
        (lambda v: v * SLOPES, "each channel has a factor of its own, 1.1 to 1.6"),
        (lambda v: v + np.float32(0.5), "+0.5 everywhere"),
        (lambda v: v + OFFSETS, "each channel has an offset of its own, +1 to +6"),
        (lambda v: v * np.float32(1.01) + OFFSETS / 10, "the sums are 1.01 times"),
        (lambda v: v[:, ::-1], "the channels are in another order: 0 is at 5"),
        (lambda v: v[..., ::-1], "it is mirrored"),
        (lambda v: v[:, :, ::-1], "it is upside down"),
        (lambda v: v.swapaxes(2, 3), "rows and columns swapped"),
        (np.zeros_like, "it is zero everywhere"),
        (one_channel, "channel 3 only"),
        (border, "the border only"),
        (broken, "5 values are NaN or infinite"),
    ],
)
def test_a_pattern_is_told(change: Callable[[Reals], Reals], says: str) -> None:
    right = expected()
    assert says in patterns.guess(Residual(change(right), right, np.full_like(right, LIMIT)))


def test_noise_suggests_nothing() -> None:
    right = expected()
    noise = np.random.default_rng(4).normal(0, 0.1, right.shape).astype(np.float32)
    limit = np.full_like(right, LIMIT)
    assert patterns.guess(Residual(right + noise, right, limit)) == ""
    assert patterns.guess(Residual(right, right, limit)) == ""


def test_an_overflow_is_told_by_what_was_expected() -> None:
    right = expected() * np.float32(1e6)
    found = np.where(np.abs(right) > 65504, np.inf, right).astype(np.float32)
    assert "an overflow: it peaks at" in patterns.guess(Residual(found, right, np.full_like(right, LIMIT)))
