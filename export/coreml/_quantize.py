"""State an integer grid in MIL: weights as codes, and a quantize/dequantize pair at every tensor between units.

``w8`` stores weights as ``constexpr_affine_dequantize`` (iOS 16) and computes in float16. ``w8a8`` adds ``quantize``
and ``dequantize`` (iOS 17) around every unit: the form that Core ML turns into products of int8 on chips that have them
(A17 Pro, M4 and later) and runs in float16 between codes elsewhere.

Why ``w8a8`` is typed float16 although float32 would carry every scale exactly: the Neural Engine, which has the int8
path, runs no float32, so that a float32 package would be exact where int8 gains nothing. The scales are hence the
grid's, rounded to float16, by at most 2**-11; one that float16 cannot hold so well is refused. What this costs was
measured on the shipped student with a min-max grid. Every tensor is within one step of exact arithmetic on the same
inputs, but such a network magnifies single steps, most of them ties of a Resize: end to end, alpha's codes are within
one of exact arithmetic's on 94 % of the pixels in float16, on 97 % in float32. Beside a reference that rounds to
float16 wherever the file does, they agree on more than 99.9 %.

coremltools' pass that divides the scales of an addition by one of them (`UNWANTED`) is left out: quotients are rounded
once more, and no scale of the grid would be left to read there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Set
from typing import TYPE_CHECKING, Any

import numpy as np

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.quantize import graph as graphs
from edgemat.quantize import qdq, rules
from edgemat.quantize.grid import Grid, QParams, bias_codes, bias_scales, weight_codes

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgemat.quantize.graph import Graph
    from edgemat.quantize.rules import Unit

UNWANTED = ("common::distributive_quantized_binary_op_scale_normalization",)
"""Passes of coremltools that would rewrite the grid's scales."""
SAME = "edgemat.same_tensors"
"""Key of the metadata: tensors that an operation without effect makes, to the tensor whose codes they are."""
BEFORE = "#float"
"""Ending of the network's output before it became codes."""


def refuse(graph: Graph, grid: Grid, origin: str) -> None:
    """Raise unless a grid can be stated for a graph.

    Args:
        graph: The trunk's.
        grid: Its scales.
        origin: The file, for errors.

    Raises:
        UnsupportedOpError: Nodes that cannot be quantized, all of them.
        InputError: The grid breaks a rule, or float16 does not hold a scale; the tensors are named.
    """
    rules.refuse(graph, grid.kept, origin)
    wrong = rules.complaints(graph, grid)
    if wrong:
        raise InputError(
            f"{origin}: its integer grid breaks {len(wrong)} rules; quantize it again with: edgemat quantize"
            + rules.first(wrong)
        )


def refuse_scales(grid: Grid, origin: str, activations: bool) -> None:
    """Raise where float16 does not hold a scale: it overflows, or is so small that it loses digits or is flushed to 0.

    Args:
        grid: Scales of the weights, and of the tensors between units.
        origin: The file, for the error.
        activations: Whether the tensors between units become codes.

    Raises:
        InputError: With all those tensors.
    """
    limits = np.finfo(np.float16)
    scales: dict[str, graphs.Array] = dict(grid.weights)
    if activations:
        scales |= {name: np.array([params.scale], np.float32) for name, params in grid.activations.items()}
    lines = []
    for name, array in scales.items():
        bad = array[(array < limits.tiny) | (array > limits.max)]
        if bad.size:
            lines.append(f"{name}: {bad.size} of {array.size} scales, such as {bad.min():.3g}")
    if lines:
        raise InputError(
            f"{origin}: float16 holds scales from {limits.tiny:.3g} to {limits.max:g} in full, and not those of "
            f"{len(lines)} tensors; export with --precision fp16, or quantize again with larger scales"
            + rules.first(lines)
        )


