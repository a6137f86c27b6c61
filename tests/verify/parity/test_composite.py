"""Tests of the filtered frame: what an app would show, and what may differ in it."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.errors import InputError
from edgemat.verify.parity.composite import FILTERS, STEPS, Composite, CompositeLimits, blend
from edgemat.verify.parity.images import ParitySet
from edgemat.verify.parity.report import COMPOSITE, Figure

Alphas = npt.NDArray[np.float32]
Discs = tuple[ParitySet, Alphas]
SHARE, WORST = f"off_by_more_than_{STEPS}", f"off_by_more_than_{STEPS}_worst"


@pytest.fixture(scope="module")
def composite(discs: Discs) -> Composite:
    return Composite(*discs)


def keyed(figures: tuple[Figure, ...]) -> dict[tuple[str, str], Figure]:
    return {(figure.name, figure.region.removeprefix("filter: ")): figure for figure in figures}


def test_the_float_network_itself_differs_by_exactly_nothing(composite: Composite, discs: Discs) -> None:
    figures = composite.figures(discs[1].copy())
    assert {figure.question for figure in figures} == {COMPOSITE}
    assert len(figures) == 4 * len(FILTERS)
    assert all(figure.value == 0 and figure.passed for figure in figures)


def test_bytes_of_alpha_are_within_the_steps_that_rounding_may_do(composite: Composite, discs: Discs) -> None:
    figures = keyed(composite.figures((np.round(discs[1] * 255) / 255).astype(np.float32)))
    for name in FILTERS:
        assert figures[SHARE, name].value == 0
        largest = figures["max_abs", name].value
        assert largest is not None
        assert largest <= STEPS
    assert figures["max_abs", "colour"].value > 0  # type: ignore[operator]


def test_a_matte_that_is_a_pixel_off_is_seen(composite: Composite, discs: Discs) -> None:
    figures = keyed(composite.figures(np.roll(discs[1], 1, axis=-1)))
    assert not figures[SHARE, "colour"].passed
    assert figures["max_abs", "colour"].value > 50  # type: ignore[operator]


def test_one_stained_image_fails_though_the_share_is_small(discs: Discs) -> None:
    stained = discs[1].copy()
    stained[7, 20:32, 20:32] = 0
    figures = keyed(Composite(*discs).figures(stained, CompositeLimits(1.0, 5.0)))
    assert figures[SHARE, "colour"].passed
    worst = figures[WORST, "colour"]
    assert not worst.passed
    assert worst.value == pytest.approx(100 * 144 / 48**2)
    assert "image 7 (face 07)" in worst.detail


def test_clips_are_left_out(composite: Composite, discs: Discs) -> None:
    changed = discs[1].copy()
    changed[12:] = 0
    assert all(figure.value == 0 for figure in composite.figures(changed))


def test_no_truth_is_needed_and_one_image_has_no_interval(discs: Discs) -> None:
    parity_set, reference = discs
    one = dataclasses.replace(
        parity_set, images=parity_set.images[:1], truth=None, uncertainty=None, strata=((),), faces=("anna",),
        clips=parity_set.clips[:0], clip_truth=parity_set.clip_truth[:0], clip_faces=(),
    )  # fmt: skip
    figures = keyed(Composite(one, reference[:1]).figures(np.roll(reference[:1], 1, axis=-1)))
    assert figures[SHARE, "colour"].low is None
    assert figures[SHARE, "colour"].value == figures[WORST, "colour"].value


def test_the_same_alpha_gives_the_same_figures(composite: Composite, discs: Discs) -> None:
    noisy = np.clip(discs[1] + np.random.default_rng(0).normal(0, 0.02, discs[1].shape), 0, 1).astype(np.float32)
    assert composite.figures(noisy) == composite.figures(noisy) == Composite(*discs).figures(noisy)


def test_a_frame_is_blended_exactly_and_rounded_once() -> None:
    rng = np.random.default_rng(0)
    image, filtered = rng.integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    alpha = rng.random((64, 64)).astype(np.float32)
    exact = alpha[..., None].astype(np.float64) * filtered + (1 - alpha[..., None].astype(np.float64)) * image
    assert np.abs(blend(image, filtered, alpha) - exact).max() <= 0.5 + 1e-4


def test_filters_change_the_whole_frame_and_keep_its_shape(discs: Discs) -> None:
    images = discs[0].images
    for name, make in FILTERS.items():
        filtered = make(images)
        assert filtered.shape == images.shape, name
        assert filtered.dtype == np.uint8
        assert (filtered != images).mean() > 0.5


@pytest.mark.parametrize("broken", [np.zeros((3, 48, 48), np.float32), np.full((24, 48, 48), np.inf, np.float32)])
def test_what_cannot_be_composed_is_refused(composite: Composite, broken: Alphas) -> None:
    with pytest.raises(InputError, match="expected finite float32"):
        composite.figures(broken)


@pytest.mark.parametrize("limits", [(-1.0, 5.0), (5.0, 1.0), (1.0, 100.0), (float("nan"), 5.0)])
def test_limits_that_keep_nothing_out_are_refused(limits: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="composite limits"):
        CompositeLimits(*limits)
