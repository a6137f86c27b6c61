"""Matting metrics as pure functions: MAD, MSE, SAD, Grad, Conn, dtSSD and IoU, in float64.

Every image metric reduces the last two axes, so ``(H, W)`` gives a zero-dimensional array and ``(N, H, W)``
one value an image. ``mask`` restricts a metric to a region, such as the band of :func:`unknown_region`; it
broadcasts against the inputs, so that a stack ``(R, H, W)`` of regions measures one image in R places for the
price of one. Means are over the region's pixels, sums over the region's pixels; Grad and Conn look at the
whole frame first and are then summed over the region.

SciPy finds components and distances; it comes with ``pip install "edgemat[eval]"``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from edgemat.errors import BackendMissingError, InputError

Floats = npt.NDArray[np.floating[Any]]
Values = npt.NDArray[np.float64]
Region = npt.NDArray[np.bool_]

UNKNOWN_RADIUS = 10.0
"""Half-width of the unknown region's band in pixels of a 256-pixel image."""

_GRAD_SIGMA = 1.4
_GRAD_HALF_WIDTH = 4
_CONN_STEPS = 10
_CONN_SLACK = 0.15


def mad(prediction: Floats, truth: Floats, mask: Region | None = None) -> Values:
    """Mean absolute difference, times 1e3: ``mean |p - t| * 1e3``.

    The definition is that of the evaluation protocol of Robust Video Matting (Lin et al., WACV 2022).

    Args:
        prediction: Predicted alpha, floating, (H, W) or (N, H, W), in [0, 1].
        truth: True alpha, same shape and range.
        mask: Where to measure, bool, broadcastable against the inputs; everywhere when None.

    Returns:
        Float64 of the broadcast shape less its last two axes.

    Raises:
        InputError: Shapes differ, a value is not in [0, 1] or not finite, or a region holds no pixel.

    Example:
        >>> float(mad(np.full((2, 2), 0.75), np.full((2, 2), 0.5)))
        250.0
    """
    p, t = _checked(prediction, truth)
    return _mean(np.abs(p - t), mask) * 1e3


def mse(prediction: Floats, truth: Floats, mask: Region | None = None) -> Values:
    """Mean squared error, times 1e3: ``mean (p - t)^2 * 1e3``. Arguments, result and errors as :func:`mad`.

    The definition is that of the evaluation protocol of Robust Video Matting (Lin et al., WACV 2022).

    Example:
        >>> float(mse(np.full((2, 2), 0.75), np.full((2, 2), 0.5)))
        62.5
    """
    p, t = _checked(prediction, truth)
    return _mean((p - t) ** 2, mask) * 1e3


def sad(prediction: Floats, truth: Floats, mask: Region | None = None) -> Values:
    """Sum of absolute differences, in thousands: ``sum |p - t| / 1000``. Arguments and errors as :func:`mad`.

    It grows with the image: compare it at one size only. The definition is that of Rhemann et al., "A
    Perceptually Motivated Online Benchmark for Image Matting" (CVPR 2009).

    Example:
        >>> float(sad(np.ones((40, 50)), np.zeros((40, 50))))
        2.0
    """
    p, t = _checked(prediction, truth)
    return _sum(np.abs(p - t), mask) / 1e3


def grad(prediction: Floats, truth: Floats, mask: Region | None = None) -> Values:
    """Difference of edge strength, in thousands: ``sum (g_t - g_p)^2 / 1000``. Arguments as :func:`mad`.

    g is the magnitude of the gradient by a 9x9 derivative-of-Gaussian kernel (sigma 1.4, unit L2 norm, border
    replicated). It sees blurred and blocky edges that MAD forgives. After Rhemann et al. (CVPR 2009), with
    the constants of Robust Video Matting.

    Example:
        >>> truth = np.zeros((16, 16)); truth[:, 8:] = 1
        >>> float(grad(truth, truth))
        0.0
        >>> bool(grad(truth / 2, truth) > 0)
        True
    """
    p, t = _checked(prediction, truth)
    return _sum(_per_image(_grad_errors, p, t), mask) / 1e3


def conn(prediction: Floats, truth: Floats, mask: Region | None = None) -> Values:
    """Difference of connectedness, in thousands: ``sum |phi_t - phi_p| / 1000``. Arguments as :func:`mad`.

    For tau = 0.1, 0.2 ... 1, Omega is the largest 4-connected component of ``{p >= tau and t >= tau}`` (of
    equals, the one that comes first in reading order). l is the last tau before a pixel first leaves Omega, 1
    if it never does; ``d = x - l`` and ``phi = 1 - d * [d >= 0.15]`` for x = p and x = t. A stray island or a
    hole costs more than the same area at the matte's edge. After Rhemann et al. (CVPR 2009), with the
    constants of Robust Video Matting.

    Example:
        >>> truth = np.zeros((5, 5)); truth[:, :2] = 1
        >>> island = truth.copy(); island[2, 4] = 1
        >>> float(conn(island, truth))
        0.001
    """
    p, t = _checked(prediction, truth)
    return _sum(_per_image(_conn_errors, p, t), mask) / 1e3


