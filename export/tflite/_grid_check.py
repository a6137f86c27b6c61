"""What TFLite's integer kernels ask of scales, and that nothing computes in float unseen: read back from a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgemat.export.tflite._reading import (
    BIAS,
    IMAGE,
    WEIGHTED,
    activations_of,
    constants_of,
    grid_of,
    kind_of,
    name_of,
    shape_of,
    stated,
    type_of,
)

SAME_SCALE = (
    *("AVERAGE_POOL_2D", "CONCATENATION", "DEPTH_TO_SPACE", "MAXIMUM", "MAX_POOL_2D", "MINIMUM", "PAD"),
    *("RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SPACE_TO_DEPTH", "SPLIT", "TRANSPOSE"),
)
"""Operators whose kernels copy, select or interpolate codes as they are."""
_ENDS = ("QUANTIZE", "DEQUANTIZE")
_SIGMOID = (float(np.float32(1.0 / 256.0)), -128)


def complaints(model: Any) -> Iterator[str]:
    """Yield what is wrong with the scales of an integer file, with the tensor.

    Args:
        model: The schema's object API, verified; its metadata says that it is an integer one.
    """
    graph, stored = model.subgraphs[0], constants_of(model)
    yield from _floats(model)
    for index in activations_of(model):
        kind, (scales, _) = type_of(graph, index), grid_of(graph, index)
        if kind == "int8" and (len(scales) != 1 or not (np.isfinite(scales) & (scales > 0)).all()):
            yield f"tensor {name_of(graph, index)}: {len(scales)} scales, expected one, positive"
    for op in graph.operators:
        kind, output = kind_of(model, op), int(op.outputs[0])
        if type_of(graph, output) != "int8":
            continue
        if kind in SAME_SCALE:
            others = [int(i) for i in (*op.inputs, *op.outputs[1:]) if type_of(graph, int(i)) == "int8"]
            yield from _unshared(graph, kind, others, output)
        if kind == "LOGISTIC" and _pair(graph, output) != _SIGMOID:
            yield f"tensor {name_of(graph, output)}: {_words(graph, output)}; LOGISTIC makes 1/256, zero point -128"
        if kind in WEIGHTED:
            yield from _weighted(model, op, stored)


def _pair(graph: Any, index: int) -> tuple[float, int] | None:
    scales, zeros = grid_of(graph, index)
    return (float(scales[0]), int(zeros[0])) if len(scales) == 1 == len(zeros) else None


def _words(graph: Any, index: int) -> str:
    pair = _pair(graph, index)
    return "no scale" if pair is None else f"scale {pair[0]:.9g}, zero point {pair[1]}"


def _unshared(graph: Any, kind: str, inputs: list[int], output: int) -> Iterator[str]:
    for index in inputs:
        if _pair(graph, index) != _pair(graph, output):
            yield (
                f"tensor {name_of(graph, output)}: {_words(graph, output)}; {kind} reads {name_of(graph, index)}: "
                f"{_words(graph, index)}, expected the same"
            )


def _weighted(model: Any, op: Any, stored: dict[int, int]) -> Iterator[str]:
    """A weight has one scale a channel and zero points 0; its bias the input's scale times these, to the bit."""
    graph, kind = model.subgraphs[0], kind_of(model, op)
    image, (place, axis) = int(op.inputs[IMAGE[kind]]), WEIGHTED[kind]
    weight, bias = int(op.inputs[place]), int(op.inputs[BIAS[kind]])
    name, channels = name_of(graph, weight), shape_of(graph, weight)[axis]
    scales, zeros = grid_of(graph, weight)
    if type_of(graph, weight) != "int8" or weight not in stored:
        yield f"weight {name} is {type_of(graph, weight).upper()}, expected constant INT8"
        return
    if len(scales) != channels or np.any(zeros) or int(graph.tensors[weight].quantization.quantizedDimension) != axis:
        yield f"weight {name}: {len(scales)} scales, expected {channels} on axis {axis} with zero points 0"
        return
    data = model.buffers[graph.tensors[weight].buffer].data
    if np.frombuffer(bytes(data), np.int8).min(initial=0) < -127:
        yield f"weight {name}: a code of -128, expected symmetric codes from -127"
    source, _ = grid_of(graph, image)
    sums, zeros = grid_of(graph, bias)
    if type_of(graph, bias) != "int32" or len(sums) != channels or np.any(zeros):
        yield f"bias {name_of(graph, bias)}: {type_of(graph, bias)} with {len(sums)} scales, expected int32, {channels}"
    elif len(source) == 1 and not np.array_equal(sums, source[0] * scales):
        bad = int((sums != source[0] * scales).sum())
        yield (
            f"bias {name_of(graph, bias)}: {bad} of {channels} scales are not those of {name_of(graph, image)} "
            f"times those of {name}"
        )


def _floats(model: Any) -> Iterator[str]:
    """Every float tensor belongs to an end that the precision states, or to a node that the grid keeps in float."""
    graph, facts = model.subgraphs[0], stated(model)
    kept = set(facts.get("kept", {}).values())
    allowed = set()
    if facts.get("precision") != "int8":
        allowed |= {int(graph.inputs[0]), int(graph.outputs[0])}
    for op in graph.operators:
        if kind_of(model, op) not in _ENDS and name_of(graph, int(op.outputs[0])).partition("#")[0] in kept:
            allowed |= {int(i) for i in (*op.inputs, *op.outputs)}
    for op in graph.operators:
        for index in dict.fromkeys(map(int, (*op.inputs, *op.outputs))):
            if index in allowed or not type_of(graph, index).startswith("float"):
                continue
            allowed.add(index)  # said once
            maker = name_of(graph, int(op.outputs[0]))
            yield (
                f"tensor {name_of(graph, index)} is {type_of(graph, index).upper()} in an integer file: "
                f"{kind_of(model, op)} (writes {maker}) computes or converts in float"
            )
