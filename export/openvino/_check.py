"""Read an IR back: interface, scales, stored weights, and that OpenVINO computes in integers where the file says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgemat.export.openvino import _ir, _readback
from edgemat.export.openvino._adapt import QUANTIZE, ends_of
from edgemat.export.openvino._execution import inspect
from edgemat.export.openvino._ir import Ir
from edgemat.inspection import FLOATS, Inspection
from edgemat.quantize.grid import QParams

REQUIRED = ("name", "version", "author", "license", "description", "input", "output", "precision")
"""Facts of every file."""
PRECISIONS = ("fp32", "int8")


def check(path: Path) -> tuple[str, ...]:
    """Return what is wrong with an IR.

    Raises:
        InputError: It is no whole IR, or OpenVINO refuses it.
    """
    ir = _ir.read(path)
    found = [*_interface(ir), *_stated(ir)]
    if ir.facts.get("precision") == "int8":
        found += [*_bounds(ir), *_weights(ir), *_floats(ir, inspect(path))]
    return tuple(found)


def _interface(ir: Ir) -> Iterator[str]:
    ends = [(layer.names, layer.output) for layer in ir.layers.values() if layer.kind == "Parameter"]
    ends += [
        (ir.layers[i].names, ir.layers[i].output)
        for layer in ir.layers.values()
        if layer.kind == "Result"
        for i in layer.inputs
    ]
    for name, channels, found in zip(("image", "alpha"), (3, 1), [*ends, ((), None), ((), None)], strict=False):
        names, output = found
        shape, kind = output or ((), "")
        if name not in names or kind != "FP32" or len(shape) != 4 or shape[:2] != (1, channels):
            yield f"found {', '.join(names) or 'no tensor'} {kind} {shape}, expected {name} FP32 (1, {channels}, H, W)"
    if len(ends) != 2:
        yield f"{len(ends)} inputs and outputs, expected image and alpha"


def _stated(ir: Ir) -> Iterator[str]:
    for key in REQUIRED:
        if not ir.facts.get(key):
            yield f"facts: {key} is missing"
    if ir.facts.get("precision") not in PRECISIONS:
        yield f"facts: precision is {ir.facts.get('precision')!r}, expected one of {', '.join(PRECISIONS)}"


def _bounds(ir: Ir) -> Iterator[str]:
    """Yield a line for each tensor whose layer has other bounds than its stated scale, or other codes than 256."""
    stated = ir.facts.get("scales", {})
    found = {layer.name.removesuffix(QUANTIZE): layer for layer in ir.layers.values() if layer.kind == "FakeQuantize"}
    for tensor, layer in found.items():
        if tensor not in stated:
            yield f"{tensor}: a FakeQuantize without a stated scale"
            continue
        ends = ends_of(QParams(stated[tensor][0], int(stated[tensor][1])))
        low, high, first, last = (float(ir.constant(i)) for i in layer.inputs[1:5])  # type: ignore[arg-type]
        if (low, high) != (float(ends[0]), float(ends[1])):
            yield f"{tensor}: bounds {low:.9g} to {high:.9g}, expected {ends[0]:.9g} to {ends[1]:.9g} of its scale"
        if (first, last) not in ((low, high), (0.0, 255.0)) or layer.data.get("levels") != "256":
            steps = layer.data.get("levels")
            yield f"{tensor}: becomes {first:.9g} to {last:.9g} in {steps} steps, expected its own bounds in 256"
    for tensor, (scale, zero) in stated.items():
        made = _readback.dequantized(ir, tensor)
        if made not in (None, (float(np.float32(scale)), zero)):
            yield f"{tensor}: its codes become reals by {made}, expected {(scale, zero)}"


def _weights(ir: Ir) -> Iterator[str]:
    for layer in ir.layers.values():
        if layer.kind in _readback.CONVOLUTIONS and layer.name not in ir.facts.get("kept", ()):
            factor = _readback.weight_of(ir, layer.inputs[1])
            codes = None if factor is None else ir.constant(ir.layers[ir.layers[factor].inputs[0]].inputs[0])
            if codes is None or codes.dtype != np.int8:
                yield f"{layer.name}: its weight is not stored in int8"


def _floats(ir: Ir, found: Inspection) -> Iterator[str]:
    """Yield a line for each operator that OpenVINO computes in float although the grid keeps none there."""
    for op in found.ops:
        if op.arithmetic in FLOATS and op.name not in ir.facts.get("kept", ()):
            yield (
                f"{op.name}: OpenVINO computes this {op.kind} in {op.arithmetic}, not in int8; "
                f"leave it in float with edgemat quantize --keep {op.name}"
            )