def iou(prediction: Floats, truth: Floats, mask: Region | None = None) -> Values:
    """Intersection over union of ``p >= 0.5`` and ``t >= 0.5``; 1 if both are empty. Arguments: :func:`mad`.

    Example:
        >>> float(iou(np.array([[0.5, 0.5, 0.2]]), np.array([[1.0, 0.0, 0.0]])))
        0.5
    """
    p, t = _checked(prediction, truth)
    inside_p, inside_t = p >= 0.5, t >= 0.5
    common = _sum((inside_p & inside_t).astype(np.float64), mask)
    union = _sum((inside_p | inside_t).astype(np.float64), mask)
    return np.where(union > 0, common / np.maximum(union, 1), 1.0)


def dtssd(prediction: Floats, truth: Floats, mask: Region | None = None) -> Values:
    """Flicker of a clip, times 1e2: the mean over frames of ``sqrt(mean (dp - dt)^2) * 1e2``.

    ``dp`` and ``dt`` are the changes since the frame before. The root is taken frame by frame, then averaged
    over frames 1 to T - 1. After Erofeev et al., "Perceptually Motivated Benchmark for Video Matting" (BMVC
    2015).

    Args:
        prediction: Predicted alpha of a clip, floating, (T, H, W) with T >= 2, in [0, 1].
        truth: True alpha, same shape and range.
        mask: Where to measure, bool, (T, H, W) or (H, W); the mask of a change is that of its later frame.

    Returns:
        Float64, zero-dimensional.

    Raises:
        InputError: As :func:`mad`; or fewer than two frames.

    Example:
        >>> still = np.zeros((3, 4, 4))
        >>> blink = still.copy(); blink[1] = 0.5
        >>> float(dtssd(blink, still))
        50.0
    """
    p, t = _checked(prediction, truth)
    if p.ndim != 3 or len(p) < 2:
        raise InputError(f"dtSSD needs a clip of at least two frames (T, H, W); found shape {p.shape}")
    if mask is not None and mask.ndim == 3:
        if mask.shape != p.shape:
            raise InputError(f"mask has shape {mask.shape}; the clip has {p.shape}")
        mask = mask[1:]
    change = np.diff(p, axis=0) - np.diff(t, axis=0)
    return np.asarray(np.sqrt(_mean(change**2, mask)).mean() * 1e2)


def unknown_region(alpha: Floats, radius: float = UNKNOWN_RADIUS) -> Region:
    """Mark the band around edges and half-transparent places: the unknown part of a trimap.

    Foreground (alpha that rounds to 255 of 255) and background (rounds to 0) are each eroded by a disk; what
    neither keeps is unknown. The frame's border erodes nothing. Empty when alpha is all 0 or all 1.

    Args:
        alpha: True alpha, floating, (H, W), in [0, 1].
        radius: The disk's radius in pixels, >= 0; the default suits 256-pixel images.

    Returns:
        Bool, (H, W).

    Raises:
        InputError: alpha is not one image in [0, 1], or the radius is negative or not finite.

    Example:
        >>> alpha = np.zeros((1, 8)); alpha[:, 4:] = 1
        >>> unknown_region(alpha, radius=1).astype(int).tolist()
        [[0, 0, 0, 1, 1, 0, 0, 0]]
    """
    values = _alpha("alpha", alpha)
    if values.ndim != 2:
        raise InputError(f"unknown_region takes one alpha (H, W); found shape {values.shape}")
    if not (np.isfinite(radius) and radius >= 0):
        raise InputError(f"unknown_region: radius is {radius}; expected a finite number of pixels >= 0")
    half = 0.5 / 255
    near_background = _distance(values < 1 - half) <= radius
    near_foreground = _distance(values > half) <= radius
    return np.asarray(near_background & near_foreground)


class ImageFunction(Protocol):
    """The signature that all metrics share."""

    def __call__(self, prediction: Floats, truth: Floats, mask: Region | None = None) -> Values:
        """Measure ``prediction`` against ``truth``."""
        ...


@dataclass(frozen=True)
class Metric:
    """One metric with what a table must say about it.

    Attributes:
        name: As printed, such as ``MAD``.
        unit: What one unit of the value stands for, such as ``1e-3``.
        better: Whether a good prediction has a ``lower`` or a ``higher`` value.
        function: The metric itself.
        temporal: It takes a clip (T, H, W) and gives one value, not one an image.
    """

    name: str
    unit: str
    better: Literal["lower", "higher"]
    function: ImageFunction
    temporal: bool = False


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "mad": Metric("MAD", "1e-3", "lower", mad),
        "mse": Metric("MSE", "1e-3", "lower", mse),
        "sad": Metric("SAD", "1e3 px", "lower", sad),
        "grad": Metric("Grad", "1e3", "lower", grad),
        "conn": Metric("Conn", "1e3", "lower", conn),
        "iou": Metric("IoU", "1", "higher", iou),
        "dtssd": Metric("dtSSD", "1e-2", "lower", dtssd, temporal=True),
    }
)
"""All metrics by key, in the order in which a table shows them."""


