"""Bring scales that another tool stated onto the rules of the grid, and say which tensors it left without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError
from edgemat.quantize import calibrate, rules, weightscales
from edgemat.quantize._pairs import StatedWeight
from edgemat.quantize.extract import Extracted
from edgemat.quantize.graph import Graph
from edgemat.quantize.grid import Grid, QParams
from edgemat.quantize.ranges import Form
from edgemat.quantize.scheme import Scheme

Scales = npt.NDArray[np.float32]
_SAME = 1e-6
"""Relative difference of scales that two tools' roundings explain."""


@dataclass(frozen=True, eq=False)
class Settled:
    """Stated scales on the rules of the grid.

    Attributes:
        activations: Tensor name to scale and zero point: all that are stated, share a stated one, or are fixed.
        weights: Weight name to scales, for every weight that the file states on the rules.
        missing: Tensors and weights without a scale.
        changes: A line for each tensor that could not stay as it was stated: what, and why.
    """

    activations: Mapping[str, QParams]
    weights: Mapping[str, Scales]
    missing: tuple[str, ...]
    changes: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every tensor has a scale, exactly as it was stated."""
        return not (self.missing or self.changes)


def settle(
    graph: Graph,
    activations: Mapping[str, Sequence[QParams]],
    weights: Mapping[str, StatedWeight],
    scheme: Scheme,
    kept: frozenset[str] = frozenset(),
) -> Settled:
    """Bring stated scales onto the rules.

    A scale that obeys the rules stays as it is; int8 and uint8 codes are the same but for a shift by 128. Where it does
    not (a Relu whose zero point is not the smallest code, tensors that must share a scale and do not), its range stays,
    and scale and zero point follow from the range.

    Args:
        graph: Float.
        activations: What was stated of each tensor.
        weights: What was stated of each weight.
        scheme: Of the grid.
        kept: Nodes that compute in float.
    """
    given, forms = rules.fixed(graph, scheme), calibrate.forms(graph, scheme)
    found: dict[str, QParams] = {}
    missing: list[str] = []
    changes: list[str] = []
    for group in rules.groups(graph):
        stated = [(name, params) for name in group for params in activations.get(name, ())]
        if group[0] in given:
            params = given[group[0]]
            changes += [
                _line(n, p, params, "fixed by the grid") for n, p in stated if not _same(shifted(p, params), params)
            ]
        elif not stated:
            missing += group
            continue
        else:
            params, why = _one([p for _, p in stated], forms[group[0]])
            changes += [_line(n, p, params, why) for n, p in stated if not _same(shifted(p, params), params)]
        found |= dict.fromkeys(group, params)
    scales, lost, moved = _weights(graph, weights, scheme, kept)
    ordered = {name: found[name] for name in rules.tensors(graph) if name in found}
    return Settled(ordered, scales, (*missing, *lost), (*changes, *moved))


def grid_of(extracted: Extracted, origin: str) -> Grid:
    """Return the grid that a Q/DQ file states, if it is whole.

    Raises:
        UnsupportedOpError: Nodes that cannot be quantized.
        InputError: Tensors without a scale, or with one that breaks a rule; all are named.
    """
    rules.refuse(extracted.graph, extracted.kept, origin)
    settled = settle(extracted.graph, extracted.activations, extracted.weights, extracted.scheme, extracted.kept)
    if not settled.is_whole:
        lines = [*(f"{name}: no scale" for name in settled.missing), *settled.changes]
        raise InputError(
            f"{origin}: its Q/DQ pairs state no whole grid ({len(settled.missing)} tensors lack a scale, "
            f"{len(settled.changes)} break a rule); complete it on calibration images with: "
            f"edgemat quantize --model {origin} --complete" + rules.first(lines)
        )
    return Grid(extracted.scheme, settled.activations, settled.weights, extracted.kept, extracted.passport)


def shifted(params: QParams, form: Form | QParams) -> QParams:
    """Return the same scale for codes that begin elsewhere: 128 lies between int8 and uint8.

    Example:
        >>> shifted(QParams(0.5, -3, -128, 127), Form())
        QParams(scale=0.5, zero_point=125, low=0, high=255)
    """
    shift = form.low - params.low
    return QParams(params.scale, params.zero_point + shift, form.low, form.high)


def _one(stated: Sequence[QParams], form: Form) -> tuple[QParams, str]:
    """Return the scale for all of a group, and why it is not what was stated, if so."""
    same = all(_same(shifted(p, form), shifted(stated[0], form)) for p in stated)
    params = shifted(stated[0], form)
    if same and _obeys(params, form):
        return params, ""
    bottom, top = min(p.bottom for p in stated), max(p.top for p in stated)
    return form.params(bottom, top), _why(params, form) if same else "tensors that share a scale had several"


def _obeys(params: QParams, form: Form) -> bool:
    return not _why(params, form)


def _why(params: QParams, form: Form) -> str:
    if form.symmetric and params.zero_point != 0:
        return "the scheme asks for zero point 0"
    if not form.symmetric and form.from_zero and params.zero_point != form.low:
        return "a Relu's range begins at 0"
    if params.top > form.bound * (1.0 + _SAME):
        return f"codes ended beyond the Clip's {form.bound:g}"
    return ""


def _same(one: QParams, other: QParams) -> bool:
    return one.zero_point == other.zero_point and abs(one.scale - other.scale) <= _SAME * other.scale


def _line(name: str, stated: QParams, params: QParams, why: str) -> str:
    old, new = (f"scale {p.scale:.6g}, zero point {p.zero_point}" for p in (stated, params))
    return f"{name}: {old} became {new}: {why}"


def _weights(
    graph: Graph, stated: Mapping[str, StatedWeight], scheme: Scheme, kept: frozenset[str]
) -> tuple[dict[str, Scales], list[str], list[str]]:
    """Return scales a channel, weights without them, and what had to change."""
    found: dict[str, Scales] = {}
    missing: list[str] = []
    changes: list[str] = []
    for unit in rules.units(graph):
        name = unit.weight
        if not name or unit.node.name in kept or name in found or name in missing or name not in graph.constants:
            continue
        axis = rules.WEIGHTED[unit.node.op]
        channels = graph.constants[name].shape[axis]
        weight = stated.get(name)
        if weight is None or weight.bits > scheme.weight_bits or not (weight.scales > 0).all():
            missing.append(name)
        elif weight.zero_points.any():
            missing.append(name)
            changes.append(f"{name}: zero points other than 0: the grid's weights are symmetric")
        elif len(weight.scales) == 1 or (weight.axis == axis and len(weight.scales) == channels):
            found[name] = np.ascontiguousarray(np.broadcast_to(weight.scales, (channels,)))
        else:
            missing.append(name)
            changes.append(
                f"{name}: {len(weight.scales)} scales on axis {weight.axis}, expected {channels} on axis {axis}"
            )
    return found, missing, changes


def complete(graph: Graph, settled: Settled, calibrated: Grid) -> tuple[dict[str, QParams], dict[str, Scales]]:
    """Return every scale: those settled, and a calibrated one where there is none."""
    activations = {name: settled.activations.get(name, params) for name, params in calibrated.activations.items()}
    weights = {name: settled.weights.get(name, scales) for name, scales in calibrated.weights.items()}
    return activations, weightscales.with_room(graph, activations, weights)
