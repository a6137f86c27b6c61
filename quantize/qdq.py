"""State a grid in ONNX: QuantizeLinear and DequantizeLinear at every tensor, integer weights and biases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgemat.errors import InputError
from edgemat.quantize import graph as graphs
from edgemat.quantize import rules
from edgemat.quantize.graph import Graph
from edgemat.quantize.grid import Grid, bias_codes, bias_scales, weight_codes, weight_reals
from edgemat.quantize.rules import Unit

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

CODES, REAL, FLOAT, BIAS = "#codes", "#real", "#float", "#bias"
"""Endings: the codes of a tensor; the reals of the graph's input after its codes; a tensor before it became codes; a
bias, after the name of what its operator made before any activation."""
SCHEME, KEPT, CLIPS = "edgemat.scheme", "edgemat.kept", "edgemat.clips"
"""Keys of the model's metadata: the scheme; nodes kept in float; where the Clips end that saturation does (if any)."""
ENDS = "edgemat.ends"
"""Key of the ends' scales and zero points, for a file whose input and output are codes."""


def insert(model: ModelProto, grid: Grid, origin: str = "the trunk") -> ModelProto:
    """Return a float model with a grid stated at every tensor.

    A tensor ``T`` of the trunk becomes ``T#float`` (before), ``T#codes`` and again ``T`` (what the codes stand for), so
    that names still match; the input's reals after its codes are ``image#real``. Activations that saturation does are
    left out (`rules.is_absorbed`). A weight ``W`` is the dequantized ``W#codes``.

    Args:
        model: Float32, opset 18, fixed shapes, every weight an initializer.
        grid: Its scales; every rule of `edgemat.quantize.rules` must hold.
        origin: The file, for errors.

    Raises:
        UnsupportedOpError: Nodes that cannot be quantized, all of them.
        InputError: The grid breaks a rule; the tensors are named.
    """
    import onnx

    graph = graphs.of(model, origin)
    rules.refuse(graph, grid.kept, origin)
    wrong = rules.complaints(graph, grid)
    if wrong:
        raise InputError(
            f"{origin}: its integer grid breaks {len(wrong)} rules; quantize it again with: edgemat quantize"
            + rules.first(wrong)
        )
    writer = _Writer(graph, grid)
    for name in graph.inputs:
        writer.quantize(name, name, name + REAL)
    for unit in rules.units(graph):
        writer.unit(unit, model)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    result.graph.node.extend(writer.nodes)
    result.graph.initializer.extend(writer.tensors.values())
    facts = {entry.key: entry.value for entry in model.metadata_props}
    facts |= {SCHEME: grid.scheme.name, KEPT: json.dumps(sorted(grid.kept))}
    if writer.clips:
        facts[CLIPS] = json.dumps(writer.clips, sort_keys=True)
    onnx.helper.set_model_props(result, facts)
    result = onnx.shape_inference.infer_shapes(result, check_type=True, strict_mode=True, data_prop=True)
    onnx.checker.check_model(result, full_check=True)
    return result


def with_stored_weights(model: ModelProto, grid: Grid) -> ModelProto:
    """Return a float model whose weights are what their codes stand for: integers stored, floats computed.

    Args:
        model: Float32; biases and activations stay as they are.
        grid: Its weights' scales.
    """
    import onnx
    from onnx import numpy_helper

    result = onnx.ModelProto()
    result.CopyFrom(model)
    axes = {unit.weight: rules.WEIGHTED[unit.node.op] for unit in rules.units(graphs.of(model)) if unit.weight}
    for tensor in result.graph.initializer:
        if tensor.name in grid.weights:
            scales, axis = grid.weights[tensor.name], axes[tensor.name]
            codes = weight_codes(numpy_helper.to_array(tensor), scales, axis, grid.scheme)
            tensor.CopyFrom(numpy_helper.from_array(weight_reals(codes, scales, axis), tensor.name))
    return result


def with_byte_ends(model: ModelProto) -> ModelProto:
    """Return a Q/DQ model whose input and output are the codes themselves: 8-bit pixels in, 8-bit alpha out.

    Args:
        model: Of `insert`, on an asymmetric grid.
    """
    import onnx
    from onnx import numpy_helper

    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    image, alpha = graph.input[0].name, graph.output[0].name
    first = next(n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == image)
    last = next(n for n in graph.node if n.output[0] == alpha)
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    ends = {e: [float(values[n.input[1]]), int(values[n.input[2]])] for e, n in ((image, first), (alpha, last))}
    graph.node.remove(first)
    graph.node.remove(last)
    renamed = {first.output[0]: image, last.input[0]: alpha}
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in (graph.input[0], graph.output[0]):
        value.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    del graph.value_info[:]
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(result, facts | {ENDS: json.dumps(ends)})
    result = onnx.shape_inference.infer_shapes(result, check_type=True, strict_mode=True, data_prop=True)
    onnx.checker.check_model(result, full_check=True)
    return result


