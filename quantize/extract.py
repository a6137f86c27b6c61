"""Read a Q/DQ ONNX file, ours or another tool's, back into a float graph and the scales that it states.

Inverse of `edgemat.quantize.qdq.insert`: what that wrote comes back so that inserting it again gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.quantize import graph as graphs
from edgemat.quantize import qdq, rules
from edgemat.quantize._pairs import Pairs, StatedWeight
from edgemat.quantize.graph import Graph
from edgemat.quantize.grid import QParams
from edgemat.quantize.scheme import Scheme

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

PASSPORT = "edgemat.passport"
"""Key of a Q/DQ model's metadata: where its ranges come from, as JSON."""
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear")
_WORDS = ("QLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
_BOUNDS = (1.0, 6.0)
"""Where the Clips end that saturation may stand for; any other range that starts at 0 stands for a Relu."""
_CLOSE = 1e-5


@dataclass(frozen=True, eq=False)
class Extracted:
    """What a Q/DQ file holds.

    Attributes:
        model: The float graph: no pair left, constants as float32, each activation that saturation did put back.
        graph: The same, read.
        scheme: The file's own word, or what its types and zero points amount to.
        kept: Nodes that the file's own word keeps in float.
        activations: Tensor name to every scale that the file states for it, in the file's codes.
        weights: Weight name to what the file states of it.
        passport: Where its ranges come from, if it says so.
    """

    model: ModelProto
    graph: Graph
    scheme: Scheme
    kept: frozenset[str]
    activations: Mapping[str, tuple[QParams, ...]]
    weights: Mapping[str, StatedWeight]
    passport: Mapping[str, object]


def is_quantized(model: ModelProto) -> bool:
    """Return whether a model has QuantizeLinear or DequantizeLinear nodes."""
    return any(node.op_type in _QUANTIZED for node in model.graph.node)


def extract(model: ModelProto, origin: str = "the model") -> Extracted:
    """Take a Q/DQ graph apart.

    Args:
        model: Opset 18 or so, fixed shapes, float32 between the pairs.
        origin: The file, for errors.

    Raises:
        InputError: It holds no pair; a scale is no constant; or a DequantizeLinear reads what no QuantizeLinear made.
        UnsupportedOpError: It holds operators that compute on codes (QLinearConv and the like).
    """
    if not is_quantized(model):
        raise InputError(
            f"{origin}: holds no QuantizeLinear, expected a Q/DQ model; quantize it with: edgemat quantize"
        )
    whole = [n for n in model.graph.node if n.op_type.startswith(_WORDS)]
    if whole:
        lines = [f"node {n.name or n.output[0]}: {n.op_type}" for n in whole]
        head = f"{origin}: {len(whole)} operators on codes; save it with QuantizeLinear/DequantizeLinear pairs instead"
        raise UnsupportedOpError("\n  ".join([head, *lines[:10]]))
    facts = {entry.key: entry.value for entry in model.metadata_props}
    pairs = Pairs(_without_idle_clips(model), origin)
    activations = {name: tuple(dict.fromkeys(found)) for name, found in pairs.activations.items()}
    _put_back(pairs, activations, json.loads(facts.get(qdq.CLIPS, "{}")))
    result = _assembled(model, pairs)
    graph = graphs.of(result, origin)
    _carry_over(graph, activations)
    stated = facts.get(qdq.SCHEME)
    scheme = Scheme.parse(stated) if stated else _scheme(pairs, graph)
    kept, passport = json.loads(facts.get(qdq.KEPT, "[]")), json.loads(facts.get(PASSPORT, "{}"))
    return Extracted(result, graph, scheme, frozenset(kept), activations, dict(pairs.weights), passport)


def _without_idle_clips(model: ModelProto) -> ModelProto:
    """Return the model without Clips that have no bounds: they only keep a runtime from fusing what is around them."""
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    idle = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Clip" and not any(n.input[1:])}
    kept = [node for node in result.graph.node if node.output[0] not in idle]
    for node in kept:
        node.input[:] = [idle.get(name, name) for name in node.input]
    del result.graph.node[:]
    result.graph.node.extend(kept)
    return result


def _put_back(pairs: Pairs, activations: Mapping[str, tuple[QParams, ...]], clips: Mapping[str, float]) -> None:
    """Append the Relu or Clip that saturation did: where an operator that fuses one makes codes that start at 0."""
    from onnx import helper

    nodes: list[NodeProto] = []
    for node in pairs.nodes:
        nodes.append(node)
        tensor, name = node.output[0], node.output[0]
        for place, read in enumerate(node.input):
            if read.endswith(qdq.BIAS):  # ours: named after the tensor before the activation
                name = read.removesuffix(qdq.BIAS)
                node.input[place] = pairs.renamed(read, f"{name}.bias")
        stated = activations.get(tensor, ())
        if node.op_type not in rules.FUSING or not stated or any(p.zero_point != p.low for p in stated):
            continue
        if {reader.op_type for reader in pairs.nodes if tensor in reader.input} in ({"Relu"}, {"Clip"}):
            continue  # stated before the activation, which is still there
        before = name if name != tensor else f"{tensor}.before"
        node.output[0] = before
        bound = clips.get(tensor) or next((b for b in _BOUNDS if abs(stated[0].top - b) <= _CLOSE * b), None)
        if bound is None:
            nodes.append(helper.make_node("Relu", [before], [tensor], tensor))
            continue
        ends = [pairs.add(f"{tensor}.min", np.float32(0.0)), pairs.add(f"{tensor}.max", np.float32(bound))]
        nodes.append(helper.make_node("Clip", [before, *ends], [tensor], tensor))
    pairs.nodes[:] = nodes


def _assembled(model: ModelProto, pairs: Pairs) -> ModelProto:
    """Return the float model of what is left."""
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    result.graph.node.extend(pairs.nodes)
    read = {name for node in pairs.nodes for name in node.input}
    result.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in pairs.constants.items() if name in read
    )
    facts = {entry.key: entry.value for entry in model.metadata_props}
    for key in (qdq.SCHEME, qdq.KEPT, qdq.CLIPS, PASSPORT):
        facts.pop(key, None)
    onnx.helper.set_model_props(result, facts)
    return result


def _carry_over(graph: Graph, activations: dict[str, tuple[QParams, ...]]) -> None:
    """Move a scale stated before a Relu behind it, where saturation makes both the same; drop other inner tensors."""
    for unit in rules.units(graph):
        if unit.activation is None:
            continue
        before = activations.pop(unit.node.outputs[0], ())
        if unit.output not in activations and before and all(p.zero_point == p.low for p in before):
            activations[unit.output] = before
    for name in set(activations) - set(rules.tensors(graph)):
        del activations[name]


def _scheme(pairs: Pairs, graph: Graph) -> Scheme:
    """Return what the types amount to: symmetric where every tensor between the ends is int8 with zero point 0."""
    ends = {*graph.inputs, *graph.outputs}
    inner = [p for name, stated in pairs.activations.items() if name not in ends for p in stated]
    symmetric = bool(inner) and all(p.low < 0 and p.zero_point == 0 for p in inner)
    narrow = bool(pairs.weights) and all(weight.bits == 4 for weight in pairs.weights.values())
    return Scheme(weight_bits=4 if narrow else 8, symmetric=symmetric)