def _alpha(name: str, value: Floats) -> Values:
    """Return ``value`` as float64, or say what is wrong with it."""
    array = np.asarray(value)
    if array.dtype.kind != "f":
        raise InputError(f"{name} is {array.dtype}; expected floating alpha in [0, 1] (8-bit: divide by 255)")
    if array.ndim not in (2, 3) or array.size == 0:
        raise InputError(f"{name} has shape {array.shape}; expected (H, W) or (N, H, W), not empty")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # also false when either is NaN
        raise InputError(f"{name} spans [{low:g}, {high:g}]; expected finite values in [0, 1]")
    return array.astype(np.float64)


def _checked(prediction: Floats, truth: Floats) -> tuple[Values, Values]:
    p, t = _alpha("prediction", prediction), _alpha("truth", truth)
    if p.shape != t.shape:
        raise InputError(f"prediction has shape {p.shape} and truth {t.shape}; expected the same shape")
    return p, t


def _spread(errors: Values, mask: Region | None) -> tuple[Values, Region]:
    """Broadcast per-pixel errors and their region against each other."""
    region = np.ones(errors.shape[-2:], np.bool_) if mask is None else np.asarray(mask)
    if region.dtype != np.bool_:
        raise InputError(f"mask is {region.dtype}; expected bool")
    try:
        if region.shape[-2:] != errors.shape[-2:]:
            raise ValueError
        spread = np.broadcast_arrays(errors, region)
    except ValueError:
        raise InputError(f"mask has shape {region.shape}; it does not fit alpha of {errors.shape}") from None
    if not region.any(axis=(-2, -1)).all():
        raise InputError("mask selects no pixel, so there is nothing to measure; leave such an image out")
    return spread[0], spread[1]


def _sum(errors: Values, mask: Region | None) -> Values:
    values, where = _spread(errors, mask)
    return np.asarray(np.sum(values, axis=(-2, -1), where=where))


def _mean(errors: Values, mask: Region | None) -> Values:
    values, where = _spread(errors, mask)
    return np.asarray(np.mean(values, axis=(-2, -1), where=where))


class _Errors(Protocol):
    def __call__(self, p: Values, t: Values) -> Values: ...


def _per_image(errors: _Errors, p: Values, t: Values) -> Values:
    """Apply a function of (H, W) pairs to each image: one image's arrays stay in the processor's cache."""
    if p.ndim == 2:
        return errors(p, t)
    return np.stack([errors(one, other) for one, other in zip(p, t, strict=True)])


def _grad_errors(p: Values, t: Values) -> Values:
    return np.asarray((_edge_strength(t) - _edge_strength(p)) ** 2)


def _edge_strength(image: Values) -> Values:
    """Magnitude of the derivative-of-Gaussian gradient.

    The 9x9 kernel is an outer product, so its unit L2 norm is that of its two factors, each normalised alone.
    """
    x = np.arange(-_GRAD_HALF_WIDTH, _GRAD_HALF_WIDTH + 1, dtype=np.float64)
    smooth = np.exp(-(x**2) / (2 * _GRAD_SIGMA**2))
    slope = -x * smooth
    smooth, slope = smooth / np.linalg.norm(smooth), slope / np.linalg.norm(slope)
    correlate = _ndimage().correlate1d
    across = correlate(correlate(image, slope, axis=1, mode="nearest"), smooth, axis=0, mode="nearest")
    down = correlate(correlate(image, slope, axis=0, mode="nearest"), smooth, axis=1, mode="nearest")
    return np.asarray(np.hypot(across, down))


def _conn_errors(p: Values, t: Values) -> Values:
    level = _connected_level(np.minimum(p, t))

    def phi(x: Values) -> Values:
        distance = x - level
        return np.asarray(1 - distance * (distance >= _CONN_SLACK))

    return np.asarray(np.abs(phi(t) - phi(p)))


def _connected_level(both: Values) -> Values:
    """Return l: the last threshold before each pixel first leaves the largest common component."""
    level = np.ones_like(both)
    inside = np.ones(both.shape, np.bool_)
    for step in range(1, _CONN_STEPS + 1):  # at threshold 0 every pixel is inside
        omega = _largest_component(both >= step / _CONN_STEPS)
        level[inside & ~omega] = (step - 1) / _CONN_STEPS
        inside &= omega
        if not inside.any():
            break
    return level


def _largest_component(region: Region) -> Region:
    labels, count = _ndimage().label(region)  # SciPy's default structure is 4-connected
    if count == 0:
        return region
    sizes = np.bincount(labels.ravel())[1:]
    return np.asarray(labels == 1 + sizes.argmax())


def _distance(targets: Region) -> Values:
    """Return each pixel's distance to the nearest target, infinite when there is none."""
    if not targets.any():  # SciPy's answer would be meaningless
        return np.full(targets.shape, np.inf)
    return np.asarray(_ndimage().distance_transform_edt(~targets))


def _ndimage() -> Any:
    """Import SciPy's image module when it is first needed: exporting does not need it."""
    try:
        from scipy import ndimage
    except ImportError as error:
        raise BackendMissingError(
            'Grad, Conn and the unknown region need SciPy, which is missing: pip install "edgemat[eval]"'
        ) from error
    return ndimage
