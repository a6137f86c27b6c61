"""Fake quantization with learned step sizes: the reals that codes stand for, in float32, with gradients.

Step sizes are learned as in LSQ (Esser et al., "Learned step size quantization", 2020): the rounding passes gradients
straight through, and a scale's own gradient is that of its rounding error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def fake_quantize(x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """Return what the codes of a tensor stand for: ``clip(round(x / s), low, high) * s``, halves rounded to even.

    Where a range begins at 0 (``low`` is 0), this is the Relu as well.

    Args:
        x: float32, any shape; channels first where a scale is one of several.
        scale: s, float32, positive: () for one, (C, 1, ...) of x's rank for one an output channel.
        low: Smallest code less the zero point.
        high: Largest code less the zero point.

    Returns:
        The same shape. The gradient of x is the identity where x has a code and 0 beyond; that of the scale is divided
        by ``sqrt(values * high)``, as LSQ does.

    Example:
        >>> fake_quantize(torch.tensor([-1.0, 0.3, 0.9, 9.0]), torch.tensor(0.5), 0, 4).tolist()
        [0.0, 0.5, 1.0, 2.0]
    """
    result: Tensor = _FakeQuantize.apply(x, scale, low, high)  # type: ignore[no-untyped-call]
    return result


def open_quantize(x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """Return x rounded to codes inside their range and as it is beyond, for losses that lead pixels back from there.

    Args:
        x: float32, any shape.
        scale: float32, ().
        low: Smallest code less the zero point.
        high: Largest code less the zero point.

    Returns:
        The same shape; the gradient is the identity everywhere.
    """
    with torch.no_grad():
        inside = x.clamp(low * float(scale), high * float(scale))
        error = torch.round(inside / scale).mul_(scale).sub_(inside)
    return x + error


class _FakeQuantize(torch.autograd.Function):
    """The arithmetic of `fake_quantize`, with few passes over memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        out = (x / scale).round_().clamp_(low, high).mul_(scale)
        ctx.save_for_backward(x, out, scale)
        ctx.ends = low, high
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, out, scale = ctx.saved_tensors
        low, high = ctx.ends
        (grad,) = grads
        if scale.ndim == 0:
            bottom, top = low * float(scale), high * float(scale)
            inner = torch.ops.aten.hardtanh_backward(grad, x, bottom, top)
            if not ctx.needs_input_grad[1]:
                return inner, None, None, None
            # s times d out / d s is out - x where x has a code and out beyond: two products instead of a mask.
            of_scale = torch.dot(_flat(grad), _flat(out)) - torch.dot(_flat(inner), _flat(x))
        else:
            inner = grad * ((x > low * scale) & (x < high * scale))
            of_scale = (grad * out - inner * x).sum(tuple(range(1, x.ndim)), keepdim=True)
        count = x.numel() // max(1, scale.numel())
        return inner, of_scale.reshape(scale.shape) / scale / (count * high) ** 0.5, None, None


def _flat(x: Tensor) -> Tensor:
    """Return all values in the order of channels-last memory, without a copy where they lie so."""
    return x.permute(0, 2, 3, 1).reshape(-1) if x.ndim == 4 else x.reshape(-1)


@dataclass(frozen=True)
class Geometry:
    """How a convolution slides, as `torch.nn.functional.conv2d` takes it: (rows, columns) each."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, how: Geometry, half_gradients: bool) -> Tensor:
    """Return a convolution in float32, if asked with gradients computed in bfloat16.

    Forward, 8 bits of mantissa would move codes; gradients are estimates already, and convolving them takes two thirds
    of a step's time.

    Args:
        x: float32, (N, C, H, W).
        weight: float32, (out, C / groups, h, w).
        bias: float32, (out,), or None.
        how: Stride, padding, dilation and groups.
        half_gradients: Whether to compute gradients in bfloat16.
    """
    if not half_gradients:
        return functional.conv2d(x, weight, bias, how.stride, how.padding, how.dilation, how.groups)
    result: Tensor = _Convolve.apply(x, weight, bias, how)  # type: ignore[no-untyped-call]
    return result


class _Convolve(torch.autograd.Function):
    """The arithmetic of `convolve`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = how
        return functional.conv2d(x, weight, bias, how.stride, how.padding, how.dilation, how.groups)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (grad,) = grads
        how: Geometry = ctx.how
        half = (t.bfloat16() for t in (grad, x, weight))
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(
            *half, None, how.stride, how.padding, how.dilation, False, (0, 0), how.groups, wanted
        )
        of_bias = grad.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        floats = (None if g is None else g.float() for g in (of_x, of_weight))
        return (*floats, of_bias, None)
