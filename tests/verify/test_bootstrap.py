"""Bootstrap intervals: known answers, coverage, and the same numbers every time."""

from __future__ import annotations

import numpy as np
import pytest

from edgemat.verify.bootstrap import Interval, mean_intervals, median_interval


def test_the_mean_interval_matches_the_normal_one_on_many_normal_values() -> None:
    values = np.random.default_rng(3).normal(10, 2, (400, 1))
    (interval,) = mean_intervals(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.2 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.2 * half)


def test_the_mean_interval_covers_the_truth_about_as_often_as_it_claims() -> None:
    rng = np.random.default_rng(11)
    hits = [i.low <= 1.0 <= i.high for i in mean_intervals(rng.exponential(1.0, (60, 300)))]
    assert 0.88 <= np.mean(hits) <= 0.99


def test_columns_keep_their_pairing() -> None:
    values = np.random.default_rng(5).random((30, 1))
    plain, shifted = mean_intervals(np.hstack([values, values + 2]))
    assert (shifted.low - plain.low, shifted.high - plain.high) == pytest.approx((2, 2))


def test_copies_of_an_observation_tell_nothing_new() -> None:
    values = np.random.default_rng(7).random((20, 2))
    labels = [f"face {i}" for i in range(20)]
    copied = mean_intervals(np.repeat(values, 8, axis=0), list(np.repeat(labels, 8)))
    for one, many in zip(mean_intervals(values, sorted(labels)), copied, strict=True):
        assert many.high - many.low == pytest.approx(one.high - one.low, rel=0.15)
    careless = mean_intervals(np.repeat(values, 8, axis=0))
    assert careless[0].high - careless[0].low < 0.5 * (copied[0].high - copied[0].low)


def test_one_observation_has_an_interval_of_no_width() -> None:
    assert mean_intervals(np.array([[3.0]])) == [Interval(3.0, 3.0, 3.0)]
    assert median_interval(np.array([3.0])) == Interval(3.0, 3.0, 3.0)


def test_the_median_interval_ignores_one_outlier() -> None:
    calm = median_interval(np.array([1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0, 1000.0]))
    assert calm.value == pytest.approx(1.0)
    assert calm.low >= 0.9
    assert calm.high < 2


def test_intervals_repeat_exactly() -> None:
    values = np.random.default_rng(5).random((30, 2))
    assert mean_intervals(values) == mean_intervals(values)
    assert median_interval(values[:, 0]) == median_interval(values[:, 0])
