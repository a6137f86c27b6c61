"""Read an ONNX file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgemat.verify.lint.facts import HALF, NEVER, Facts, Op, Quantization, Resize, Value, Weighted, plain
from edgemat.verify.lint.readers import words

if TYPE_CHECKING:
    from onnx import ModelProto

_PAIR = ("QuantizeLinear", "DequantizeLinear")
_WINDOW = ("strides", "pads", "dilations", "group", "output_padding", "auto_pad")


def read(path: Path) -> Facts:
    """Return what an ONNX file holds.

    Raises:
        InputError: It is no whole ONNX model.
        UnsupportedOpError: It has operators outside the ONNX standard.
    """
    from edgemat.export import _graph

    return of(_graph.read(path), path.name)


def of(model: ModelProto, file: str) -> Facts:
    """Return what a model holds.

    Args:
        model: With its weights inside; its sizes may be open.
        file: As findings name it.
    """
    from edgemat.export import _graph
    from edgemat.quantize import qdq

    values, ops = _values(model), tuple(_ops(model))
    values = _quantized(ops, values)
    stated = {entry.key: entry.value for entry in model.metadata_props}
    half = any(value.kind == "float16" for value in values.values() if value.constant is not None)
    constants = {name for name, value in values.items() if value.constant is not None}
    inputs = tuple(v.name for v in model.graph.input if v.name not in constants)
    image = stated.get("input", "")
    return Facts(
        file=file,
        artefact="ONNX",
        form="ONNX",
        ops=tuple(op for op in ops if not _holds(op, constants)),
        values=values,
        inputs=inputs,
        outputs=tuple(v.name for v in model.graph.output),
        resizes=tuple(_resizes(ops, values)),
        weighted=tuple(_weighted(ops, values)),
        described=words.described({"name": model.graph.name, **stated}, image),
        half=HALF if half else NEVER,
        flexible={v.name: f"shape {_graph.shape(v)}" for v in model.graph.input if _is_open(_graph.shape(v))},
        kept=tuple(json.loads(stated.get(qdq.KEPT, "[]"))),
    )


def _is_open(shape: tuple[int | str, ...]) -> bool:
    return not shape or any(not isinstance(size, int) for size in shape)


def _values(model: ModelProto) -> dict[str, Value]:
    """Return every tensor, with the shape that inference finds."""
    import onnx

    from edgemat.export import _graph

    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError):
        inferred = model
    found = {name: Value(name) for node in model.graph.node for name in (*node.input, *node.output) if name}
    for info in (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input):
        tensor = info.type.tensor_type
        kind = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)) if tensor.elem_type else ""
        found[info.name] = Value(info.name, kind, _graph.shape(info) if tensor.HasField("shape") else None)
    for name, array in _graph.initializers(model):
        found[name] = Value(name, str(array.dtype), array.shape, None, array)
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            array = onnx.numpy_helper.to_array(node.attribute[0].t)
            found[node.output[0]] = Value(node.output[0], str(array.dtype), array.shape, None, array)
    return found


def _ops(model: ModelProto) -> Iterator[Op]:
    import onnx

    for node in model.graph.node:
        if node.op_type != "Constant":
            stated = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            attributes = {key: v.decode() if isinstance(v, bytes) else v for key, v in stated.items()}
            name = node.name or next(filter(None, node.output), "")
            yield Op(name, node.op_type, tuple(node.input), tuple(node.output), attributes)


def _holds(op: Op, constants: set[str]) -> bool:
    """Return whether an operator only makes reals of a constant's codes."""
    return op.kind in _PAIR and op.inputs[0] in constants


