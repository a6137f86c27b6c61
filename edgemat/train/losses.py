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
    return _binomial(x, 2)


def _binomial(x: Tensor, step: int) -> Tensor:
    for axis in (2, 3):
        size = x.shape[axis]
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, size - 1, 1)
        padded = torch.cat([first, first, x, last, last], axis)
        taps = [_every(padded, axis, start, size // step, step) for start in range(5)]
        x = (taps[0] + taps[4] + 4.0 * (taps[1] + taps[3]) + 6.0 * taps[2]) / 16.0
    return x


def _every(x: Tensor, axis: int, start: int, count: int, step: int) -> Tensor:
    stop = start + step * (count - 1) + 1
    return x[:, :, start:stop:step] if axis == 2 else x[:, :, :, start:stop:step]


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


def laplacian(prediction: Tensor, truth: Tensor, levels: int = 5, weight: Tensor | None = None) -> Tensor:
    """Return the Laplacian-pyramid L1 loss, ``sum_l 2**l * mean(w_l * |L_l(p) - L_l(t)|) / levels``.

    The weights of the levels are those that Robust Video Matting and many after it use; the weight of a coarse pixel is
    the mean over the pixels that it stands for.

    Args:
        prediction: Alpha, float32, (N, 1, H, W).
        truth: Alpha, float32, the same shape.
        levels: Band-pass levels.
        weight: Of each pixel, at least 0, the same shape; it gets no gradient. 1 everywhere if None.

    Returns:
        A scalar, at least 0.

    Example:
        >>> x = torch.rand(1, 1, 32, 32)
        >>> float(laplacian(x, x))
        0.0
    """
    # The pyramid is linear, so the difference needs only one.
    bands = [band.abs() for band in laplacian_pyramid(prediction - truth, levels)]
    if weight is not None:
        weight = weight.detach()
        for level, band in enumerate(bands):
            bands[level] = weight * band
            weight = functional.avg_pool2d(weight, 2)
    return torch.stack([2.0**level * band.mean() for level, band in enumerate(bands)]).sum() / levels


def edges(alpha: Tensor, target: Tensor) -> Tensor:
    """Return the mean square of the smoothed gradient of ``alpha - target``: what Grad and flicker are made of.

    Smoothed by the 5-tap binomial kernel and taken over two pixels, which is near the derivative of a Gaussian of sigma
    1.2. Squares, as in the metrics: an edge that is far off counts more than many that are nearly right.

    Args:
        alpha: Prediction, float32, (N, 1, H, W).
        target: What it should be, the same shape.

    Returns:
        A scalar, at least 0.

    Example:
        >>> x = torch.rand(1, 1, 8, 8)
        >>> float(edges(x + 0.5, x)) < 1e-12
        True
    """
    smooth = _binomial(alpha - target, 1)
    down, right = smooth[:, :, 2:] - smooth[:, :, :-2], smooth[..., 2:] - smooth[..., :-2]
    return down.square().mean() + right.square().mean()


def matting(alpha: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return L1 plus Laplacian loss, each pixel weighted.

    Args:
        alpha: Prediction, float32, (N, 1, H, W); `leaky_clamp` lets pixels beyond [0, 1] learn.
        target: What it should be, float32, the same shape, in [0, 1].
        weight: At least 0, the same shape; it gets no gradient. 1 everywhere if None.

    Returns:
        A scalar, at least 0.
    """
    return weighted_l1(alpha, target, weight) + laplacian(alpha, target, weight=weight)


def plain(logits: Tensor, truth: Tensor) -> Tensor:
    """Return L1 plus Laplacian loss of a network without a teacher.

    Args:
        logits: Alpha before the clamp, float32, (N, 1, H, W).
        truth: Ground-truth alpha, float32, the same shape, in [0, 1].

    Returns:
        A scalar, at least 0.
    """
    return matting(leaky_clamp(logits), truth)


def laplace_nll(error: Tensor, log_scale: Tensor, beta: float = 0.0) -> Tensor:
    """Return the mean negative log-likelihood of a Laplace distribution, ``|e| / b + log b`` with ``b = exp(s)``.

    It is least where b is the expected absolute error. The constant log 2 is left out. With ``beta``, each pixel's term
    is multiplied by ``b ** beta`` without gradient (Seitzer et al., "On the pitfalls of heteroscedastic uncertainty
    estimation", 2022, there for the Gaussian and its variance): at 0 uncertain pixels count least, at 1 every pixel
    pulls at alpha as plain L1 does.

    Args:
        error: Prediction minus truth, float32, any shape.
        log_scale: s, float32, the same shape, of moderate size: ``exp(-s)`` must be finite.
        beta: In [0, 1].

    Returns:
        A scalar; negative where the errors are small and known to be.

    Example:
        >>> e, s = torch.tensor([0.5, -0.25]), torch.tensor([0.0, 0.0])
        >>> float(laplace_nll(e, s))
        0.375
    """
    return (log_scale.detach().exp() ** beta * (error.abs() * torch.exp(-log_scale) + log_scale)).mean()


def gaussian_nll(error: Tensor, log_variance: Tensor, beta: float = 0.0) -> Tensor:
    """Return the mean negative log-likelihood of a normal distribution, ``(e**2 exp(-s) + s) / 2``, s the log variance.

    With ``beta``, each pixel's term is multiplied by ``variance ** beta`` without gradient (Seitzer et al., "On the
    pitfalls of heteroscedastic uncertainty estimation with probabilistic neural networks", 2022). The constant
    ``log(2 pi) / 2`` is left out.

    Args:
        error: Prediction minus truth, float32, any shape.
        log_variance: s, float32, the same shape, of moderate size: ``exp(-s)`` must be finite.
        beta: In [0, 1].

    Returns:
        A scalar; negative where the errors are small and known to be.

    Example:
        >>> float(gaussian_nll(torch.tensor([2.0]), torch.tensor([0.0])))
        2.0
    """
    terms = 0.5 * (error.square() * torch.exp(-log_variance) + log_variance)
    return (log_variance.detach().exp() ** beta * terms).mean()


def weighted_l1(alpha: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean over pixels of ``weight * |alpha - target|``, unweighted if None.

    Args:
        alpha: Prediction, float32, any shape.
        target: What it should be, the same shape.
        weight: At least 0, the same shape; it gets no gradient. Not normalised here: a batch's own mean would tie the
            samples of a batch together, and one machine to another.

    Returns:
        A scalar, at least 0.

    Example:
        >>> a, t = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0])
        >>> float(weighted_l1(a, t)), float(weighted_l1(a, t, torch.tensor([1.5, 0.5])))
        (0.5, 0.75)
    """
    distance = (alpha - target).abs()
    return distance.mean() if weight is None else (weight.detach() * distance).mean()
