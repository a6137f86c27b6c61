"""Read from an ONNX file what each operator computes in, which tensors carry codes, and on which scales."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.export import _graph
from edgemat.export._target import Scales
from edgemat.inspection import MOVES, Inspection, OpFact
from edgemat.quantize import qdq

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_PAIR = ("QuantizeLinear", "DequantizeLinear")
_MOVING = (*_PAIR, "Cast", "Concat", "DepthToSpace", "Identity", "MaxPool", "Pad", "Relu", "Clip", "SpaceToDepth")
_FOLLOWERS = ("Relu", "Clip", "Max", "Min")


def inspect(path: Path) -> Inspection:
    """Return what an ONNX file computes in: an operator between DequantizeLinear and QuantizeLinear is an integer one.

    Raises:
        InputError: It is no whole ONNX model.
    """
    model = _graph.read(path)
    reads = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    sizes = {t.name: (_kind(t.data_type), _graph.size_of(t)) for t in model.graph.initializer}
    float_type, constants = _float_type(model), set(sizes)
    activations: Counter[str] = Counter()
    ops = []
    for node in model.graph.node:
        if node.op_type in _PAIR:
            activations["int8"] += node.op_type == "QuantizeLinear" and node.input[0] not in constants
            continue
        between = _is_between(node, reads, readers, constants)
        if not between and node.op_type not in _FOLLOWERS:
            activations[float_type] += 1
        weights: Counter[str] = Counter()
        for name in node.input:
            source = reads.get(name)
            for constant in source.input if source is not None and source.op_type in _PAIR else (name,):
                if constant in sizes:
                    weights[sizes[constant][0]] += sizes[constant][1]
        arithmetic = MOVES if node.op_type in _MOVING else float_type
        if arithmetic != MOVES and between:
            arithmetic = "int8"
        ops.append(OpFact(node.name or node.output[0], node.op_type, arithmetic, dict(weights)))
    return Inspection(str(path), "ONNX", tuple(ops), dict(+activations), _notes(model))


def _is_between(
    node: NodeProto, makers: dict[str, NodeProto], readers: dict[str, list[NodeProto]], constants: set[str]
) -> bool:
    """Return whether a node reads only codes' reals and all that it makes becomes codes, perhaps after a Relu."""
    for name in filter(None, node.input):
        maker = makers.get(name)
        if name in constants and node.op_type not in ("Conv", "ConvTranspose", "Add", "Sub", "Mul", "Div"):
            continue
        if maker is None or maker.op_type != "DequantizeLinear":
            return False
    following = list(readers.get(node.output[0], ()))
    while following and all(n.op_type in _FOLLOWERS for n in following):
        following = [n for f in following for n in readers.get(f.output[0], ())]
    return bool(following) and all(n.op_type == "QuantizeLinear" for n in following)


def _kind(data_type: int) -> str:
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(data_type))


def _float_type(model: ModelProto) -> str:
    """Return the type that a float file's weights are stored in."""
    kinds = {_kind(t.data_type) for t in model.graph.initializer}
    return "float16" if "float16" in kinds else "float32"


def _notes(model: ModelProto) -> tuple[str, ...]:
    facts = {entry.key: entry.value for entry in model.metadata_props}
    kept = json.loads(facts.get(qdq.KEPT, "[]"))
    notes = ["int8 where the runtime fuses DequantizeLinear, operator and QuantizeLinear into one"]
    return (*notes, f"kept in float: {', '.join(kept)}") if kept else tuple(notes)


def scales(path: Path) -> Scales:
    """Return the scales that a Q/DQ file states, under the trunk's names.

    Raises:
        InputError: It is no whole ONNX model.
    """
    from onnx import numpy_helper

    model = _graph.read(path)
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    facts = {entry.key: entry.value for entry in model.metadata_props}
    activations = {name: (scale, zero) for name, (scale, zero) in json.loads(facts.get(qdq.ENDS, "{}")).items()}
    weights = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.output[0].endswith(qdq.CODES):
            scale, zero = values[node.input[1]], values[node.input[2]]
            activations[node.output[0].removesuffix(qdq.CODES)] = (float(scale), int(zero))
        elif node.op_type == "DequantizeLinear" and node.input[0] in values and values[node.input[0]].dtype == "int8":
            weights[node.output[0]] = values[node.input[1]]
    return Scales(activations, weights)
