"""How Qualcomm's HTP rounds, found by comparing it with the real one, code for code; see `edgemat.quantize.rounding`.

Measured with QNN 2.51's x86 library on all pairs of codes and on every sum that a convolution can be given. Exact:
convolutions of every kind, Add, Sub, Resize by 2 and 4, pools, what moves codes. Within one code, for some factor has
fewer bits than here: Mul and Concat (about 1 % of the values), Resize with aligned corners or odd factors (up to 7 %).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.quantize._arithmetic import Taps
from edgemat.quantize._ideal import Rounding, Sums, product, saturated
from edgemat.quantize.grid import Codes, QParams

F = np.float32


class Htp(Rounding):
    """Qualcomm's HTP from v73 on: 12-bit factors of sums that were cut to 1/16 to 1/8 of a code, halves up."""

    def bias(self, codes: Codes, scales: npt.NDArray[np.float32]) -> Codes:
        """Return the biases as they are after a way through float32 with 28 bits, which loses some a unit."""
        largest = F(scales.max())
        real = codes.astype(F) * largest
        step = F(np.abs(real).max() / F(2**28))
        if step == 0:
            return codes
        stored = np.rint(real * (F(1) / step))
        found: Codes = np.trunc(stored * step / largest).astype(np.int32)
        return found

    def sums(self, sums: Sums, factors: npt.NDArray[np.float32], source: QParams, target: QParams) -> Codes:
        """Return codes of a convolution; a cut sum counts as the middle of what was cut."""
        real = _factors(factors, source, target)
        kept, factor = _cut(sums, real, 15)
        return saturated(np.floor((kept + 0.5) * factor + 0.5), target)

    def add(self, first: Codes, second: Codes, sources: Sequence[QParams], target: QParams, sign: int = 1) -> Codes:
        """Return codes of an addition: factors of at most 15 fraction bits, the constant rounded to 8 bits fewer."""
        a, b = sources
        to_a, to_b = a.scale / target.scale, b.scale / target.scale
        bits = min(15, 13 - int(np.floor(np.log2(to_a + to_b))))
        first_factor, second_factor = (int(np.rint(ratio * 2.0**bits)) for ratio in (to_a, to_b))
        second_factor *= sign
        constant = (target.zero_point << bits) - a.zero_point * first_factor - b.zero_point * second_factor
        constant = (constant + (1 << (bits - 1)) + 127) >> 8  # halves down
        total = first.astype(np.int64) * first_factor + second.astype(np.int64) * second_factor + (constant << 8)
        found: Codes = np.clip(total >> bits, target.low, target.high).astype(np.int32)
        return found

    def multiply(self, first: Codes, second: Codes, sources: Sequence[QParams], target: QParams) -> Codes:
        """Return codes of ``first * second``: halves up."""
        a, b = sources
        return _up(product(first, second, a, b) * (a.scale * b.scale / target.scale), target)

    def rescale(self, codes: Codes, source: QParams, target: QParams) -> Codes:
        """Return the codes of the same reals on another scale: halves up."""
        return _up((codes - source.zero_point) * (source.scale / target.scale), target)

    def window_mean(self, seen: Sequence[Codes], counts: npt.NDArray[np.int64], params: QParams) -> Codes:
        """Return codes of an AveragePool: halves up."""
        return _up(np.sum(seen, axis=0) / counts, params)

    def resize(self, codes: Codes, rows: Taps, columns: Taps, params: QParams) -> Codes:
        """Return codes, (N, C, H, W), interpolated linearly on the same scale: halves up."""
        real = codes.astype(np.float64)
        for axis, at in ((2, rows), (3, columns)):
            lower, upper, fraction = at.linear(np.float64)
            fraction = fraction[:, None] if axis == 2 else fraction
            real = np.take(real, lower, axis) * (1 - fraction) + np.take(real, upper, axis) * fraction
        return _up(real - params.zero_point, params)


class HtpV69(Htp):
    """Qualcomm's HTP v69 (SM8450): 11-bit factors, the zero point rounded and added to the sum before that is cut."""

    def bias(self, codes: Codes, scales: npt.NDArray[np.float32]) -> Codes:
        """Return the biases as they are."""
        del scales
        return codes

    def sums(self, sums: Sums, factors: npt.NDArray[np.float32], source: QParams, target: QParams) -> Codes:
        """Return codes of a convolution."""
        real = _factors(factors, source, target)
        kept, factor = _cut(sums + np.rint(target.zero_point / real)[:, None, None], real, 14)
        found: Codes = np.clip(np.floor(kept * factor + 0.5), target.low, target.high).astype(np.int32)
        return found


def _up(real: npt.NDArray[np.floating[Any]], target: QParams) -> Codes:
    """Return steps from zero as codes; halves go up."""
    return saturated(np.floor(real + 0.5), target)


def _factors(factors: npt.NDArray[np.float32], source: QParams, target: QParams) -> Sums:
    """Return what takes sums to codes, float64, (C,)."""
    real: Sums = np.float64(source.scale) * factors.astype(np.float64) / np.float64(target.scale)
    return real


def _cut(sums: Sums, real: Sums, bits: int) -> tuple[Sums, Sums]:
    """Return sums less the low bits that leave a factor in [1/16, 1/8), and that factor, of ``bits`` fraction bits."""
    unit = np.exp2(np.ceil(-4.0 - np.log2(real)))
    return np.floor(sums / unit[:, None, None]), (np.rint(real * unit * 2.0**bits) / 2.0**bits)[:, None, None]