def _quantized(ops: tuple[Op, ...], values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the tensors, codes with their scales."""
    found = dict(values)
    for op in ops:
        if op.kind not in _PAIR:
            continue
        codes = op.outputs[0] if op.kind == "QuantizeLinear" else op.inputs[0]
        scale = values[op.inputs[1]].constant
        zero = values[op.inputs[2]] if len(op.inputs) > 2 and op.inputs[2] else None
        kind = found[codes].kind or (zero.kind if zero is not None else "uint8")
        if scale is None or (zero is not None and zero.constant is None):
            continue
        stored = np.zeros(scale.size, np.int64) if zero is None or zero.constant is None else zero.constant
        grid = Quantization(
            np.asarray(scale, np.float32).reshape(-1),
            np.asarray(stored, np.int64).reshape(-1),
            int(op.attributes.get("axis", 1)) if scale.ndim else 0,
            kind,
        )
        found[codes] = dataclasses.replace(found[codes], kind=kind, quantization=grid)
    return found


def _resizes(ops: tuple[Op, ...], values: Mapping[str, Value]) -> Iterator[Resize]:
    for op in ops:
        if op.kind not in ("Resize", "Upsample"):
            continue
        get, given = op.attributes.get, [*op.inputs, "", "", ""]
        place = 1 if op.kind == "Upsample" else 2
        factors, sizes = (values[name].constant if name else None for name in (given[place], given[3]))
        stated = None if factors is None or len(factors) != 4 else (float(factors[2]), float(factors[3]))
        mode = str(get("mode", "nearest"))
        old = op.kind == "Upsample"
        coordinates = "asymmetric" if old else str(get("coordinate_transformation_mode", "half_pixel"))
        rounding = ("floor" if old else str(get("nearest_mode", "round_prefer_floor"))) if mode == "nearest" else ""
        extras = tuple(key for key in ("antialias", "exclude_outside") if get(key, 0))
        before, after = (_size(values[name]) for name in (op.inputs[0], op.outputs[0]))
        if sizes is not None and len(sizes) == 4 and after is None:
            after = (int(sizes[2]), int(sizes[3]))
        computed = (factors is None or not factors.size) and sizes is None
        yield Resize(
            op.label, plain(op.outputs[0]), mode, coordinates, rounding, before, after, stated, computed, extras
        )


def _size(value: Value) -> tuple[int, int] | None:
    shape = value.shape
    if shape is None or len(shape) != 4 or not isinstance(shape[2], int) or not isinstance(shape[3], int):
        return None
    return shape[2], shape[3]


def _weighted(ops: tuple[Op, ...], values: Mapping[str, Value]) -> Iterator[Weighted]:
    makers = {name: op for op in ops for name in op.outputs}
    for op in ops:
        if op.kind not in ("Conv", "ConvTranspose"):
            continue
        weight, quantization, stored = _reals(op.inputs[1], makers, values)
        bias = _reals(op.inputs[2], makers, values)[0] if len(op.inputs) > 2 and op.inputs[2] else None
        if weight is None or weight.ndim != 4:
            continue
        source = makers.get(op.inputs[0])
        name = source.inputs[0] if source is not None and source.kind == "DequantizeLinear" else op.inputs[0]
        window = {key: v for key, v in op.attributes.items() if key in _WINDOW}
        yield Weighted(op.label, name, op.outputs[0], op.inputs[1], op.kind, weight, bias, window, stored, quantization)


def _reals(name: str, makers: Mapping[str, Op], values: Mapping[str, Value]) -> tuple[Any, Quantization | None, str]:
    """Return the reals of a constant, float32, the scales of its codes where it has some, and what stores it."""
    value, maker = values[name], makers.get(name)
    if value.constant is not None:
        return value.constant.astype(np.float32), None, value.kind
    if maker is None or maker.kind != "DequantizeLinear":
        return None, None, ""
    held = values[maker.inputs[0]]
    if held.constant is None or held.quantization is None:
        return None, None, ""
    return reals(held.constant, held.quantization), held.quantization, held.kind


def reals(codes: Any, quantization: Quantization) -> Any:
    """Return what codes stand for, float32."""
    shape = [-1 if i == quantization.axis % max(codes.ndim, 1) else 1 for i in range(codes.ndim)]
    if quantization.scales.size == 1:
        shape = [1] * codes.ndim
    scales, zeros = quantization.scales.reshape(shape), quantization.zeros.reshape(shape)
    return ((codes.astype(np.int64) - zeros) * scales).astype(np.float32)
