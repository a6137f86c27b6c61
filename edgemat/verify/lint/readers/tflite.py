"""Read a .tflite file."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgemat.verify.lint.facts import MAY, Facts, Op, Quantization, Resize, Value, Weighted, plain
from edgemat.verify.lint.readers import words
from edgemat.verify.lint.readers.onnx import reals

_OPTIONS = (
    *("blockSize", "padding", "strideH", "strideW", "dilationHFactor", "dilationWFactor", "depthMultiplier", "mode"),
    *("alignCorners", "halfPixelCenters", "fusedActivationFunction", "axis", "beta", "keepDims", "filterHeight"),
    *("filterWidth", "ellipsisMask", "newAxisMask", "shrinkAxisMask", "numSplits"),
)
_RESIZES = {"RESIZE_BILINEAR": "linear", "RESIZE_NEAREST_NEIGHBOR": "nearest"}


def read(path: Path) -> Facts:
    """Return what a .tflite file holds.

    Raises:
        InputError: It is no whole .tflite file.
    """
    from edgemat.export.tflite import _reading

    model = _reading.verified(path)
    graph = model.subgraphs[0]
    values = {value.name: value for value in (_value(model, i) for i in range(len(graph.tensors)))}
    names = [_reading.name_of(graph, i) for i in range(len(graph.tensors))]
    ops = tuple(_op(model, op, names) for op in graph.operators)
    held = {op.outputs[0]: op.inputs[0] for op in ops if _widens(op, values)}
    facts = _stated(model)
    return Facts(
        file=path.name,
        artefact="TFLite",
        form="TFLite",
        ops=tuple(op for op in ops if op.outputs[0] not in held),
        values=values,
        inputs=tuple(names[int(i)] for i in graph.inputs),
        outputs=tuple(names[int(i)] for i in graph.outputs),
        resizes=tuple(_resizes(ops, values)),
        weighted=tuple(_weighted(ops, values, held, _orders(model, names))),
        described=_described(model, path),
        half=MAY,  # the GPU delegate computes in float16 unless it is told not to
        flexible=dict(_flexible(graph, names)),
        kept=tuple(facts.get("kept", {})),
    )


def _stated(model: Any) -> dict[str, Any]:
    from edgemat.export.tflite import _reading

    try:
        return _reading.stated(model)
    except (ValueError, json.JSONDecodeError):
        return {}


def _value(model: Any, index: int) -> Value:
    from edgemat.export.tflite import _reading

    graph = model.subgraphs[0]
    kind = _reading.type_of(graph, index)
    shape: tuple[int | str, ...] = _reading.shape_of(graph, index)
    signature = graph.tensors[index].shapeSignature
    if signature is not None and len(signature) == len(shape):
        shape = tuple("?" if int(s) < 0 else n for s, n in zip(signature, shape, strict=True))
    scales, zeros = _reading.grid_of(graph, index)
    grid = None
    if scales.size and np.dtype(kind).kind in "iu":
        grid = Quantization(scales, zeros, int(graph.tensors[index].quantization.quantizedDimension), kind)
    data = model.buffers[graph.tensors[index].buffer].data
    constant = None
    fixed = _reading.shape_of(graph, index)
    if data is not None and len(data) and shape == fixed and kind in _NUMBERS:
        content = np.frombuffer(bytes(data), np.dtype(kind))
        constant = content.reshape(fixed) if content.size == math.prod(fixed) else None
    return Value(_reading.name_of(graph, index), kind, shape, grid, constant)


_NUMBERS = ("float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64")


def _op(model: Any, op: Any, names: list[str]) -> Op:
    from edgemat.export.tflite import _reading

    options = op.builtinOptions
    stated = {key: getattr(options, key) for key in _OPTIONS if hasattr(options, key)}
    code = model.operatorCodes[op.opcodeIndex]
    inputs = tuple("" if int(i) < 0 else names[int(i)] for i in op.inputs)
    outputs = tuple(names[int(i)] for i in op.outputs)
    return Op(outputs[0], _reading.kind_of(model, op), inputs, outputs, {**stated, "version": int(code.version or 1)})


def _widens(op: Op, values: dict[str, Value]) -> bool:
    """Return whether an operator only makes float32 of a constant."""
    return op.kind == "DEQUANTIZE" and values[op.inputs[0]].constant is not None


def _flexible(graph: Any, names: list[str]) -> Iterator[tuple[str, str]]:
    for index in map(int, graph.inputs):
        signature = graph.tensors[index].shapeSignature
        if signature is not None and any(int(size) < 0 for size in signature):
            yield names[index], f"shape signature {[int(size) for size in signature]}"


def _resizes(ops: tuple[Op, ...], values: dict[str, Value]) -> Iterator[Resize]:
    for op in ops:
        if op.kind not in _RESIZES:
            continue
        corners, centres = op.attributes.get("alignCorners"), op.attributes.get("halfPixelCenters")
        coordinates = "align_corners" if corners else "half_pixel" if centres else "asymmetric"
        mode = _RESIZES[op.kind]
        # TFLite cuts (i + 0.5) * scale, which is ONNX's half pixel, rounded up at the middle
        rounding = ("round_prefer_ceil" if corners or centres else "floor") if mode == "nearest" else ""
        before, after = (_size(values[name]) for name in (op.inputs[0], op.outputs[0]))
        computed = values[op.inputs[1]].constant is None
        yield Resize(op.label, plain(op.outputs[0]), mode, coordinates, rounding, before, after, None, computed)


def _size(value: Value) -> tuple[int, int] | None:
    shape = value.shape
    if shape is None or len(shape) != 4 or not isinstance(shape[1], int) or not isinstance(shape[2], int):
        return None
    return shape[1], shape[2]


def _orders(model: Any, names: list[str]) -> dict[str, Any]:
    """Return the tensors whose channels lie in another order than the trunk's, with what sorts them."""
    from edgemat.export.tflite import _reading

    try:
        return {names[index]: np.argsort(order) for index, order in _reading.orders_of(model).items()}
    except (KeyError, IndexError, AttributeError):  # a file of another tool that happens to use the mark
        return {}


