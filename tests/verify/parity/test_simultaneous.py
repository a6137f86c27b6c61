"""Tests of intervals that hold at once: no false alarms on luck, and a loss in one stratum alone is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.verify.parity.simultaneous import LEAST_FACES, Intervals, intervals

Values = npt.NDArray[np.float64]
Noise = Callable[[np.random.Generator, tuple[int, int]], Values]

FACES, METRICS = 32, 3
SIZES = (14, 9, 9, 12, 12, 4, 4, 9, 8, 5, 5, 4, 1, 7, 6, 5, 5, 5, 4, 4, 3, 3, 2, 2, 2, 1, 1, 1)
"""Images of each stratum, as in one composite of each face of the hold-out."""
NAMES = [f"face {i:02d}" for i in range(FACES)]
SETS = 100
NOISES: dict[str, Noise] = {
    "normal": lambda rng, shape: rng.normal(0, 3, shape),
    "heavy tails": lambda rng, shape: rng.standard_t(3, shape) * 2 + rng.standard_t(3, (shape[0], 1)) * 2,
    "skewed": lambda rng, shape: (rng.exponential(1, shape) - 1) * 4,
}


def table(rng: np.random.Generator, noise: Noise, spread: float = 0.7) -> tuple[Values, Values, list[npt.NDArray[Any]]]:
    """Return the float network's errors, of log-normal size, and an artefact's that differ by noise of mean 0."""
    base = 5 * rng.lognormal(0, spread, (FACES, METRICS))
    other = base * (1 + noise(rng, base.shape) / 100)
    members = [rng.choice(FACES, size, replace=False) for size in SIZES]
    first, second = [base], [other]
    for member in members:
        inside = np.isin(np.arange(FACES), member)[:, None]
        first.append(np.where(inside, base, np.nan))
        second.append(np.where(inside, other, np.nan))
    return np.concatenate(first, axis=1), np.concatenate(second, axis=1), members


def measured(first: Values, other: Values) -> Intervals:
    return intervals(first, other, NAMES, [k % METRICS for k in range(first.shape[1])])


@pytest.mark.parametrize("noise", NOISES)
def test_luck_alone_raises_no_alarm(noise: str) -> None:
    rng = np.random.default_rng(1)
    above = {0: 0, 5: 0}
    for _ in range(SETS):
        first, other, _ = table(rng, NOISES[noise])
        low = np.nanmax(measured(first, other).low)
        above = {limit: count + int(low > limit) for limit, count in above.items()}
    assert above[0] <= 0.05 * SETS  # the family-wise error at the edge: the true loss is the limit, in every stratum
    assert above[5] == 0  # and with the least limit by default, where nothing is lost


@pytest.mark.parametrize(("size", "loss", "least"), [(3, 60, 0.9), (5, 60, 0.95), (9, 30, 0.8)])
def test_a_loss_in_one_stratum_alone_is_found(size: int, loss: float, least: float) -> None:
    rng = np.random.default_rng(2)
    found, wrong = 0, 0
    for _ in range(SETS // 2):
        first, other, members = table(rng, NOISES["heavy tails"])
        place = SIZES.index(size)
        extra = np.zeros(FACES)
        extra[members[place]] = loss * rng.uniform(0.5, 1.5, size) / 100
        low = measured(first, other + first * extra[:, None]).low.reshape(-1, METRICS)
        found += bool((low[1 + place] > 10).any())
        apart = [k for k, m in enumerate(members, 1) if not np.isin(m, members[place]).any()]
        wrong += bool((low[apart] > 0).any())
    assert found >= least * (SETS // 2)
    assert wrong <= 0.05 * (SETS // 2)


def test_three_faces_that_happen_to_agree_are_not_certain() -> None:
    rng = np.random.default_rng(3)
    base = np.full((FACES, 1), 5.0)
    other = base * (1 + rng.normal(0, 0.03, (FACES, 1)))
    other[:3] = base[:3] * 1.03
    inside = np.arange(FACES)[:, None] < 3
    found = intervals(
        np.hstack([base, np.where(inside, base, np.nan)]),
        np.hstack([other, np.where(inside, other, np.nan)]),
        NAMES,
        [0, 0],
    )
    assert found.value[1] == pytest.approx(3)
    assert found.low[1] < 0


def test_no_difference_is_exactly_none() -> None:
    first, _, _ = table(np.random.default_rng(0), NOISES["normal"])
    found = measured(first, first.copy())
    assert (found.value == 0).all()
    judged = found.faces >= LEAST_FACES
    assert (found.low[judged] == 0).all()
    assert (found.high[judged] == 0).all()


def test_a_stratum_of_fewer_faces_has_no_interval() -> None:
    first, other, _ = table(np.random.default_rng(0), NOISES["normal"])
    found = measured(first, other)
    small = np.repeat(np.array((FACES, *SIZES)) < LEAST_FACES, METRICS)
    assert np.isnan(found.low[small]).all()
    assert np.isfinite(found.low[~small]).all()
    assert np.isfinite(found.value).all()


def test_images_of_one_face_are_drawn_together() -> None:
    first, other, _ = table(np.random.default_rng(0), NOISES["normal"])
    whole = [k % METRICS for k in range(first.shape[1])]
    once = intervals(first, other, NAMES, whole)
    twice = intervals(np.vstack([first, first]), np.vstack([other, other]), [*NAMES, *NAMES], whole)
    for one, two in zip(once, twice, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9)


def test_a_stratum_without_any_error_has_no_percent() -> None:
    first = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    found = intervals(first, first + 1, ["a", "b", "c"], [0, 1])
    assert np.isnan(found.value[1])
    assert np.isnan(found.low[1])
    assert found.value[0] == pytest.approx(50)


def test_faces_without_any_error_say_nothing() -> None:
    first = np.array([[0.0], [0.0], [0.0], [1.0]])
    found = intervals(first, first * 2, ["a", "b", "c", "d"], [0])
    assert found.faces.tolist() == [1]
    assert np.isnan(found.low[0])
