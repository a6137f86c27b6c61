"""Every metric against hand-computed values, an independent implementation, and inputs made to mislead it."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgemat import metrics
from edgemat.errors import BackendMissingError, InputError
from edgemat.metrics import METRICS, Region, Values, conn, dtssd, grad, iou, mad, mse, sad, unknown_region

IMAGE_METRICS = [key for key, metric in METRICS.items() if not metric.temporal]
REL = 1e-6


# ---- An independent implementation: plain loops, scikit-image's labels, an explicit 9x9 kernel


def slow_mad(p: Values, t: Values, where: Region) -> float:
    picked = [abs(a - b) for a, b, w in zip(p.flat, t.flat, where.flat, strict=True) if w]
    return 1000 * math.fsum(picked) / len(picked)


def slow_mse(p: Values, t: Values, where: Region) -> float:
    picked = [(a - b) ** 2 for a, b, w in zip(p.flat, t.flat, where.flat, strict=True) if w]
    return 1000 * math.fsum(picked) / len(picked)


def slow_sad(p: Values, t: Values, where: Region) -> float:
    return math.fsum(abs(a - b) for a, b, w in zip(p.flat, t.flat, where.flat, strict=True) if w) / 1000


def slow_iou(p: Values, t: Values, where: Region) -> float:
    chosen = {i for i, w in enumerate(where.flat) if w}
    in_p = {i for i in chosen if p.flat[i] >= 0.5}
    in_t = {i for i in chosen if t.flat[i] >= 0.5}
    return len(in_p & in_t) / len(in_p | in_t) if in_p | in_t else 1.0


def slow_grad(p: Values, t: Values, where: Region) -> float:
    def gauss(x: int) -> float:
        return math.exp(-(x * x) / (2 * 1.4**2)) / (1.4 * math.sqrt(2 * math.pi))

    kernel = np.array([[gauss(y) * (-x * gauss(x) / 1.4**2) for x in range(-4, 5)] for y in range(-4, 5)])
    kernel /= math.sqrt((kernel**2).sum())

    def strength(image: Values) -> Values:
        padded = np.pad(image, 4, mode="edge")
        result = np.empty_like(image)
        for y, x in np.ndindex(image.shape):
            patch = padded[y : y + 9, x : x + 9]
            result[y, x] = math.sqrt((patch * kernel).sum() ** 2 + (patch * kernel.T).sum() ** 2)
        return result

    return float(((strength(t) - strength(p)) ** 2)[where].sum() / 1000)


def slow_conn(p: Values, t: Values, where: Region) -> float:
    from skimage.measure import label

    left_at = np.full(p.shape, -1.0)
    for step in range(1, 11):
        labels = label((p >= step / 10) & (t >= step / 10), connectivity=1)
        best, best_size = 0, 0
        for number in dict.fromkeys(labels[labels > 0].tolist()):  # reading order
            if (size := int((labels == number).sum())) > best_size:
                best, best_size = number, size
        for place in np.ndindex(p.shape):
            outside = labels[place] == 0 or labels[place] != best
            if outside and left_at[place] < 0:
                left_at[place] = (step - 1) / 10
    total = []
    for place in np.ndindex(p.shape):
        level = left_at[place] if left_at[place] >= 0 else 1.0
        d_p, d_t = p[place] - level, t[place] - level
        phi_p = 1 - d_p if d_p >= 0.15 else 1.0
        phi_t = 1 - d_t if d_t >= 0.15 else 1.0
        if where[place]:
            total.append(abs(phi_t - phi_p))
    return math.fsum(total) / 1000


def slow_dtssd(p: Values, t: Values) -> float:
    roots = []
    for now in range(1, len(p)):
        change = (p[now] - p[now - 1]) - (t[now] - t[now - 1])
        squares = [float(value) ** 2 for value in change.flat]
        roots.append(math.sqrt(math.fsum(squares) / len(squares)))
    return 100 * math.fsum(roots) / len(roots)


SLOW: dict[str, Callable[[Values, Values, Region], float]] = {
    "mad": slow_mad,
    "mse": slow_mse,
    "sad": slow_sad,
    "grad": slow_grad,
    "conn": slow_conn,
    "iou": slow_iou,
}


def blobs(*boxes: tuple[int, int, int, int], value: float = 1.0, shape: tuple[int, int] = (24, 20)) -> Values:
    image = np.zeros(shape)
    for top, left, bottom, right in boxes:
        image[top:bottom, left:right] = value
    return image


def pairs() -> Iterator[tuple[str, Values, Values]]:
    rng = np.random.default_rng(7)
    shape = (24, 20)
    noise, other = rng.random(shape), rng.random(shape)
    zeros, ones = np.zeros(shape), np.ones(shape)
    dot, dots = blobs((3, 3, 4, 4)), blobs((0, 0, 1, 1), (23, 19, 24, 20))
    ramp = np.tile(np.linspace(0, 1, 20), (24, 1))
    tenths = np.round(noise, 1)
    two = blobs((2, 2, 8, 8), (12, 2, 20, 12))
    yield "noise", noise, other
    yield "equal noise", noise, noise
    yield "empty", zeros, zeros
    yield "all ones", ones, ones
    yield "nothing found", zeros, two
    yield "everything found", ones, two
    yield "one pixel", dot, zeros
    yield "single pixels in the corners", dots, dot
    yield "ties at every threshold", tenths, np.round(other, 1)
    yield "ramp against its mirror", ramp, ramp[:, ::-1].copy()
    yield "ramp against a step", ramp, (ramp >= 0.5).astype(np.float64)
    yield "two blobs, the large one missed", blobs((2, 2, 8, 8)), two
    yield (
        "two equal blobs",
        blobs((2, 2, 8, 8), (12, 2, 18, 8), value=0.6),
        blobs((2, 2, 8, 8), (12, 2, 18, 8)),
    )
    yield "touching at a corner only", blobs((2, 2, 8, 8), (8, 8, 14, 14)), two
    yield "the largest component changes", *two_levels()
    board = np.indices(shape).sum(axis=0) % 2.0
    yield "checkerboard against its inverse", board, 1 - board
    yield "checkerboard against all ones: every component is one pixel", board, ones
    yield "checkerboard against itself, fainter", board * 0.7, board
    yield "all ones against nothing", ones, zeros
    yield "three equal blobs, the first in reading order not the first in memory of columns", *three_equal()
    yield "a single pixel as the image", np.array([[0.3]]), np.array([[0.8]])
    yield "one row", ramp[:1], noise[:1]
    yield "one column, longer than the kernel", noise[:, :1], other[:, :1]
    yield "wider than high, smaller than the kernel", noise[:3, :7], other[:3, :7]
    yield "float32 tenths", tenths.astype(np.float32), tenths.astype(np.float32)[::-1].copy()


def three_equal() -> tuple[Values, Values]:
    """Blobs of four pixels each: right above, left below, and one joined to neither; truth holds all, faintly."""
    image = blobs((2, 14, 4, 16), (6, 2, 8, 4), (12, 8, 14, 10))
    return image * 0.55, image


def two_levels() -> tuple[Values, Values]:
    """A large faint blob shrinks to a small one at 0.5, so that the middle-sized blob becomes the largest."""
    image = blobs((2, 2, 12, 12), value=0.4) + blobs((4, 4, 6, 6), value=0.5) + blobs((15, 2, 20, 8), value=0.9)
    return np.clip(image * 0.9, 0, 1), np.clip(image, 0, 1)


PAIRS = list(pairs())


@pytest.mark.parametrize("key", IMAGE_METRICS)
@pytest.mark.parametrize(("p", "t"), [pair[1:] for pair in PAIRS], ids=[pair[0] for pair in PAIRS])
def test_agrees_with_the_independent_implementation(key: str, p: Values, t: Values) -> None:
    p64, t64 = p.astype(np.float64), t.astype(np.float64)
    half = np.zeros(p.shape, np.bool_)
    half[p.shape[0] // 5 : p.shape[0] // 5 + 12, p.shape[1] // 6 :] = True
    both = METRICS[key].function(p, t, np.stack([np.ones_like(half), half]))
    assert both.shape == (2,)
    assert both[0] == pytest.approx(SLOW[key](p64, t64, np.ones_like(half)), rel=REL, abs=1e-12)
    assert both[1] == pytest.approx(SLOW[key](p64, t64, half), rel=REL, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.uint8, (2, 9, 8), elements=st.sampled_from([0, 2, 5, 6, 10, 15, 19, 20])))
def test_conn_agrees_on_adversarial_levels(levels: np.ndarray) -> None:
    p, t = levels / 20
    assert float(conn(p, t)) == pytest.approx(slow_conn(p, t, np.ones(p.shape, np.bool_)), rel=REL, abs=1e-12)


def clips() -> Iterator[tuple[str, Values, Values]]:
    rng = np.random.default_rng(1)
    zeros, ones = np.zeros((5, 7, 6)), np.ones((5, 7, 6))
    blink = zeros.copy()
    blink[1::2] = 1
    board = np.indices((5, 7, 6)).sum(axis=0) % 2.0  # inverts from frame to frame
    dot = zeros.copy()
    dot[2, 3, 1] = 1
    yield "noise", *rng.random((2, 5, 7, 6))
    yield "two frames, one pixel each", *rng.random((2, 2, 1, 1))
    yield "one row of pixels", *rng.random((2, 4, 1, 9))
    yield "empty", zeros, zeros
    yield "all ones against nothing", ones, zeros
    yield "every pixel blinks", blink, zeros
    yield "blinks in opposite phase", blink, 1 - blink
    yield "an inverting checkerboard", board, ones
    yield "one pixel in one frame", dot, zeros
    yield "float32", *(rng.random((2, 3, 8, 5)).astype(np.float32))


CLIPS = list(clips())


@pytest.mark.parametrize(("p", "t"), [clip[1:] for clip in CLIPS], ids=[clip[0] for clip in CLIPS])
def test_dtssd_agrees_with_the_independent_implementation(p: Values, t: Values) -> None:
    expected = slow_dtssd(p.astype(np.float64), t.astype(np.float64))
    assert float(dtssd(p, t)) == pytest.approx(expected, rel=REL, abs=1e-12)


def test_dtssd_takes_the_root_before_the_mean_over_frames() -> None:
    # One change of 1 and one of 0: the mean of roots is 0.5, the root of the mean 0.71.
    p = np.stack([np.zeros((2, 3)), np.ones((2, 3)), np.ones((2, 3))])
    assert float(dtssd(p, np.zeros_like(p))) == pytest.approx(50)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 9), st.integers(1, 9))
def test_all_agree_at_every_small_shape(data: st.DataObject, height: int, width: int) -> None:
    levels = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.55, 1.0])
    p, t = (data.draw(hnp.arrays(np.float64, (height, width), elements=levels)) for _ in range(2))
    everywhere = np.ones(p.shape, np.bool_)
    for key in IMAGE_METRICS:
        found = float(METRICS[key].function(p, t))
        assert found == pytest.approx(SLOW[key](p, t, everywhere), rel=REL, abs=1e-12), key


# ---- Values by hand


def test_means_and_sums_by_hand() -> None:
    p, t = np.array([[0.0, 0.5], [1.0, 0.25]]), np.array([[0.0, 1.0], [0.0, 0.5]])
    assert float(mad(p, t)) == pytest.approx(1000 * (0.5 + 1 + 0.25) / 4)
    assert float(mse(p, t)) == pytest.approx(1000 * (0.25 + 1 + 0.0625) / 4)
    assert float(sad(p, t)) == pytest.approx(1.75 / 1000)
    assert float(iou(p, t)) == pytest.approx(1 / 3)
    right = np.array([[False, True], [False, True]])
    assert float(mad(p, t, right)) == pytest.approx(1000 * 0.375)
    assert float(sad(p, t, right)) == pytest.approx(0.00075)
    assert float(iou(p, t, right)) == pytest.approx(0.5)


def test_grad_of_a_single_bright_pixel_is_the_kernels_own_energy() -> None:
    # Far from the border both directions respond with the kernel itself, whose L2 norm is 1.
    dot = np.zeros((31, 31))
    dot[15, 15] = 1
    assert float(grad(dot, np.zeros_like(dot))) == pytest.approx(2 / 1000, rel=1e-12)


def test_grad_of_a_constant_is_zero_up_to_the_border() -> None:
    assert float(grad(np.full((20, 20), 0.7), np.zeros((20, 20)))) == pytest.approx(0, abs=1e-24)


def test_conn_by_hand() -> None:
    # Left pixel: in Omega to tau = 0.6, so l = 0.6, d_p = 0, d_t = 0.4, phi 1 and 0.6.
    # Right pixel: never in Omega at tau > 0, so l = 0, d_p = 0.1 (below 0.15, phi 1), d_t = 0.
    p, t = np.array([[0.6, 0.0, 0.1]]), np.array([[1.0, 0.0, 0.0]])
    assert float(conn(p, t)) == pytest.approx(0.4 / 1000)


def test_a_pixel_that_returns_to_omega_keeps_the_level_at_which_it_first_left() -> None:
    # The upper blob (4 px) is the largest at 0.1, the lower (2 px) only from 0.2 on: it left at l = 0.
    t = np.array([[0.1, 0.1, 0.1, 0.1], [0.0, 0.0, 0.0, 0.0], [0.9, 0.9, 0.0, 0.0]])
    p = t.copy()
    p[2, :2] = 1.0
    assert float(conn(p, t)) == pytest.approx(2 * 0.1 / 1000)  # with l = 0.9 both slacks would hide it


def test_iou_of_two_empty_mattes_is_one_and_of_one_empty_is_zero() -> None:
    zeros = np.zeros((4, 4))
    assert float(iou(zeros, zeros)) == 1
    assert float(iou(zeros, zeros + 0.5)) == 0


def test_dtssd_ignores_a_constant_error_and_sees_a_blink() -> None:
    truth = np.zeros((4, 3, 3))
    assert float(dtssd(truth + 0.25, truth)) == 0
    blink = truth.copy()
    blink[1] = 0.5
    assert float(dtssd(blink, truth)) == pytest.approx(100 * (0.5 + 0.5 + 0) / 3)


def test_dtssd_masks_by_the_later_frame() -> None:
    truth = np.zeros((3, 2, 2))
    p = truth.copy()
    p[1:, 0, 0] = 1  # the only change is that of frame 1
    mask = np.zeros((3, 2, 2), np.bool_)
    mask[:, 1, 1] = True
    assert float(dtssd(p, truth, mask)) == 0
    mask[1] = [[True, False], [False, False]]
    assert float(dtssd(p, truth, mask)) == pytest.approx(100 * (1 + 0) / 2)
    assert float(dtssd(p, truth, mask[1])) == pytest.approx(100 * (1 + 0) / 2)


# ---- Properties

alphas = hnp.arrays(
    np.float64,
    (6, 7),
    elements=st.floats(0, 1, width=32, allow_subnormal=False) | st.sampled_from([0.0, 0.5, 1.0]),
)


@settings(max_examples=40, deadline=None)
@given(alphas, alphas)
def test_zero_on_equal_symmetric_and_bounded(p: Values, t: Values) -> None:
    for key in IMAGE_METRICS:
        function = METRICS[key].function
        assert float(function(p, p)) == (1 if key == "iou" else 0)
        assert float(function(p, t)) == pytest.approx(float(function(t, p)), rel=1e-9, abs=1e-15)
        assert float(function(p, t)) >= 0
    assert float(mse(p, t)) <= float(mad(p, t)) <= 1000
    assert float(iou(p, t)) <= 1
    assert float(sad(p, t)) * 1e6 == pytest.approx(float(mad(p, t)) * p.size)


@settings(max_examples=30, deadline=None)
@given(alphas, alphas)
def test_a_batch_equals_its_images_one_by_one(p: Values, t: Values) -> None:
    for key in IMAGE_METRICS:
        function = METRICS[key].function
        together = function(np.stack([p, t, p]), np.stack([t, t, p]))
        assert together.tolist() == [float(function(p, t)), float(function(t, t)), float(function(p, p))]


@settings(max_examples=30, deadline=None)
@given(alphas, alphas, hnp.arrays(np.bool_, (6, 7)))
def test_two_regions_sum_to_the_whole(p: Values, t: Values, region: Region) -> None:
    if region.all() or not region.any():
        return
    for function in (sad, grad, conn):
        parts = function(p, t, np.stack([region, ~region]))
        assert parts.sum() == pytest.approx(float(function(p, t)), rel=1e-9, abs=1e-12)


# ---- Planted faults: what each metric is there to see


@pytest.fixture
def disk() -> Values:
    y, x = np.mgrid[:64, :64]
    return np.clip(20.5 - np.hypot(y - 31.5, x - 31.5), 0, 1)


def test_every_image_metric_worsens_when_part_of_the_matte_is_lost(disk: Values) -> None:
    broken = disk.copy()
    broken[:30, :30] = 0
    for key in IMAGE_METRICS:
        fine, bad = (float(METRICS[key].function(p, disk)) for p in (disk, broken))
        assert bad < fine if METRICS[key].better == "higher" else bad > fine, key


def test_grad_sees_blocks_that_mad_calls_small(disk: Values) -> None:
    blocky = disk.reshape(16, 4, 16, 4).mean(axis=(1, 3)).repeat(4, 0).repeat(4, 1)
    shifted = np.clip(disk + float(mad(blocky, disk)) / 1e3, 0, 1)  # about as wrong on average, but smooth
    assert float(grad(blocky, disk)) > 20 * float(grad(shifted, disk))


def test_conn_sees_an_island_more_than_a_rim_of_equal_area(disk: Values) -> None:
    island, soft = disk.copy(), disk.copy()
    island[2:6, 2:6] = 0.4
    soft[28:36, 28:36] -= 0.1  # the same sum of differences, connected, within the slack
    assert float(sad(island, disk)) == pytest.approx(float(sad(soft, disk)))
    assert float(conn(island, disk)) > 0.006
    assert float(conn(soft, disk)) == pytest.approx(0, abs=1e-12)


def test_dtssd_sees_flicker_that_mad_cannot(disk: Values) -> None:
    truth = np.stack([disk * 0.8] * 6)
    steady, flicker = truth + 0.05, truth + 0.05 * np.array([1, -1] * 3)[:, None, None]
    flicker, truth = np.clip(flicker, 0, 1), np.clip(truth, 0, 1)
    assert float(dtssd(steady, truth)) == pytest.approx(0, abs=1e-9)
    assert float(dtssd(flicker, truth)) > 3


def test_a_fault_outside_the_region_is_not_seen(disk: Values) -> None:
    region = unknown_region(disk, radius=3)
    broken = disk.copy()
    broken[:3, :3] = 1
    assert not region[:8, :8].any()
    for key in ("mad", "mse", "sad", "iou"):
        assert float(METRICS[key].function(broken, disk, region)) == float(METRICS[key].function(disk, disk, region))


# ---- The unknown region


def slow_unknown(alpha: Values, radius: float) -> Region:
    reach = math.ceil(radius)
    disk = [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1) if math.hypot(y, x) <= radius]
    kept = np.zeros(alpha.shape, np.bool_)
    for level in (0, 255):
        solid = np.floor(alpha * 255 + 0.5) == level
        for y, x in np.ndindex(alpha.shape):
            around = [(y + v, x + u) for v, u in disk]
            inside = [at for at in around if 0 <= at[0] < alpha.shape[0] and 0 <= at[1] < alpha.shape[1]]
            kept[y, x] |= all(solid[at] for at in inside)
    return ~kept


@pytest.mark.parametrize("radius", [0, 1, 2.5, 4, 10])
@pytest.mark.parametrize(("p", "t"), [pair[1:] for pair in PAIRS], ids=[pair[0] for pair in PAIRS])
def test_unknown_region_is_what_neither_erosion_keeps(radius: float, p: Values, t: Values) -> None:
    np.testing.assert_array_equal(unknown_region(t, radius), slow_unknown(t, radius))


def test_unknown_region_is_empty_without_an_edge_and_wholly_soft_alpha_is_all_unknown() -> None:
    assert not unknown_region(np.zeros((9, 9))).any()
    assert not unknown_region(np.ones((9, 9))).any()
    assert unknown_region(np.full((9, 9), 0.5), radius=0).all()


def test_unknown_region_forgives_a_difference_below_eight_bits() -> None:
    assert not unknown_region(np.array([[1.0, 0.999, 1.0]])).any()
    assert unknown_region(np.array([[1.0, 0.997, 1.0]]), radius=0).tolist() == [[False, True, False]]


# ---- Bad input

GOOD = np.full((4, 4), 0.5)


@pytest.mark.parametrize("key", list(METRICS))
@pytest.mark.parametrize(
    ("p", "t", "message"),
    [
        (
            np.full((2, 4, 4), 0.5),
            np.full((2, 4, 5), 0.5),
            r"prediction has shape \(2, 4, 4\) and truth \(2, 4, 5\)",
        ),
        (np.full((2, 4, 4), np.nan), np.full((2, 4, 4), 0.5), r"prediction spans \[nan, nan\]"),
        (np.full((2, 4, 4), 0.5), np.full((2, 4, 4), np.inf), r"truth spans \[inf, inf\]"),
        (np.full((2, 4, 4), 1.01), np.full((2, 4, 4), 0.5), r"prediction spans \[1\.01, 1\.01\].*\[0, 1\]"),
        (np.full((2, 4, 4), 0.5), np.full((2, 4, 4), -0.1), r"truth spans \[-0\.1"),
        (np.full((2, 4, 4), 255, np.uint8), np.full((2, 4, 4), 0.5), "prediction is uint8.*divide by 255"),
        (np.full((2, 4, 4, 1), 0.5), np.full((2, 4, 4, 1), 0.5), r"expected \(H, W\) or \(N, H, W\)"),
        (np.zeros((0, 4, 4)), np.zeros((0, 4, 4)), "not empty"),
    ],
)
def test_bad_input_is_named(key: str, p: Values, t: Values, message: str) -> None:
    with pytest.raises(InputError, match=message):
        METRICS[key].function(p, t)


@pytest.mark.parametrize("key", IMAGE_METRICS)
@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((4, 4), np.bool_), "selects no pixel"),
        (np.ones((4, 5), np.bool_), r"mask has shape \(4, 5\)"),
        (np.ones(4, np.bool_), "does not fit"),
        (np.ones((4, 4)), "mask is float64; expected bool"),
    ],
)
def test_bad_masks_are_named(key: str, mask: Region, message: str) -> None:
    with pytest.raises(InputError, match=message):
        METRICS[key].function(GOOD, GOOD, mask)


def test_an_empty_region_among_good_ones_is_an_error() -> None:
    with pytest.raises(InputError, match="selects no pixel"):
        mad(GOOD, GOOD, np.stack([np.ones((4, 4), np.bool_), np.zeros((4, 4), np.bool_)]))


def test_dtssd_needs_two_frames_and_a_mask_of_the_clip() -> None:
    clip = np.full((3, 4, 4), 0.5)
    with pytest.raises(InputError, match="at least two frames"):
        dtssd(clip[:1], clip[:1])
    with pytest.raises(InputError, match="at least two frames"):
        dtssd(GOOD, GOOD)
    with pytest.raises(InputError, match=r"mask has shape \(2, 4, 4\); the clip has \(3, 4, 4\)"):
        dtssd(clip, clip, np.ones((2, 4, 4), np.bool_))


@pytest.mark.parametrize("radius", [-1.0, math.nan, math.inf])
def test_unknown_region_refuses_a_senseless_radius(radius: float) -> None:
    with pytest.raises(InputError, match="radius"):
        unknown_region(GOOD, radius)


def test_unknown_region_takes_one_image() -> None:
    with pytest.raises(InputError, match="one alpha"):
        unknown_region(np.full((2, 4, 4), 0.5))


def test_missing_scipy_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(BackendMissingError, match=r"edgemat\[eval\]"):
        metrics.grad(GOOD, GOOD)
    assert float(metrics.mad(GOOD, GOOD)) == 0  # the others do without
