"""An ONNX graph as plain nodes, constants and shapes, so that nobody who walks it touches protobuf."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Node:
    """One ONNX node.

    Attributes:
        name: The node's name, or ``op:first output`` when it has none.
        op: ONNX operator type.
        inputs: Tensor names; an empty name is an optional input that is not given.
        outputs: Tensor names.
        attributes: What the node states. A translator takes each attribute out that it understands (`take`), so that
            whatever is left has not been translated and the node is refused.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    def take(self, name: str, default: Any = None) -> Any:
        """Take an attribute out of `attributes` and return its value; ``default`` where the node does not state it."""
        return self.attributes.pop(name, default)

    def given(self, position: int) -> str:
        """Return the input's name at ``position``, or an empty text where it is not given."""
        return self.inputs[position] if position < len(self.inputs) else ""


@dataclass(frozen=True, eq=False)
class Graph:
    """An ONNX graph in topological order.

    Attributes:
        nodes: All nodes but ``Constant``.
        constants: Initializers and the values of ``Constant`` nodes, by tensor name.
        shapes: Fixed shapes of all other tensors, by name, in ONNX's layout (NCHW).
        inputs: Names of the graph's inputs.
        outputs: Names of the graph's outputs.
        consumers: How often each tensor is read, the graph's outputs counted too.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    shapes: Mapping[str, tuple[int, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    consumers: Mapping[str, int]

    def only_consumer(self, tensor: str) -> Node | None:
        """Return the one node that reads ``tensor``; None when there are more, or the tensor is a graph output."""
        if self.consumers.get(tensor) != 1 or tensor in self.outputs:
            return None
        return next(node for node in self.nodes if tensor in node.inputs)

    def producer(self, tensor: str) -> Node | None:
        """Return the node that writes ``tensor``; None for an input or a constant."""
        return next((node for node in self.nodes if tensor in node.outputs), None)


def of(model: ModelProto, origin: str = "the graph") -> Graph:
    """Return a model's graph.

    Args:
        model: ONNX with fixed shapes and its weights inside; shapes are inferred.
        origin: Its file, for the error.

    Raises:
        InputError: The shapes of its tensors are not fixed or do not fit each other.
    """
    import onnx

    try:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise InputError(f"{origin}: the shapes do not fit each other ({error}); export the trunk again") from error
    graph = model.graph
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    constants |= {n.output[0]: _constant(n) for n in graph.node if n.op_type == "Constant"}
    nodes = tuple(_node(n) for n in graph.node if n.op_type != "Constant")
    inputs = tuple(v.name for v in graph.input if v.name not in constants)
    outputs = tuple(v.name for v in graph.output)
    shapes = {v.name: _shape(origin, v) for v in (*graph.input, *graph.value_info, *graph.output)}
    consumers = Counter(name for node in nodes for name in node.inputs if name)
    consumers.update(outputs)
    return Graph(nodes, constants, shapes, inputs, outputs, consumers)


def _node(node: NodeProto) -> Node:
    import onnx

    attributes = {a.name: _plain(onnx.helper.get_attribute_value(a)) for a in node.attribute}
    name = node.name or f"{node.op_type}:{node.output[0]}"
    return Node(name, node.op_type, tuple(node.input), tuple(node.output), attributes)


def _constant(node: NodeProto) -> Array:
    import onnx

    value = onnx.helper.get_attribute_value(node.attribute[0])
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _shape(origin: str, info: ValueInfoProto) -> tuple[int, ...]:
    shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in info.type.tensor_type.shape.dim]
    if not all(isinstance(size, int) and size > 0 for size in shape):
        text = ", ".join(map(str, shape))
        raise InputError(
            f"{origin}: tensor {info.name} has shape ({text}); expected fixed sizes: export with --size HxW"
        )
    return tuple(int(size) for size in shape)
