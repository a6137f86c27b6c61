"""How each runtime rounds, found by comparing it with the real one, code for code; see `edgemat.quantize.rounding`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.quantize._arithmetic import Taps
from edgemat.quantize._fixed_point import averaged, divided, multiplied, multiplied_once
from edgemat.quantize._ideal import Rounding, Sums, product, saturated
from edgemat.quantize.grid import Codes, QParams

F = np.float32


class _Float32Sums(Rounding):
    """Convolutions as ONNX Runtime and XNNPACK requantize: int32 to float32, one float32 factor, halves to even."""

    def sums(self, sums: Sums, factors: npt.NDArray[np.float32], source: QParams, target: QParams) -> Codes:
        """Return codes of a convolution."""
        real = F(source.scale) * factors / F(target.scale)
        return saturated(np.rint(sums.astype(F) * real[:, None, None]), target)


class OnnxRuntime(_Float32Sums):
    """ONNX Runtime's CPU provider on a Q/DQ graph that it has fused.

    QLinearConv, QLinearAdd, QLinearMul and the pools compute in float32; the last three add the zero point before they
    round, so that a half goes to the even *code*. Resize, Sub, Relu and Concat run between dequantized reals.
    """

    def add(self, first: Codes, second: Codes, sources: Sequence[QParams], target: QParams, sign: int = 1) -> Codes:
        """Return codes of QLinearAdd; a difference is computed on reals."""
        a, b = sources
        if sign < 0:
            return target.codes(a.reals(first) - b.reals(second))
        to_a, to_b = (F(params.scale) / F(target.scale) for params in (a, b))
        zeros = _fused(to_a, F(a.zero_point), to_b * F(b.zero_point))
        return _whole(_fused(first, to_a, _fused(second, to_b, F(target.zero_point) - zeros)), target)

    def multiply(self, first: Codes, second: Codes, sources: Sequence[QParams], target: QParams) -> Codes:
        """Return codes of QLinearMul."""
        a, b = sources
        real = F(a.scale) * F(b.scale) / F(target.scale)
        return _whole((product(first, second, a, b).astype(F) * real + F(target.zero_point)).astype(F), target)

    def rescale(self, codes: Codes, source: QParams, target: QParams) -> Codes:
        """Return the codes of the reals."""
        return target.codes(source.reals(codes))

    def window_mean(self, seen: Sequence[Codes], counts: npt.NDArray[np.int64], params: QParams) -> Codes:
        """Return codes of QLinearAveragePool: reals added up one by one."""
        total: npt.NDArray[np.float32] = np.zeros(seen[0].shape, F)
        for part in seen:
            total += part.astype(F) * F(params.scale)
        mean = total / counts.astype(F)
        return _whole((mean / F(params.scale) + F(params.zero_point)).astype(F), params)

    def mean(self, sums: Sums, count: int, source: QParams, target: QParams) -> Codes:
        """Return codes of QLinearGlobalAveragePool."""
        return saturated(np.rint(sums.astype(F) * (F(source.scale) / (F(target.scale) * F(count)))), target)

    def resize(self, codes: Codes, rows: Taps, columns: Taps, params: QParams) -> Codes:
        """Return codes of reals interpolated in float32, as four products added from left to right."""
        real = params.reals(codes)
        (top, bottom, down), (left, right, across) = rows.linear(F), columns.linear(F)
        up, back = F(1) - down, F(1) - across
        for at, after, before in ((rows, down, up), (columns, across, back)):
            alone = at.linear(F)[0] == at.linear(F)[1]  # at the border both taps are one value, each with half
            after[alone], before[alone] = 0.5, 0.5
        total = (back * up[:, None]) * real[:, :, top[:, None], left]
        total += (across * up[:, None]) * real[:, :, top[:, None], right]
        total += (back * down[:, None]) * real[:, :, bottom[:, None], left]
        total += (across * down[:, None]) * real[:, :, bottom[:, None], right]
        return params.codes(total)


def _fused(values: Any, factor: np.float32, addend: Any) -> npt.NDArray[np.float32]:
    """Return ``values * factor + addend`` of float32 values, rounded once to float32 (a fused multiply-add)."""
    total: npt.NDArray[np.float64] = np.asarray(values, np.float64) * np.float64(factor) + addend
    return total.astype(F)


def _whole(codes: npt.NDArray[np.float32], target: QParams) -> Codes:
    """Return codes of float32 values that have the zero point already."""
    found: Codes = np.clip(np.rint(codes), target.low, target.high).astype(np.int32)
    return found


def stored_zero(params: QParams) -> int:
    """Return the zero point of int8 storage: 128 less where the grid's codes are unsigned."""
    return params.zero_point - params.low - 128


