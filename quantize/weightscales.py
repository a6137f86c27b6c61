"""Choose one scale an output channel of each weight: from its largest value, or of least squared error."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgemat.quantize import rules
from edgemat.quantize.graph import Graph
from edgemat.quantize.grid import QParams
from edgemat.quantize.scheme import Scheme

Scales = npt.NDArray[np.float32]

_FRACTIONS = np.linspace(1.0, 0.3, 71)
_NARROWEST = 2.0**-24
"""A channel's scale is no smaller than the weight's largest times this: a dead channel must not upset a backend."""
_BIAS = 2.0**30
"""Largest code of a bias, which leaves room for the sum of products in 32 bits."""


def choose(
    graph: Graph, activations: Mapping[str, QParams], scheme: Scheme, least_squares: bool, kept: frozenset[str]
) -> dict[str, Scales]:
    """Return the scales of every weight that integer operators read.

    Args:
        graph: Float.
        activations: Scales of the tensors.
        scheme: Its bits.
        least_squares: Whether to clip for the least squared error; the largest value otherwise.
        kept: Nodes that compute in float.
    """
    found: dict[str, Scales] = {}
    for unit in rules.units(graph):
        if unit.weight and unit.node.name not in kept:
            rows = by_channel(graph.constants[unit.weight], rules.WEIGHTED[unit.node.op])
            found[unit.weight] = _least_squares(rows, scheme) if least_squares else _largest(rows, scheme)
    return with_room(graph, activations, found)


def by_channel(weight: npt.NDArray[np.floating], axis: int) -> npt.NDArray[np.float64]:
    """Return a weight as rows, float64, (channels, values of a channel)."""
    rows = np.moveaxis(weight, axis, 0)
    return rows.reshape(len(rows), -1).astype(np.float64)


def with_room(graph: Graph, activations: Mapping[str, QParams], weights: Mapping[str, Scales]) -> dict[str, Scales]:
    """Return scales widened where a bias, in codes of input scale times weight scale, would not fit into 32 bits."""
    result = dict(weights)
    for unit in rules.units(graph):
        if unit.weight in result and unit.bias and unit.inputs[0] in activations:
            bias = np.abs(graph.constants[unit.bias].astype(np.float64))
            least = bias / (_BIAS * activations[unit.inputs[0]].scale)
            result[unit.weight] = np.maximum(result[unit.weight], least.astype(np.float32))
    return result


def _largest(rows: npt.NDArray[np.float64], scheme: Scheme) -> Scales:
    return _positive(np.abs(rows).max(1) / scheme.weight_limit)


def _least_squares(rows: npt.NDArray[np.float64], scheme: Scheme) -> Scales:
    """Return for each channel the scale, of fractions of the largest value's, whose codes have the least error."""
    limit = scheme.weight_limit
    widest = _largest(rows, scheme).astype(np.float64)
    best, least = widest.copy(), np.full(len(rows), np.inf)
    for fraction in _FRACTIONS:
        scales = (widest * fraction)[:, None]
        errors = ((np.clip(np.rint(rows / scales), -limit, limit) * scales - rows) ** 2).sum(1)
        better = errors < least
        best[better], least[better] = scales[better, 0], errors[better]
    return best.astype(np.float32)


def _positive(scales: npt.NDArray[np.float64]) -> Scales:
    """Return scales fit for every backend: a channel of zeros gets the weight's largest, a dead one a floor."""
    largest = float(scales.max()) or 1.0
    filled = np.where(scales > 0.0, scales, largest)
    return np.maximum(filled, max(largest * _NARROWEST, float(np.finfo(np.float32).tiny))).astype(np.float32)
