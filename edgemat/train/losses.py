"""Losses for matting: pure functions of torch tensors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LEAK = 0.1
"""Slope beyond [0, 1]: enough gradient to come back, too little to pull saturated pixels off their end."""


def leaky_clamp(logits: Tensor, leak: float = LEAK) -> Tensor:
    """Clamp to [0, 1] with a small slope outside, so that a pixel beyond the wrong end still learns.

    Args:
        logits: Alpha before the clamp, float32, any shape.
        leak: Slope outside [0, 1], in [0, 1).

    Returns:
        The same shape; equal to ``logits`` inside [0, 1].

    Example:
        >>> leaky_clamp(torch.tensor([-1.0, 0.5, 2.0])).tolist()
        [-0.10000000149011612, 0.5, 1.100000023841858]
    """
    inside = logits.clamp(0.0, 1.0)
    return inside + leak * (logits - inside)


def _halve(x: Tensor) -> Tensor:
    """Filter with the separable 5-tap binomial kernel, replicate border, and keep every other row and column.

    Sums of slices: on a CPU these take a tenth of the time of a convolution with one channel.
    """
    for axis in (2, 3):
        size = x.shape[axis]
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, size - 1, 1)
        padded = torch.cat([first, first, x, last, last], axis)
        taps = [_every_other(padded, axis, start, size // 2) for start in range(5)]
        x = (taps[0] + taps[4] + 4.0 * (taps[1] + taps[3]) + 6.0 * taps[2]) / 16.0
    return x


def _every_other(x: Tensor, axis: int, start: int, count: int) -> Tensor:
    stop = start + 2 * count - 1
    return x[:, :, start:stop:2] if axis == 2 else x[:, :, :, start:stop:2]


def laplacian_pyramid(x: Tensor, levels: int = 5) -> list[Tensor]:
    """Split images into band-pass levels, fine to coarse (Burt and Adelson, 1983, with a 5-tap binomial kernel).

    Args:
        x: float32, (N, C, H, W); H and W divisible by ``2 ** levels``.
        levels: Number of band-pass levels; the low-pass rest is left out.

    Returns:
        ``levels`` tensors, (N, C, H / 2**l, W / 2**l) for l = 0 .. levels - 1.
    """
    bands = []
    for _ in range(levels):
        low = _halve(x)
        bands.append(x - functional.interpolate(low, size=x.shape[2:], mode="bilinear", align_corners=False))
        x = low
    return bands


def laplacian(prediction: Tensor, truth: Tensor, levels: int = 5) -> Tensor:
    """Return the Laplacian-pyramid L1 loss, ``sum_l 2**l * mean|L_l(p) - L_l(t)| / levels``.

    The weights are those that Robust Video Matting and many after it use.

    Args:
        prediction: Alpha, float32, (N, 1, H, W).
        truth: Alpha, float32, the same shape.
        levels: Band-pass levels.

    Returns:
        A scalar, at least 0.

    Example:
        >>> x = torch.rand(1, 1, 32, 32)
        >>> float(laplacian(x, x))
        0.0
    """
    # The pyramid is linear, so the difference needs only one.
    bands = laplacian_pyramid(prediction - truth, levels)
    return torch.stack([2.0**level * band.abs().mean() for level, band in enumerate(bands)]).sum() / levels


def plain(logits: Tensor, truth: Tensor) -> Tensor:
    """Return L1 plus Laplacian loss of a student without a teacher.

    Args:
        logits: Alpha before the clamp, float32, (N, 1, H, W).
        truth: Ground-truth alpha, float32, the same shape, in [0, 1].

    Returns:
        A scalar, at least 0.
    """
    alpha = leaky_clamp(logits)
    return (alpha - truth).abs().mean() + laplacian(alpha, truth)