def prepared(model: ModelProto, graph: Graph, grid: Grid) -> ModelProto:
    """Return a float model whose biases are what their codes stand for, without the activations that saturation does.

    A bias that several convolutions share becomes one for each, as each has its own scale. Tensors keep their names.

    Args:
        model: The trunk.
        graph: The same.
        grid: Its scales.
    """
    import onnx
    from onnx import numpy_helper

    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes = {node.output[0]: node for node in result.graph.node}
    for unit in rules.units(graph):
        if unit.node.name in grid.kept:
            continue
        node = nodes[unit.node.outputs[0]]
        if unit.bias:
            real = _bias(unit, graph, grid)
            result.graph.initializer.append(numpy_helper.from_array(real, f"{unit.node.outputs[0]}#bias"))
            node.input[2] = f"{unit.node.outputs[0]}#bias"
        if rules.is_absorbed(unit, grid.activations[unit.output]):
            result.graph.node.remove(nodes[unit.output])
            node.output[0] = unit.output
    return result


def _bias(unit: Unit, graph: Graph, grid: Grid) -> graphs.Array:
    scales = bias_scales(grid.activations[unit.inputs[0]], grid.weights[unit.weight])
    codes = bias_codes(graph.constants[unit.bias], scales)
    return (codes.astype(np.float64) * scales.astype(np.float64)).astype(np.float32)


def stored_weights(mb: Any, graph: Graph, grid: Grid, safe: Callable[[str], str]) -> Iterator[tuple[str, Any]]:
    """Yield the name of each weight of the grid with the MIL constant that holds its codes.

    Args:
        mb: coremltools' MIL builder, inside a function.
        graph: The trunk's.
        grid: Its scales.
        safe: Gives the MIL name of a weight.
    """
    axes = {unit.weight: rules.WEIGHTED[unit.node.op] for unit in rules.units(graph) if unit.weight}
    for name, scales in grid.weights.items():
        axis = axes[name]
        codes = weight_codes(graph.constants[name], scales, axis, grid.scheme)
        yield (
            name,
            mb.constexpr_affine_dequantize(
                quantized_data=codes, scale=scales, zero_point=np.int8(0), axis=axis, name=safe(name)
            ),
        )


def pair(mb: Any, value: Any, params: QParams, codes_name: str, name: str) -> Any:
    """Return what a value is after it became codes, as a MIL variable.

    Args:
        mb: coremltools' MIL builder, inside a function.
        value: A float MIL variable.
        params: Its scale.
        codes_name: MIL name of the codes.
        name: MIL name of the result.
    """
    kind = np.uint8 if params.low == 0 else np.int8
    ends = {"scale": np.float32(params.scale), "zero_point": kind(params.zero_point)}
    codes = mb.quantize(input=value, output_dtype=np.dtype(kind).name, name=codes_name, **ends)
    return mb.dequantize(input=codes, name=name, **ends)


def facts(graph: Graph, grid: Grid) -> dict[str, str]:
    """Return what the package's metadata says of its grid: the scheme; the nodes in float, each with what it makes."""
    kept = {unit.node.name: unit.output for unit in rules.units(graph) if unit.node.name in grid.kept}
    return {qdq.SCHEME: grid.scheme.name, qdq.KEPT: json.dumps(kept, sort_keys=True)}


def without_effect(graph: Graph, grid: Grid, found: Set[str], origin: str) -> dict[str, str]:
    """Return the metadata's entry on tensors that coremltools dropped, as what makes them changes nothing.

    Args:
        graph: The trunk's.
        grid: Its scales.
        found: The tensors that become codes in the converted program.
        origin: The file, for the error.

    Raises:
        UnsupportedOpError: Others were dropped as well.
    """
    same: dict[str, str] = {}
    lost = []
    for unit in rules.units(graph):
        if unit.output in found:
            continue
        if unit.node.op in rules.SAME_SCALE:
            same[unit.output] = same.get(unit.inputs[0], unit.inputs[0])
        else:
            lost.append(f"{unit.node.name} ({unit.node.op})")
    if lost:
        raise UnsupportedOpError(f"{origin}: coremltools drops {', '.join(lost)}, whose codes are then unknown")
    return {SAME: json.dumps(same, sort_keys=True)} if same else {}
