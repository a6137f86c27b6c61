"""The crossed bootstrap: known variances, coverage on simulated noise, pairing, and the same numbers every time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.verify.crossed import resampled_means

Values = npt.NDArray[np.float64]
FACES = [f"face {number}" for number in range(32)]


def noise(rng: np.random.Generator, seeds: int, seed_spread: float, trials: int) -> Values:
    """One arm whose true mean is 0: luck of each seed, and noise of each image, for many trials at once."""
    return rng.normal(0, seed_spread, (seeds, 1, trials)) + rng.normal(0, 0.5, (seeds, len(FACES), trials))


def coverage(seeds: int, seed_spread: float) -> float:
    rng = np.random.default_rng(11)
    faces = rng.normal(0, 1, (1, len(FACES), 300))  # what faces do to the difference, whatever the seed
    arms = {"a": noise(rng, seeds, seed_spread, 300) + faces, "b": noise(rng, seeds, seed_spread, 300)}
    draws = resampled_means(arms, FACES, 1000)
    low, high = np.percentile(draws["a"] - draws["b"], (2.5, 97.5), axis=0)
    return float(np.mean((low <= 0) & (high >= 0)))


@pytest.mark.parametrize("seed_spread", [0.0, 0.1, 0.2])
def test_an_interval_covers_the_truth_about_as_often_as_it_claims(seed_spread: float) -> None:
    assert 0.91 <= coverage(3, seed_spread) <= 0.99


def test_three_seeds_that_differ_wildly_are_known_to_cover_less_and_more_seeds_help() -> None:
    three, eight = coverage(3, 2.0), coverage(8, 2.0)
    assert 0.78 <= three <= 0.9  # the docstring says 85 %
    assert eight > three


def test_luck_of_seeds_is_not_averaged_away_over_many_images() -> None:
    lucky = np.array([-0.1, 0.0, 0.1]).reshape(3, 1, 1) * np.ones((3, 3200, 1))
    draws = resampled_means({"a": lucky}, [str(number) for number in range(3200)], 4000)["a"]
    unbiased = np.var([-0.1, 0.0, 0.1], ddof=1) / 3
    assert draws.var() == pytest.approx(unbiased, rel=0.1)


def test_faces_alone_give_the_variance_of_a_mean() -> None:
    values = np.random.default_rng(3).normal(10, 2, (1, 400, 1))
    draws = resampled_means({"a": values}, [str(number) for number in range(400)], 4000)["a"]
    assert draws.mean() == pytest.approx(values.mean(), abs=0.02)
    assert draws.std() == pytest.approx(values.std() / 20, rel=0.05)


def test_copies_of_a_face_tell_nothing_new() -> None:
    values = np.random.default_rng(7).random((1, 32, 1))
    once = resampled_means({"a": values}, FACES, 4000)["a"]
    copied = resampled_means({"a": np.repeat(values, 8, axis=1)}, list(np.repeat(FACES, 8)), 4000)["a"]
    assert copied.std() == pytest.approx(once.std(), rel=0.05)


def test_unequal_faces_weigh_by_their_images() -> None:
    values = np.array([1.0, 1.0, 1.0, 4.0]).reshape(1, 4, 1)
    draws = resampled_means({"a": values}, ["u", "u", "u", "v"], 500)["a"]
    assert sorted(set(np.round(draws.ravel(), 9).tolist())) == [1.0, 1.75, 4.0]


def test_arms_share_their_draw_of_faces_and_not_that_of_seeds() -> None:
    rng = np.random.default_rng(5)
    faces = rng.random((1, 32, 1))
    draws = resampled_means({"a": np.repeat(faces, 3, 0), "b": np.repeat(faces + 2, 3, 0)}, FACES, 200)
    np.testing.assert_allclose(draws["b"] - draws["a"], 2)
    luck = np.arange(3.0).reshape(3, 1, 1) * np.ones((3, 32, 1))
    draws = resampled_means({"a": luck, "b": luck}, FACES, 200)
    assert (draws["b"] - draws["a"]).std() > 0.1


def test_paired_runs_share_their_draw_of_seeds_too() -> None:
    luck = np.arange(3.0).reshape(3, 1, 1) * np.ones((3, 32, 1))
    draws = resampled_means({"a": luck, "b": luck + 2}, FACES, 200, paired=True)
    np.testing.assert_allclose(draws["b"] - draws["a"], 2)
    assert draws["a"].std() > 0.1


@pytest.mark.parametrize("seed_spread", [0.0, 0.2])
def test_an_interval_of_paired_runs_covers_the_truth_as_well(seed_spread: float) -> None:
    rng = np.random.default_rng(13)
    faces, luck = rng.normal(0, 1, (1, len(FACES), 300)), rng.normal(0, 3, (3, 1, 300))
    arms = {"a": noise(rng, 3, seed_spread, 300) + faces + luck, "b": luck + np.zeros((3, len(FACES), 300))}
    draws = resampled_means(arms, FACES, 1000, paired=True)
    low, high = np.percentile(draws["a"] - draws["b"], (2.5, 97.5), axis=0)
    assert 0.91 <= float(np.mean((low <= 0) & (high >= 0))) <= 0.99


def test_arms_may_have_different_numbers_of_seeds_and_numbers_repeat() -> None:
    rng = np.random.default_rng(5)
    arms = {"a": rng.random((3, 32, 2)), "b": rng.random((1, 32, 2))}
    once, again = resampled_means(arms, FACES, 100), resampled_means(arms, FACES, 100)
    for arm in arms:
        assert once[arm].shape == (100, 2)
        np.testing.assert_array_equal(once[arm], again[arm])
