"""Read back from a file for TensorRT on which scales it computes, and in what."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from onnx import NodeProto

from edgemat.errors import InputError
from edgemat.export import _graph, _onnx_facts
from edgemat.export._target import Scales
from edgemat.export.tensorrt import _rules
from edgemat.export.tensorrt._write import SHIFTS, TRTEXEC
from edgemat.inspection import MOVES, Inspection, OpFact

_MOVING = ("Concat", "DepthToSpace", "Identity", "MaxPool", "Pad", "SpaceToDepth")


def facts_of(path: Path) -> dict[str, str]:
    """Return a file's metadata."""
    return {entry.key: entry.value for entry in _graph.read(path).metadata_props}


def shifts_of(path: Path) -> dict[str, int]:
    """Return how far each shifted tensor's zero point was moved, in codes.

    Raises:
        InputError: The metadata do not say.
    """
    try:
        stated = json.loads(facts_of(path)[SHIFTS])
        return {str(name): int(shift) for name, shift in stated.items()}
    except (KeyError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: its metadata lack {SHIFTS}; export it with edgemat export --target tensorrt"
        ) from error


def scales(path: Path) -> Scales:
    """Return the scales of a file, under the trunk's names, in the grid's own codes.

    Raises:
        InputError: It is no whole ONNX model, or none for TensorRT.
    """
    shifts, found = shifts_of(path), _onnx_facts.scales(path)
    activations = {name: (scale, zero - shifts.get(name, 0)) for name, (scale, zero) in found.activations.items()}
    return Scales(activations, found.weights)


def inspect(path: Path) -> Inspection:
    """Return what a file computes in where TensorRT fuses DequantizeLinear, operator and QuantizeLinear.

    Raises:
        InputError: It is no whole ONNX model.
    """
    model = _graph.read(path)
    view, facts = _rules.View(model), {entry.key: entry.value for entry in model.metadata_props}
    ops = tuple(_fact(view, node) for node in view.nodes if node.op_type not in ("QuantizeLinear", "DequantizeLinear"))
    notes = [
        "read from the graph, not from an engine: int8 where TensorRT fuses DequantizeLinear, operator, QuantizeLinear",
        "the ends are shifted by 128 codes in float, on the way into codes and out of them",
    ]
    if view.kept:
        notes.append(f"kept in float: {', '.join(sorted(view.kept))}")
    if line := facts.get(TRTEXEC):
        notes.append(f"build the engine with: {line}")
    activations = {"int8": sum(1 for _ in view.pairs("QuantizeLinear"))}
    return Inspection(str(path), "ONNX for TensorRT", ops, activations, tuple(notes))


def _fact(view: _rules.View, node: NodeProto) -> OpFact:
    weights: Counter[str] = Counter()
    for name in node.input:
        maker = view.makers.get(name)
        for source in maker.input if maker is not None and maker.op_type == "DequantizeLinear" else (name,):
            if (constant := view.constants.get(source)) is not None and constant.ndim:
                weights[str(constant.dtype)] += constant.nbytes
    arithmetic = "float32"
    if node.op_type in _MOVING or _rules.at_ends(node) or (view.follows(node) and view.makes_codes(node)):
        arithmetic = MOVES
    elif node.name not in view.kept and view.reads_codes(node) and view.makes_codes(node):
        arithmetic = "int8"
    return OpFact(node.name, node.op_type, arithmetic, dict(weights))
