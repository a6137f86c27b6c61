"""Ideal rounding, and the interface of every other: from exact integer sums to codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.quantize._arithmetic import Taps, sigmoid
from edgemat.quantize.grid import Codes, QParams

Sums = npt.NDArray[np.float64]


class Rounding:
    """Ideal: real arithmetic (float64) on exact integers and one rounding at the end, halves to even.

    Runtimes inherit what they do alike. Every method returns codes of ``target``, int32, saturated.
    """

    def real(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return reals as a node that is kept in float reads and makes them: here as they are."""
        return values

    def decode(self, codes: Codes, source: QParams) -> npt.NDArray[Any]:
        """Return the reals that a node that is kept in float reads."""
        return source.reals(codes)

    def encode(self, real: npt.NDArray[Any], target: QParams) -> Codes:
        """Return codes of what a node that is kept in float makes."""
        return target.codes(real)

    def operands(
        self,
        codes: Codes,
        weight: npt.NDArray[np.int8],
        bias: npt.NDArray[np.int32],
        scales: npt.NDArray[np.float32],
        axis: int,
        source: QParams,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """Return what a convolution multiplies and adds: integers, whose sums `sums` takes.

        Args:
            codes: Of the input.
            weight: Codes.
            bias: Codes, (channels,).
            scales: Of the weight, float32, (channels,).
            axis: Of the weight's output channels.
            source: Of the input.
        """
        del scales, axis
        return codes - source.zero_point, weight, bias

    def bias(self, codes: Codes, scales: npt.NDArray[np.float32]) -> Codes:
        """Return the biases, int32, (C,), that a runtime adds where a file states ``codes`` at ``scales``."""
        del scales
        return codes

    def sums(self, sums: Sums, factors: npt.NDArray[np.float32], source: QParams, target: QParams) -> Codes:
        """Return codes of a dense convolution.

        Args:
            sums: Integers in float64, (N, C, H, W): products of codes without zero points, with the bias.
            factors: Scales of the weight, float32, (C,).
            source: Of the input.
            target: Of the output.
        """
        real = np.float64(source.scale) * factors.astype(np.float64) / np.float64(target.scale)
        return saturated(np.rint(sums * real[:, None, None]), target)

    def sparse_sums(self, sums: Sums, factors: npt.NDArray[np.float32], source: QParams, target: QParams) -> Codes:
        """Return codes of a depthwise, grouped or transposed convolution; arguments as of `sums`."""
        return self.sums(sums, factors, source, target)

    def add(self, first: Codes, second: Codes, sources: Sequence[QParams], target: QParams, sign: int = 1) -> Codes:
        """Return codes of ``first + sign * second``."""
        a, b = sources
        real = (first - a.zero_point) * a.scale + sign * ((second - b.zero_point) * b.scale)
        return saturated(np.rint(real / target.scale), target)

    def multiply(self, first: Codes, second: Codes, sources: Sequence[QParams], target: QParams) -> Codes:
        """Return codes of ``first * second``."""
        a, b = sources
        return saturated(np.rint(product(first, second, a, b) * (a.scale * b.scale / target.scale)), target)

    def rescale(self, codes: Codes, source: QParams, target: QParams) -> Codes:
        """Return the codes of the same reals on another scale: an input of Concat, a Relu or Clip that stands alone."""
        return saturated(np.rint((codes - source.zero_point) * (source.scale / target.scale)), target)

    def window_mean(self, seen: Sequence[Codes], counts: npt.NDArray[np.int64], params: QParams) -> Codes:
        """Return codes of an AveragePool, on its input's scale.

        Args:
            seen: What each tap of the window sees, codes without zero point; 0 outside.
            counts: How many taps count at each place; broadcasts.
            params: Of input and output.
        """
        return saturated(np.rint(np.sum(seen, axis=0) / counts), params)

    def mean(self, sums: Sums, count: int, source: QParams, target: QParams) -> Codes:
        """Return codes of a GlobalAveragePool.

        Args:
            sums: Sums of codes without zero points.
            count: How many were summed.
            source: Of the input.
            target: Of the output.
        """
        return saturated(np.rint(sums / count * (source.scale / target.scale)), target)

    def resize(self, codes: Codes, rows: Taps, columns: Taps, params: QParams) -> Codes:
        """Return codes, (N, C, H, W), interpolated linearly between rows and between columns, on the same scale."""
        real = (codes - params.zero_point).astype(np.float64)
        for axis, at in ((2, rows), (3, columns)):
            lower, upper, fraction = at.linear(np.float64)
            fraction = fraction[:, None] if axis == 2 else fraction
            real = np.take(real, lower, axis) * (1 - fraction) + np.take(real, upper, axis) * fraction
        return saturated(np.rint(real), params)

    def sigmoid(self, codes: Codes, source: QParams, target: QParams) -> Codes:
        """Return codes of a Sigmoid, by a table of all codes."""
        real = (np.arange(source.low, source.high + 1) - source.zero_point) * np.float64(source.scale)
        table = saturated(np.rint(sigmoid(real) / target.scale), target)
        return table[codes - source.low]


def saturated(rounded: npt.NDArray[Any], target: QParams) -> Codes:
    """Return whole numbers of steps from zero as codes, int32, saturated."""
    codes: Codes = np.clip(rounded + target.zero_point, target.low, target.high).astype(np.int32)
    return codes


def product(first: Codes, second: Codes, a: QParams, b: QParams) -> npt.NDArray[np.int32]:
    """Return the product of two tensors' codes, their zero points taken off; it is exact in int32 and in float32."""
    return (first - a.zero_point) * (second - b.zero_point)