class TfLite(Rounding):
    """LiteRT's own kernels, without a delegate: fixed-point multipliers, rounded twice.

    Attributes:
        optimised: The kernels for speed, which LiteRT takes by default; otherwise its reference kernels.
    """

    optimised = True

    def _in_vectors(self, channels: int, lanes: int) -> npt.NDArray[np.bool_]:
        """Return which channels vector code computes, rounding halves up; each of the rest rounds away from zero."""
        return np.arange(channels) < (channels // lanes * lanes if self.optimised else 0)

    def sums(self, sums: Sums, factors: npt.NDArray[np.float32], source: QParams, target: QParams) -> Codes:
        """Return codes of a convolution."""
        real = np.float64(source.scale) * factors.astype(np.float64) / np.float64(target.scale)
        return saturated(multiplied(sums, real[:, None, None], self.optimised), target)

    def sparse_sums(self, sums: Sums, factors: npt.NDArray[np.float32], source: QParams, target: QParams) -> Codes:
        """Return codes of a depthwise or transposed convolution."""
        real = np.float64(source.scale) * factors.astype(np.float64) / np.float64(target.scale)
        up = self._in_vectors(len(real), 8)[:, None, None]
        return saturated(multiplied(sums, real[:, None, None], up), target)

    def add(self, first: Codes, second: Codes, sources: Sequence[QParams], target: QParams, sign: int = 1) -> Codes:
        """Return codes of ADD or SUB: both operands with 20 fraction bits on twice the larger scale."""
        a, b = sources
        scaled = multiplied_once if self.optimised and sign > 0 else multiplied
        twice = 2.0 * max(a.scale, b.scale)
        parts = [
            scaled((codes - params.zero_point).astype(np.int64) << 20, params.scale / twice)
            for codes, params in ((first, a), (second, b))
        ]
        return saturated(multiplied(parts[0] + sign * parts[1], twice / (2.0**20 * target.scale)), target)

    def multiply(self, first: Codes, second: Codes, sources: Sequence[QParams], target: QParams) -> Codes:
        """Return codes of MUL."""
        a, b = sources
        real = float(F(a.scale) * F(b.scale) / F(target.scale))
        return saturated(multiplied(product(first, second, a, b), real), target)

    def rescale(self, codes: Codes, source: QParams, target: QParams) -> Codes:
        """Return codes of QUANTIZE."""
        return saturated(multiplied(codes - source.zero_point, source.scale / target.scale, self.optimised), target)

    def window_mean(self, seen: Sequence[Codes], counts: npt.NDArray[np.int64], params: QParams) -> Codes:
        """Return codes of a depthwise convolution where every tap counts, as edgemat's files say it.

        Otherwise of AVERAGE_POOL_2D, which averages the stored int8 and rounds halves away from the stored zero.
        """
        if (counts == len(seen)).all():
            return self.sparse_sums(*_as_convolution(seen), params, params)
        zero = stored_zero(params)
        stored = np.sum(seen, axis=0).astype(np.int64) + counts * zero
        return saturated(divided(stored, counts) - zero, params)

    def mean(self, sums: Sums, count: int, source: QParams, target: QParams) -> Codes:
        """Return codes of MEAN; the optimised kernel rounds the input's zero point on its own."""
        if not self.optimised:
            return saturated(averaged(sums, source.scale / target.scale, count), target)
        real = source.scale / (count * target.scale)
        zero = stored_zero(source)
        offset = np.rint(F(zero) * F(source.scale) / F(target.scale)).astype(np.int64)
        up = self._in_vectors(sums.shape[1], 16)[:, None, None]
        return saturated(multiplied(sums + zero * count, real, up) - offset, target)

    def resize(self, codes: Codes, rows: Taps, columns: Taps, params: QParams) -> Codes:
        """Return codes of RESIZE_BILINEAR: positions with 10 fraction bits, halves away from the stored zero."""
        stored = codes.astype(np.int64) - params.low - 128
        (top, bottom, down), (left, right, across) = (_ten_bits(at) for at in (rows, columns))
        down = down[:, None]
        total = stored[:, :, top[:, None], left] * ((1024 - down) * (1024 - across))
        total += stored[:, :, bottom[:, None], left] * (down * (1024 - across))
        total += stored[:, :, top[:, None], right] * ((1024 - down) * across)
        total += stored[:, :, bottom[:, None], right] * (down * across)
        return saturated(divided(total, 2**20) - stored_zero(params), params)


def _as_convolution(seen: Sequence[Codes]) -> tuple[Sums, npt.NDArray[np.float32]]:
    """Return the sums of windows, and the scales of the weights of 1 that make them means."""
    total = np.sum(seen, axis=0).astype(np.float64)
    return total, np.full(total.shape[1], 1.0 / len(seen), np.float32)


class TfLiteReference(TfLite):
    """LiteRT's reference kernels (``OpResolverType.BUILTIN_REF``)."""

    optimised = False


def _ten_bits(at: Taps) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the inputs around each output and the weight of the second, of 1024, as TFLite computes them."""
    size, count = at.size, at.count
    step = (1024 * size + count // 2) // count
    if at.mode == "align_corners" and count > 1:
        step = (1024 * (size - 1) + (count - 1) // 2) // (count - 1)
    position = np.arange(count, dtype=np.int64) * step
    if "half_pixel" in at.mode:
        position += step // 2 - 512
    lower = np.maximum(position, 0) // 1024
    upper = np.minimum(np.maximum(position + 1023, 0) // 1024, size - 1)
    return lower, upper, position - 1024 * lower


class Xnnpack(_Float32Sums):
    """LiteRT with XNNPACK, its default delegate; AVERAGE_POOL_2D, which that refuses, runs in LiteRT's own kernel."""

    def add(self, first: Codes, second: Codes, sources: Sequence[QParams], target: QParams, sign: int = 1) -> Codes:
        """Return codes of ADD or SUB: multipliers of 21 bits, halves up."""
        a, b = sources
        ratios = [F(params.scale) / F(target.scale) for params in (a, b)]
        shift = 21 - int(np.frexp(max(ratios))[1])
        to_a, to_b = (int(np.rint(np.ldexp(ratio, shift))) for ratio in ratios)
        total = (first - a.zero_point).astype(np.int64) * to_a
        total += sign * (second - b.zero_point).astype(np.int64) * to_b
        return saturated((total + (1 << (shift - 1))) >> shift, target)

    def multiply(self, first: Codes, second: Codes, sources: Sequence[QParams], target: QParams) -> Codes:
        """Return codes of MUL: one float32 factor, halves to even."""
        a, b = sources
        real = F(a.scale) * F(b.scale) / F(target.scale)
        return saturated(np.rint(product(first, second, a, b).astype(F) * real), target)

    def rescale(self, codes: Codes, source: QParams, target: QParams) -> Codes:
        """Return codes of QUANTIZE: a factor with 8 fraction bits, halves up."""
        factor = np.int32(np.rint(F(256) * (F(source.scale) / F(target.scale))))
        return saturated(((codes - source.zero_point) * factor + 128) >> 8, target)

    def window_mean(self, seen: Sequence[Codes], counts: npt.NDArray[np.int64], params: QParams) -> Codes:
        """Return codes of a depthwise convolution where every tap counts; otherwise of LiteRT's AVERAGE_POOL_2D."""
        if (counts == len(seen)).all():
            return self.sparse_sums(*_as_convolution(seen), params, params)
        return TfLite().window_mean(seen, counts, params)

    def mean(self, sums: Sums, count: int, source: QParams, target: QParams) -> Codes:
        """Return codes of MEAN: one float32 factor, halves to even."""
        real = F(source.scale) / F(target.scale) / F(count)
        return saturated(np.rint(sums.astype(F) * real), target)

    def resize(self, codes: Codes, rows: Taps, columns: Taps, params: QParams) -> Codes:
        """Return codes of RESIZE_BILINEAR: weights of 11 bits, columns first, halves up."""
        values = codes.astype(np.int64)
        (top, bottom, down), (left, right, across) = (_eleven_bits(at) for at in (rows, columns))
        lefts, rights = values[..., left], values[..., right]
        between: npt.NDArray[np.int64] = (lefts << 11) + (rights - lefts) * across
        above, below = between[:, :, top], between[:, :, bottom]
        total = (above << 11) + (below - above) * down[:, None]
        found: Codes = np.clip((total + (1 << 21)) >> 22, params.low, params.high).astype(np.int32)
        return found


def _eleven_bits(at: Taps) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the inputs around each output and the weight of the second, of 2048, as XNNPACK computes them."""
    less = int(at.mode == "align_corners" and at.count != 1)
    step = F(at.size - less) / F(at.count - less)
    position = np.arange(at.count).astype(F) * step
    if "half_pixel" in at.mode:
        position = np.clip(position + (F(0.5) * step - F(0.5)), F(0), F(at.size - 1))
    lower = position.astype(np.int64)
    fraction = np.rint((position - lower.astype(F)) * F(2048)).astype(np.int64)
    return lower, np.minimum(lower + 1, at.size - 1), fraction
