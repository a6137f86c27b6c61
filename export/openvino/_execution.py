"""What OpenVINO's CPU really executes for an IR, operator by operator, beside what the file stores."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edgemat.export import _isolated
from edgemat.export.openvino import _ir, _readback
from edgemat.export.openvino._ir import Ir
from edgemat.export.openvino._write import BACKEND, GRAPH
from edgemat.inspection import MOVES, Inspection, OpFact

_SKIPPED = ("Const", "Input", "Output")
_MOVING = ("Concat", "Convert", "Gather", "Pad", "Reorder", "Reshape", "ShapeOf", "SpaceToDepth", "DepthToSpace",
           "Transpose", "Slice", "StridedSlice", "Split")  # fmt: skip
_INTEGERS = ("u8", "i8")
_KINDS = {"f32": "float32", "f16": "float16", "bf16": "float16"}
_BETWEEN = ("FakeQuantize", "Convert", "Multiply", "Subtract", "Maximum", "Clamp")
"""Layers that make codes or reals of each other, where one of their operands is a constant."""


def inspect(path: Path) -> Inspection:
    """Return what OpenVINO's CPU plugin executes, in its order.

    Raises:
        InputError: It is no whole IR, or OpenVINO refuses it.
        IsolatedError: OpenVINO crashed.
    """
    ir = _ir.read(path)
    found, _ = _isolated.call(f"{BACKEND}:execution", {"path": str(path / GRAPH)})
    ops = tuple(_fact(ir, op) for op in found["operators"] if op["kind"] not in _SKIPPED)
    stored: Counter[str] = Counter()
    for op in found["operators"]:
        if op["kind"] not in _SKIPPED:
            stored.update("int8" if kind in _INTEGERS else _KINDS.get(kind, kind) for kind in op["outputs"])
    notes = [f"as OpenVINO {found['version']} executes it on this CPU; another plugin or CPU chooses its own kernels"]
    if stored["int8"] and stored["float32"]:
        notes.append("a convolution before an addition leaves whole codes in float32, for the addition to read")
    if kept := ir.facts.get("kept"):
        notes.append(f"kept in float: {', '.join(kept)}")
    return Inspection(str(path), "OpenVINO IR", ops, dict(stored), tuple(notes))


def _fact(ir: Ir, op: dict[str, Any]) -> OpFact:
    named = {layer.name: identity for identity, layer in ir.layers.items()}
    identities = [named[name] for name in op["layers"] if name in named]
    weights: Counter[str] = Counter()
    for identity in identities:
        weights.update(_weights(ir, identity))
    computing = [i for i in identities if not _converts(ir, i)]
    name = ir.layers[computing[0]].name if computing else (op["layers"] or [op["kind"]])[0]
    kind = ir.layers[computing[0]].kind if computing else op["kind"]
    return OpFact(name, kind, _arithmetic(op, bool(computing)), dict(weights))


def _weights(ir: Ir, identity: int) -> dict[str, int]:
    """Return the bytes of the constants that a layer reads, directly or as codes, by type."""
    sizes: Counter[str] = Counter()
    layer = ir.layers[identity]
    if layer.kind in ("FakeQuantize", "Maximum", "Interpolate"):
        return {}
    for source in layer.inputs:
        factor = _readback.weight_of(ir, source)
        held = (
            (source,)
            if factor is None
            else (ir.layers[ir.layers[factor].inputs[0]].inputs[0], *ir.layers[factor].inputs)
        )
        for value in (ir.constant(i) for i in held):
            if value is not None:
                sizes[str(value.dtype)] += value.nbytes
    return dict(sizes)


def _converts(ir: Ir, identity: int) -> bool:
    """Return whether a layer only makes codes or reals of its one input."""
    layer = ir.layers[identity]
    return layer.kind in _BETWEEN and sum(ir.constant(i) is None for i in layer.inputs) == 1


def _arithmetic(op: dict[str, Any], computes: bool) -> str:
    """Return what an executed operator computes in.

    A convolution multiplies what it reads. Anything else reads codes or their reals, and rounds to codes itself: it is
    an integer operator where its implementation is, or its output.
    """
    if op["kind"] in _MOVING or not computes:
        return MOVES
    reads = op["precision"] if op["kind"] in ("Convolution", "Deconvolution", "FullyConnected") else op["outputs"][0]
    if reads in _INTEGERS or op["precision"] in _INTEGERS:
        return "int8"
    return _KINDS.get(op["precision"], "float32")
