"""Translate the ONNX trunk to Core ML's MIL, or refuse it naming every node that stands in the way."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export import _graph
from edgemat.export.coreml import _coremltools, _quantize
from edgemat.export.coreml._onnx_ops import TABLE, Array, Node, RefusalError, Shape
from edgemat.quantize import graph as graphs
from edgemat.quantize.grid import Grid, QParams


@dataclass
class Program:
    """A translated network.

    Attributes:
        mil: The coremltools MIL program, input ``image`` and output ``alpha``.
        renamed: MIL variable to ONNX tensor, for those whose name had to change (MIL takes letters, digits, ``_``).
        facts: What the package's metadata says of its integer grid.
        graph: The trunk's, where there is a grid.
    """

    mil: Any
    renamed: dict[str, str]
    facts: dict[str, str] = field(default_factory=dict)
    graph: graphs.Graph | None = None


def supported_ops() -> tuple[str, ...]:
    """Return the ONNX operators that can be translated, sorted.

    Example:
        >>> "Conv" in supported_ops()
        True
    """
    return tuple(sorted([*TABLE, "Constant"]))


def read(path: Path) -> onnx.ModelProto:
    """Read an ONNX file and infer its shapes.

    Raises:
        InputError: The file is not a whole ONNX model, or its input has no fixed shape.
    """
    model = onnx.shape_inference.infer_shapes(_graph.read(path), data_prop=True)
    for value in model.graph.input:
        if not all(d.dim_value for d in value.type.tensor_type.shape.dim):
            raise InputError(f"{path}: input {value.name!r} has no fixed shape; export it for one size")
    return model


def constants(model: onnx.ModelProto) -> dict[str, Array]:
    """Return all constant tensors of a graph: initializers and Constant nodes."""
    found = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
    return found


def translate(path: Path, grid: Grid | None = None, activations: bool = False) -> Program:
    """Translate a trunk.

    Args:
        path: ONNX file, float32, one input and one output, fixed shapes.
        grid: Its integer grid: weights are stored as codes; None for a program without integers.
        activations: Whether every tensor between units becomes codes too.

    Returns:
        The MIL program, float32, its single input in the trunk's own range: for iOS 16, or iOS 17 with ``activations``.

    Raises:
        InputError: The file cannot be read, or the grid does not fit it.
        UnsupportedOpError: Nodes cannot be translated exactly, or not quantized; all are listed.
    """
    model = read(path)
    graph = graphs.of(model, path.name) if grid is not None else None
    if grid is not None and graph is not None and activations:
        _quantize.refuse(graph, grid, path.name)
        model = _quantize.prepared(model, graph, grid)
    state = _State(model, grid.activations if grid is not None and activations else {})
    ct = _coremltools.load()
    mil = _coremltools.load("coremltools.converters.mil.mil")
    source, goal = state.graph_input, model.graph.output[0].name
    with mil.Function(
        {source: mil.Builder.placeholder(shape=state.shapes[source])},
        opset_version=ct.target.iOS17 if activations else ct.target.iOS16,
    ) as function:
        if grid is not None and graph is not None:
            for name, weight in _quantize.stored_weights(mil.Builder, graph, grid, state.safe):
                state.const_vars[state.safe(name)] = weight
                state.made.add(name)
        state.values[source] = state.settled(mil.Builder, source, function.inputs[source])
        for index, node in enumerate(model.graph.node):
            _translate_node(state, mil.Builder, index, node)
        if state.refused:
            raise UnsupportedOpError(_refusals(path, state.refused))
        function.set_outputs([state.values[goal]])
    program = mil.Program()
    program.add_function("main", function)
    renamed = {safe: name for name, safe in state.names.items() if safe != name and name in state.made}
    if goal in state.grid:  # the float before it is a tensor of its own, as the output's name is the codes' reals
        renamed[state.safe(goal + _quantize.BEFORE)] = goal
    facts = {} if grid is None or graph is None else _quantize.facts(graph, grid)
    return Program(program, renamed, facts, graph)


class _State:
    """What is known so far of the graph being translated."""

    def __init__(self, model: onnx.ModelProto, grid: Mapping[str, QParams]) -> None:
        graph, self.grid = model.graph, grid
        self.goal = graph.output[0].name
        self.values: dict[str, Any] = dict(constants(model))
        self.shapes: dict[str, Shape] = {name: value.shape for name, value in self.values.items()}
        for info in [*graph.input, *graph.value_info, *graph.output]:
            dims = [d.dim_value for d in info.type.tensor_type.shape.dim]
            if info.type.tensor_type.HasField("shape") and all(dims):  # none that depends on the image
                self.shapes[info.name] = tuple(dims)
        self.graph_input = next(i.name for i in graph.input if i.name not in self.values)
        self.const_vars: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        self.made: set[str] = set()
        self.refused: list[str] = []

    def safe(self, name: str) -> str:
        """Return a MIL name for an ONNX tensor: letters, digits and ``_``, unique."""
        if name not in self.names:
            base = re.sub(r"\W", "_", name, flags=re.ASCII)
            base = f"_{base}" if base[:1].isdigit() else base
            taken = set(self.names.values())
            numbered = (f"{base}_{i}" for i in itertools.count(2))
            self.names[name] = base if base not in taken else next(n for n in numbered if n not in taken)
        return self.names[name]

    def name_of(self, tensor: str) -> str:
        """Return the MIL name of the float value of a tensor that a node makes."""
        return self.safe(tensor + _quantize.BEFORE if tensor == self.goal and tensor in self.grid else tensor)

    def settled(self, mb: Any, tensor: str, value: Any) -> Any:
        """Return what the nodes after a tensor read: the value itself, or the reals of its codes."""
        if tensor not in self.grid:
            return value
        name = self.safe(tensor if tensor == self.goal else f"{tensor}#real")
        return _quantize.pair(mb, value, self.grid[tensor], self.safe(f"{tensor}#codes"), name)


def _translate_node(state: _State, mb: Any, index: int, node: onnx.NodeProto) -> None:
    """Translate one node, or note why not and go on, so that all refusals are known at once."""
    output = node.output[0]
    if output in state.values:
        return  # a Constant
    title = f"{node.name or f'node {index}'} ({node.op_type})"
    try:
        translation = TABLE.get(node.op_type)
        if translation is None:
            raise RefusalError("no translation of this operator")
        if any(name for name in node.output[1:]):
            raise RefusalError(f"has {len(node.output)} outputs, supported: the first alone")
        if any(name and name not in state.values for name in node.input):
            return  # fed by a refused node whose shape is unknown
        if output not in state.shapes:
            raise RefusalError("its output has no fixed shape")
        made = translation(_node(state, mb, node))
        if tuple(made.shape) != state.shapes[output]:
            raise RefusalError(f"MIL makes shape {tuple(made.shape)}, ONNX {state.shapes[output]}")
        state.values[output] = state.settled(mb, output, made)
        state.made.add(output)
    except RefusalError as reason:
        state.refused.append(f"{title}: {reason}")
        if output in state.shapes:  # stand in for it, so that the nodes after it are judged too
            state.values[output] = mb.fill(shape=list(state.shapes[output]), value=0.0)


def _node(state: _State, mb: Any, node: onnx.NodeProto) -> Node:
    """Gather what a translation needs."""
    return Node(
        mb=mb,
        name=state.name_of(node.output[0]),
        attributes={a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
        values=[state.values[name] if name else None for name in node.input],
        shapes=[state.shapes[name] if name else () for name in node.input],
        out_shape=state.shapes[node.output[0]],
        const_names=[state.safe(name) if name else "" for name in node.input],
        const_vars=state.const_vars,
    )


def _refusals(path: Path, refused: Sequence[str]) -> str:
    """Word the error that lists all refused nodes."""
    listing = "\n".join(f"  {line}" for line in refused)
    count = f"{len(refused)} node{'s' if len(refused) > 1 else ''}"
    return (
        f"{path}: {count} cannot be translated to Core ML exactly:\n{listing}\nSupported: {', '.join(supported_ops())}"
    )
