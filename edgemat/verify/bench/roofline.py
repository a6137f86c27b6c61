"""The least time that a network could take on a machine: its arithmetic at the peak, its traffic at the bandwidth.

After Williams, Waterman and Patterson, "Roofline" (2009), layer by layer: a layer takes at least as long as its
multiply-accumulates at the peak and as its bytes at the bandwidth, whichever is longer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgemat.verify.bench.peaks import Peaks

if TYPE_CHECKING:
    from edgemat.quantize.graph import Graph, Node

FUSED = ("Clip", "Relu", "HardSwish", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten")
"""Operators that run times fold into the one before, or that move nothing."""


@dataclass(frozen=True)
class Work:
    """What one layer has to do.

    Attributes:
        name: The node's.
        op: Its ONNX operator.
        macs: Multiply-accumulates.
        values: Values that it reads and writes, those of weights left out.
        weights: Values of its constants.
    """

    name: str
    op: str
    macs: int
    values: int
    weights: int


def work(graph: Graph) -> tuple[Work, ...]:
    """Return what each layer of a float graph has to do; operators that run times fold away are left out.

    Example:
        >>> from onnx import TensorProto, helper
        >>> from edgemat.quantize import graph
        >>> conv = helper.make_node("Conv", ["image", "w"], ["alpha"], name="conv")
        >>> w = helper.make_tensor("w", TensorProto.FLOAT, [1, 3, 1, 1], [1.0, 1.0, 1.0])
        >>> ends = [helper.make_tensor_value_info(n, 1, [1, c, 4, 4]) for n, c in (("image", 3), ("alpha", 1))]
        >>> model = helper.make_model(helper.make_graph([conv], "g", ends[:1], ends[1:], [w]))
        >>> work(graph.of(model))
        (Work(name='conv', op='Conv', macs=48, values=64, weights=3),)
    """
    return tuple(_work(graph, node) for node in graph.nodes if node.op not in FUSED)


def _work(graph: Graph, node: Node) -> Work:
    read = sum(math.prod(graph.shapes[name]) for name in node.inputs if name in graph.shapes)
    made = sum(math.prod(graph.shapes[name]) for name in node.outputs if name in graph.shapes)
    # a shape, an axis or a scale is not worth counting; a weight is
    held = sum(graph.constants[name].size for name in node.inputs if name in graph.constants)
    return Work(node.name, node.op, _macs(graph, node), read + made, held)


def _macs(graph: Graph, node: Node) -> int:
    """Return the multiply-accumulates of a node; 0 for what has no weights to multiply by."""
    if node.op not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    weight = graph.constants[node.inputs[1]].shape if node.inputs[1] in graph.constants else ()
    made, read = math.prod(graph.shapes[node.outputs[0]]), math.prod(graph.shapes.get(node.inputs[0], ()))
    if node.op == "Conv":
        return made * math.prod(weight[1:])
    if node.op == "ConvTranspose":
        return read * math.prod(weight[1:])
    return made * graph.shapes[node.inputs[0]][-1]


@dataclass(frozen=True)
class Bound:
    """The least time of a whole network at one precision.

    Attributes:
        milliseconds: The sum over the layers.
        macs: Multiply-accumulates of one image.
        bytes: What is read and written, each layer by itself.
        memory_bound: Share of the time in layers whose bytes take longer than their arithmetic, in [0, 1].
    """

    milliseconds: float
    macs: int
    bytes: int
    memory_bound: float

    def share(self, milliseconds: float) -> float:
        """Return how much of what the machine can do a measured time attains: 1 is the roof itself."""
        return self.milliseconds / milliseconds

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Bound:
        """Return what `to_json` wrote."""
        return Bound(value["milliseconds"], value["macs"], value["bytes"], value["memory_bound"])


def bound(layers: tuple[Work, ...], peaks: Peaks, *, integers: bool, weight_bytes: int | None = None) -> Bound:
    """Return the least time of a network.

    Args:
        layers: Its work.
        peaks: Of the machine.
        integers: Whether it computes in 8-bit integers, with one byte a value; in float32, with four, otherwise.
        weight_bytes: Bytes of one weight, where they are stored otherwise than computed in.

    Example:
        >>> layers = (Work("a", "Conv", 1000, 10, 5), Work("b", "Resize", 0, 1000, 0))
        >>> bound(layers, Peaks(1, 1e6, 4e6, 4e6), integers=False)
        Bound(milliseconds=2.0, macs=1000, bytes=4060, memory_bound=0.5)
    """
    size = 1 if integers else 4
    held = size if weight_bytes is None else weight_bytes
    rate = peaks.int8_macs if integers else peaks.float_macs
    total = by_memory = 0.0
    traffic = 0
    for layer in layers:
        moved = layer.values * size + layer.weights * held
        arithmetic, memory = layer.macs / rate, moved / peaks.bandwidth
        total += max(arithmetic, memory)
        by_memory += memory if memory > arithmetic else 0.0
        traffic += moved
    return Bound(total * 1e3, sum(layer.macs for layer in layers), traffic, by_memory / total if total else 0.0)