class _Writer:
    """Collects nodes and tensors."""

    def __init__(self, graph: Graph, grid: Grid) -> None:
        self.graph, self.grid = graph, grid
        self.nodes: list[NodeProto] = []
        self.tensors: dict[str, TensorProto] = {}
        self.clips: dict[str, float] = {}

    def constant(self, name: str, value: graphs.Array) -> str:
        from onnx import numpy_helper

        self.tensors[name] = numpy_helper.from_array(value, name)
        return name

    def quantize(self, source: str, tensor: str, result: str) -> None:
        """Append the pair that takes ``source`` to the tensor's codes and these to ``result``."""
        from onnx import helper

        params = self.grid.activations[tensor]
        kind = np.uint8 if params.low == 0 else np.int8
        ends = [
            self.constant(f"{tensor}#scale", np.array(params.scale, np.float32)),
            self.constant(f"{tensor}#zero_point", np.array(params.zero_point, kind)),
        ]
        codes = tensor + CODES
        self.nodes.append(helper.make_node("QuantizeLinear", [source, *ends], [codes], f"{tensor}#quantize"))
        self.nodes.append(helper.make_node("DequantizeLinear", [codes, *ends], [result], f"{tensor}#dequantize"))

    def _dequantized(self, name: str, codes: graphs.Array, scales: graphs.Array, axis: int) -> str:
        """Append a constant's codes with what gives their reals, and return the reals' name."""
        from onnx import helper

        inputs = [
            self.constant(name + CODES, codes),
            self.constant(f"{name}#scale", scales),
            self.constant(f"{name}#zero_point", np.zeros(scales.shape, codes.dtype)),
        ]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [name], f"{name}#dequantize", axis=axis))
        return name

    def unit(self, unit: Unit, model: ModelProto) -> None:
        """Append a unit with its pair."""
        import onnx

        protos = {node.output[0]: node for node in model.graph.node}
        node = onnx.NodeProto()
        node.CopyFrom(protos[unit.node.outputs[0]])
        inputs = [name + REAL if name in self.graph.inputs else name for name in node.input]
        integer = unit.node.name not in self.grid.kept
        if unit.weight and integer:
            inputs[1:] = self._parameters(unit)
        made = {result for earlier in self.nodes for result in earlier.output}
        for name in sorted(set(inputs) & set(self.graph.constants) - made):
            self.constant(name, self.graph.constants[name])
        node.input[:] = inputs
        self.nodes.append(node)
        before = unit.output + FLOAT
        if unit.activation is None or (integer and rules.is_absorbed(unit, self.grid.activations[unit.output])):
            node.output[0] = before
            bound = None if unit.activation is None else rules.upper_bound(self.graph, unit.activation)
            if bound is not None and np.isfinite(bound):
                self.clips[unit.output] = bound
        else:
            follower = onnx.NodeProto()
            follower.CopyFrom(protos[unit.output])
            for name in filter(None, follower.input[1:]):
                self.constant(name, self.graph.constants[name])
            follower.output[0] = before
            self.nodes.append(follower)
        self.quantize(before, unit.output, unit.output)

    def _parameters(self, unit: Unit) -> Iterator[str]:
        """Append a weight and a bias, and yield the names of their reals."""
        axis = rules.WEIGHTED[unit.node.op]
        scales, weight = self.grid.weights[unit.weight], self.graph.constants[unit.weight]
        if unit.weight + CODES not in self.tensors:
            self._dequantized(unit.weight, weight_codes(weight, scales, axis, self.grid.scheme), scales, axis)
        yield unit.weight
        if unit.bias:
            accumulator = bias_scales(self.grid.activations[unit.inputs[0]], scales)
            codes = bias_codes(self.graph.constants[unit.bias], accumulator)
            # named after the unit: convolutions may share a bias, but not the scale of their accumulators
            yield self._dequantized(unit.node.outputs[0] + BIAS, codes, accumulator, 0)
