"""How a float16 package rounds between codes: scales, weights, reals and all results are float16, sums are exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.quantize import _arithmetic as arithmetic
from edgemat.quantize._arithmetic import Taps
from edgemat.quantize._ideal import Rounding, saturated
from edgemat.quantize.grid import Codes, QParams, bias_scales

Reals = npt.NDArray[np.float64]


def half(values: Any) -> Reals:
    """Return values, rounded to float16, in float64."""
    with np.errstate(over="ignore"):  # an overflow is a value to be judged
        return np.asarray(np.asarray(values).astype(np.float16), np.float64)


class Float16(Rounding):
    """Codes become reals of float16, an operator's result is rounded to float16, and that becomes codes again."""

    def real(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return reals as a node that is kept in float reads and makes them: rounded to float16."""
        return half(values) if values.dtype.kind == "f" else values

    def decode(self, codes: Codes, source: QParams) -> npt.NDArray[Any]:
        """Return the reals that a node that is kept in float reads."""
        return _reals(codes, source)

    def encode(self, real: npt.NDArray[Any], target: QParams) -> Codes:
        """Return codes of what a node that is kept in float makes."""
        return _codes(real, target)

    def operands(
        self,
        codes: Codes,
        weight: npt.NDArray[np.int8],
        bias: npt.NDArray[np.int32],
        scales: npt.NDArray[np.float32],
        axis: int,
        source: QParams,
    ) -> tuple[Reals, Reals, Reals]:
        """Return what a convolution multiplies and adds: reals here, whose sums `sums` takes.

        Args:
            codes: Of the input.
            weight: Codes.
            bias: Codes, (channels,).
            scales: Of the weight, float32, (channels,).
            axis: Of the weight's output channels.
            source: Of the input.
        """
        shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
        real = (bias * bias_scales(source, scales).astype(np.float64)).astype(np.float32)
        return _reals(codes, source), half(weight * half(scales).reshape(shape)), half(real)

    def sums(self, sums: Reals, factors: npt.NDArray[np.float32], source: QParams, target: QParams) -> Codes:
        """Return codes of a convolution whose `operands` are reals."""
        del factors, source
        return _codes(sums, target)

    def add(self, first: Codes, second: Codes, sources: Sequence[QParams], target: QParams, sign: int = 1) -> Codes:
        """Return codes of ``first + sign * second``."""
        return _codes(_reals(first, sources[0]) + sign * _reals(second, sources[1]), target)

    def multiply(self, first: Codes, second: Codes, sources: Sequence[QParams], target: QParams) -> Codes:
        """Return codes of ``first * second``."""
        return _codes(_reals(first, sources[0]) * _reals(second, sources[1]), target)

    def rescale(self, codes: Codes, source: QParams, target: QParams) -> Codes:
        """Return the codes of the same reals on another scale."""
        return _codes(_reals(codes, source), target)

    def window_mean(self, seen: Sequence[Codes], counts: npt.NDArray[np.int64], params: QParams) -> Codes:
        """Return codes of an AveragePool."""
        parts = [half(part * half(params.scale)) for part in seen]
        return _codes(np.sum(parts, axis=0) / counts, params)

    def mean(self, sums: Reals, count: int, source: QParams, target: QParams) -> Codes:
        """Return codes of a GlobalAveragePool; single reals are not rounded: a part of a step."""
        return _codes(sums * half(source.scale) / count, target)

    def resize(self, codes: Codes, rows: Taps, columns: Taps, params: QParams) -> Codes:
        """Return codes of reals interpolated between rows and between columns."""
        real = _reals(codes, params)
        for axis, at in ((2, rows), (3, columns)):
            lower, upper, fraction = at.linear(np.float64)
            fraction = fraction[:, None] if axis == 2 else fraction
            real = np.take(real, lower, axis) * (1 - fraction) + np.take(real, upper, axis) * fraction
        return _codes(real, params)

    def sigmoid(self, codes: Codes, source: QParams, target: QParams) -> Codes:
        """Return codes of a Sigmoid."""
        real = _reals(np.arange(source.low, source.high + 1, dtype=np.int32), source)
        return _codes(arithmetic.sigmoid(real), target)[codes - source.low]


def _reals(codes: Codes, params: QParams) -> Reals:
    return half((codes - params.zero_point) * half(params.scale))


def _codes(real: Reals, target: QParams) -> Codes:
    return saturated(np.rint(half(real) / half(target.scale)), target)
