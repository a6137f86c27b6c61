"""The integer grid itself: one scale and zero point a tensor, one scale a channel of each weight. A plain value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgemat.quantize.scheme import Scheme

Codes = npt.NDArray[np.int32]
Reals = npt.NDArray[np.floating]


@dataclass(frozen=True)
class QParams:
    """How one activation tensor's reals become codes: ``code = clip(round(real / scale) + zero_point)``.

    Attributes:
        scale: Positive; a float32 value.
        zero_point: The code of 0.0.
        low: Smallest code.
        high: Largest code.
    """

    scale: float
    zero_point: int
    low: int = 0
    high: int = 255

    def __post_init__(self) -> None:
        """Hold the scale to float32 and refuse what no backend takes."""
        object.__setattr__(self, "scale", float(np.float32(self.scale)))
        if not (np.isfinite(self.scale) and self.scale >= float(np.finfo(np.float32).tiny)):
            raise ValueError(f"scale {self.scale}, expected a positive, normal float32")
        if not self.low <= self.zero_point <= self.high:
            raise ValueError(f"zero point {self.zero_point}, expected one in [{self.low}, {self.high}]")

    @property
    def bottom(self) -> float:
        """The smallest real that has a code."""
        return (self.low - self.zero_point) * self.scale

    @property
    def top(self) -> float:
        """The largest real that has a code."""
        return (self.high - self.zero_point) * self.scale

    def codes(self, real: Reals) -> Codes:
        """Return codes, int32, of reals; halves round to even, as ONNX's QuantizeLinear does in float32.

        Example:
            >>> QParams(0.5, 10).codes(np.array([-9.0, 0.0, 0.25, 0.75])).tolist()
            [0, 10, 10, 12]
        """
        scaled = np.rint(np.asarray(real) / np.asarray(self.scale, np.asarray(real).dtype))
        codes: Codes = np.clip(scaled + self.zero_point, self.low, self.high).astype(np.int32)
        return codes

    def reals(self, codes: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Return what codes stand for, float32."""
        return (codes.astype(np.int32) - self.zero_point).astype(np.float32) * np.float32(self.scale)


@dataclass(frozen=True, eq=False)
class Grid:
    """All scales of a network, by the names of the trunk's tensors; no backend computes its own.

    Attributes:
        scheme: Bits and symmetry.
        activations: Tensor name to scale and zero point, for the tensors that `edgemat.quantize.rules.tensors` lists.
        weights: Weight name to scales, float32, (output channels,).
        kept: Names of nodes that compute in float between quantized tensors, as a budget asked.
        passport: Where the ranges come from (`edgemat.quantize.passport`), JSON-ready.
    """

    scheme: Scheme
    activations: Mapping[str, QParams]
    weights: Mapping[str, npt.NDArray[np.float32]]
    kept: frozenset[str] = frozenset()
    passport: Mapping[str, object] = field(default_factory=dict)


def weight_codes(weight: Reals, scales: npt.NDArray[np.float32], axis: int, scheme: Scheme) -> npt.NDArray[np.int8]:
    """Return a weight's codes; halves round to even.

    Args:
        weight: Real values, any rank.
        scales: float32, (channels,).
        axis: Of the output channels.
        scheme: Its bits.

    Example:
        >>> weight_codes(np.array([[0.5], [-9.0]]), np.array([0.25, 0.05], np.float32), 0, Scheme()).tolist()
        [[2], [-127]]
    """
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    limit = scheme.weight_limit
    codes: npt.NDArray[np.int8] = np.clip(
        np.rint(weight.astype(np.float32) / scales.reshape(shape)), -limit, limit
    ).astype(np.int8)
    return codes


def weight_reals(codes: npt.NDArray[np.int8], scales: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """Return what a weight's codes stand for, float32."""
    shape = [-1 if i == axis else 1 for i in range(codes.ndim)]
    return codes.astype(np.float32) * scales.reshape(shape)


def bias_codes(bias: Reals, scales: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Return a bias's codes at ``scales`` (input scale times each channel's), int32, (channels,)."""
    limit = 2**31 - 1
    codes = np.clip(np.rint(bias.astype(np.float64) / scales.astype(np.float64)), -limit, limit)
    return codes.astype(np.int32)


def bias_scales(source: QParams, weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the scale of each channel's accumulator and bias: the input's times the weight's, in float32."""
    return np.float32(source.scale) * weight