def _weighted(
    ops: tuple[Op, ...], values: dict[str, Value], held: dict[str, str], orders: dict[str, Any]
) -> Iterator[Weighted]:
    from edgemat.export.tflite import _reading

    for op in ops:
        if op.kind not in _reading.WEIGHTED:
            continue
        place, _ = _reading.WEIGHTED[op.kind]
        value = values[held.get(op.inputs[place], op.inputs[place])]
        if value.constant is None or value.constant.ndim != 4:
            continue
        weight = value.constant.astype(np.float32)
        if value.quantization is not None:
            weight = reals(value.constant, value.quantization)
        weight, kind, attributes = _as_onnx(op, weight, values)
        where = _reading.BIAS[op.kind]
        bias = values[op.inputs[where]] if where < len(op.inputs) and op.inputs[where] else None
        added = None if bias is None or bias.constant is None else bias.constant
        if bias is not None and added is not None and bias.quantization is not None:
            added = reals(added, bias.quantization)
        grid, order = value.quantization, orders.get(op.outputs[0])
        if order is not None and kind == "Conv" and len(order) == len(weight):
            weight, added = weight[order], None if added is None else added[order]
            if grid is not None and len(grid.scales) == len(order):
                grid = dataclasses.replace(grid, scales=grid.scales[order], zeros=grid.zeros[order])
        yield Weighted(
            op.label,
            op.inputs[_reading.IMAGE[op.kind]],
            op.outputs[0],
            plain(value.name),
            kind,
            weight,
            None if added is None else added.astype(np.float32),
            attributes,
            value.kind,
            grid,
        )


def _as_onnx(op: Op, weight: Any, values: dict[str, Value]) -> tuple[Any, str, dict[str, Any]]:
    """Return a weight in ONNX's layout, ONNX's operator and its attributes."""
    get = op.attributes.get
    strides = [int(get("strideH", 1)), int(get("strideW", 1))]
    if op.kind == "TRANSPOSE_CONV":
        weight = np.ascontiguousarray(weight.transpose(3, 0, 1, 2))  # OHWI to IOHW
        sides = _transposed_pads(values, op, weight.shape[2:], strides)
        return weight, "ConvTranspose", {"strides": strides, "pads": sides}
    dilations = [int(get("dilationHFactor", 1)), int(get("dilationWFactor", 1))]
    group = 1
    if op.kind == "DEPTHWISE_CONV_2D":
        shape = values[op.inputs[0]].shape
        group = int(shape[3]) if shape is not None else weight.shape[3]
        weight = np.ascontiguousarray(weight.transpose(3, 0, 1, 2))  # 1HWO to O1HW
    else:
        weight = np.ascontiguousarray(weight.transpose(0, 3, 1, 2))  # OHWI to OIHW
    pads = [0, 0, 0, 0]
    before, after = (_size(values[name]) for name in (op.inputs[0], op.outputs[0]))
    if int(get("padding", 1)) == 0 and before and after:  # SAME
        for i in range(2):
            reach = (after[i] - 1) * strides[i] + (weight.shape[2 + i] - 1) * dilations[i] + 1
            missing = max(reach - before[i], 0)
            pads[i], pads[2 + i] = missing // 2, missing - missing // 2
    return weight, "Conv", {"strides": strides, "dilations": dilations, "group": group, "pads": pads}


def _transposed_pads(values: dict[str, Value], op: Op, kernel: Any, strides: list[int]) -> list[int]:
    before, after = (_size(values[name]) for name in (op.inputs[2], op.outputs[0]))
    if not before or not after:
        return [0, 0, 0, 0]
    cut = [max((before[i] - 1) * strides[i] + kernel[i] - after[i], 0) for i in range(2)]
    return [cut[0] // 2, cut[1] // 2, cut[0] - cut[0] // 2, cut[1] - cut[1] // 2]


def _described(model: Any, path: Path) -> dict[str, str]:
    from edgemat.errors import InputError
    from edgemat.export.tflite import _metadata, _reading

    try:
        found = _metadata.parse(_reading.metadata_of(model), str(path))
    except InputError:
        return words.described({}, "")
    stated = {key: getattr(found, key) for key in words.NAMED}
    return words.described(stated, found.input_description, range_=f"mean {found.mean[0]:g}, std {found.std[0]:g}")
