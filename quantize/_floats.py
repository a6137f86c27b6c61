"""How runtimes round that compute between quantized tensors in float32; see `edgemat.quantize.rounding`."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.quantize._arithmetic import Taps
from edgemat.quantize._ideal import Rounding, Sums
from edgemat.quantize._runtimes import OnnxRuntime
from edgemat.quantize.grid import Codes, QParams

F = np.float32


class OpenVino(Rounding):
    """OpenVINO's CPU plugin: it interpolates and averages codes with their zero point, halves to the even *code*."""

    def window_mean(self, seen: Sequence[Codes], counts: npt.NDArray[np.int64], params: QParams) -> Codes:
        """Return codes of AvgPool."""
        return _whole(np.sum(seen, axis=0) / counts + params.zero_point, params)

    def resize(self, codes: Codes, rows: Taps, columns: Taps, params: QParams) -> Codes:
        """Return codes of Interpolate on uint8."""
        real = codes.astype(np.float64)
        for axis, at in ((2, rows), (3, columns)):
            lower, upper, fraction = at.linear(np.float64)
            fraction = fraction[:, None] if axis == 2 else fraction
            real = np.take(real, lower, axis) * (1 - fraction) + np.take(real, upper, axis) * fraction
        return _whole(real, params)


class Unfused(OnnxRuntime):
    """ONNX Runtime on a Q/DQ graph with its optimisations off: each operator on reals in float32."""

    # sums in float32 meet a half too rarely to tell
    sums = Rounding.sums
    sparse_sums = Rounding.sparse_sums

    def add(self, first: Codes, second: Codes, sources: Sequence[QParams], target: QParams, sign: int = 1) -> Codes:
        """Return codes of Add or Sub."""
        a, b = (params.reals(codes) for params, codes in zip(sources, (first, second), strict=True))
        return target.codes(a + b if sign > 0 else a - b)

    def multiply(self, first: Codes, second: Codes, sources: Sequence[QParams], target: QParams) -> Codes:
        """Return codes of Mul."""
        a, b = (params.reals(codes) for params, codes in zip(sources, (first, second), strict=True))
        return target.codes(a * b)

    def window_mean(self, seen: Sequence[Codes], counts: npt.NDArray[np.int64], params: QParams) -> Codes:
        """Return codes of AveragePool: reals added up down each column of a square window, then across."""
        side = math.isqrt(len(seen))
        reals = [part.astype(F) * F(params.scale) for part in seen]
        columns = [reals[i::side] for i in range(side)] if side * side == len(seen) else [reals]
        sums = [functools.reduce(operator.add, column) for column in columns]
        total: npt.NDArray[np.float32] = functools.reduce(operator.add, sums)
        mean: npt.NDArray[np.float32] = np.divide(total, counts, dtype=F)
        return params.codes(mean)

    def mean(self, sums: Sums, count: int, source: QParams, target: QParams) -> Codes:
        """Return codes of GlobalAveragePool."""
        return target.codes((sums * np.float64(source.scale) / count).astype(F))


class CoreAi(Unfused):
    """Apple's Core AI runtime on the program that coreai-onnx makes: each operator on reals in float32."""

    def window_mean(self, seen: Sequence[Codes], counts: npt.NDArray[np.int64], params: QParams) -> Codes:
        """Return codes of AveragePool: the sum of reals is rounded once, and so is the mean."""
        reals = [part.astype(F) * F(params.scale) for part in seen]
        total = np.sum(reals, axis=0, dtype=np.float64).astype(F)
        mean: npt.NDArray[np.float32] = np.divide(total, counts, dtype=F)
        return params.codes(mean)

    def resize(self, codes: Codes, rows: Taps, columns: Taps, params: QParams) -> Codes:
        """Return codes of reals interpolated down, then across: two products, each rounded, and their sum."""
        real: npt.NDArray[Any] = params.reals(codes)
        for axis, at in ((2, rows), (3, columns)):
            lower, upper, after = at.linear(F)
            after = after[:, None] if axis == 2 else after
            real = np.take(real, lower, axis) * (F(1) - after) + np.take(real, upper, axis) * after
        return params.codes(real)


def _whole(codes: npt.NDArray[np.float64], target: QParams) -> Codes:
    """Return codes of values that have the zero point already."""
    found: Codes = np.clip(np.rint(codes), target.low, target.high).astype(np.int32)
    return found
