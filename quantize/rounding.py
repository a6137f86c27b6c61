"""How a runtime goes from exact integer sums to codes: the one place where honest int8 backends differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.quantize._arithmetic import Taps, sigmoid
from edgemat.quantize.grid import Codes, QParams

Sums = npt.NDArray[np.float64]
Factors = npt.NDArray[np.floating[Any]]


class Rounding:
    """Ideal: real arithmetic (float64) on exact integers and one rounding at the end, halves to even.

    Runtimes inherit what they do alike. Every method returns codes of ``target``, int32, saturated.
    """

    def sums(self, sums: Sums, factors: npt.NDArray[np.float32], source: QParams, target: QParams) -> Codes:
        """Return codes of a convolution.

        Args:
            sums: Integers in float64, (N, C, H, W): products of codes without zero points, with the bias.
            factors: Scales of the weight, float32, (C,).
            source: Of the input.
            target: Of the output.
        """
        real = np.float64(source.scale) * factors.astype(np.float64) / np.float64(target.scale)
        return saturated(np.rint(sums * real[:, None, None]), target)

    def add(self, first: Codes, second: Codes, sources: Sequence[QParams], target: QParams, sign: int = 1) -> Codes:
        """Return codes of ``first + sign * second``."""
        a, b = sources
        real = (first - a.zero_point) * a.scale + sign * ((second - b.zero_point) * b.scale)
        return saturated(np.rint(real / target.scale), target)

    def multiply(self, first: Codes, second: Codes, sources: Sequence[QParams], target: QParams) -> Codes:
        """Return codes of ``first * second``."""
        a, b = sources
        product = (first - a.zero_point).astype(np.float64) * (second - b.zero_point)
        return saturated(np.rint(product * (a.scale * b.scale / target.scale)), target)

    def rescale(self, codes: Codes, source: QParams, target: QParams) -> Codes:
        """Return the codes of the same reals on another scale: an input of Concat, a Relu or Clip that stands alone."""
        if (source.scale, source.zero_point) == (target.scale, target.zero_point):
            return np.clip(codes, target.low, target.high)
        return saturated(np.rint((codes - source.zero_point) * (source.scale / target.scale)), target)

    def mean(self, sums: Sums, counts: npt.NDArray[np.int64], source: QParams, target: QParams) -> Codes:
        """Return codes of averages.

        Args:
            sums: Sums of codes without zero points.
            counts: How many were summed; broadcasts.
            source: Of the input.
            target: Of the output.
        """
        return saturated(np.rint(sums / counts * (source.scale / target.scale)), target)

    def resize(self, codes: Codes, rows: Taps, columns: Taps, params: QParams) -> Codes:
        """Return codes, (N, C, H, W), interpolated linearly between rows and between columns, on the same scale."""
        real = (codes - params.zero_point).astype(np.float64)
        real = _between(real, rows, rows.fraction, 2)
        return saturated(np.rint(_between(real, columns, columns.fraction, 3)), params)

    def sigmoid(self, codes: Codes, source: QParams, target: QParams) -> Codes:
        """Return codes of a Sigmoid, by a table of all codes."""
        real = (np.arange(source.low, source.high + 1) - source.zero_point) * np.float64(source.scale)
        table = saturated(np.rint(sigmoid(real) / target.scale), target)
        return table[codes - source.low]


def saturated(rounded: npt.NDArray[Any], target: QParams) -> Codes:
    """Return whole numbers of steps from zero as codes, int32, saturated."""
    codes: Codes = np.clip(rounded + target.zero_point, target.low, target.high).astype(np.int32)
    return codes


def _between(values: npt.NDArray[Any], at: Taps, fraction: Factors, axis: int) -> npt.NDArray[Any]:
    """Interpolate along an axis, in the values' own type."""
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    upper = fraction.astype(values.dtype).reshape(shape)
    return np.take(values, at.lower, axis) * (1 - upper) + np.take(values, at.upper, axis) * upper


ROUNDINGS: Mapping[str, Rounding] = {
    "ideal": Rounding(),
    "onnxruntime": Rounding(),
    "xnnpack": Rounding(),
    "tflite": Rounding(),
}
"""Name to rounding: what `edgemat.export._target.Runner.rounding` may be."""
