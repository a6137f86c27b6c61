"""What a translator of one node sees: the ONNX graph on one side, the TFLite model that grows on the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgemat.errors import InputError
from edgemat.export.tflite._flatbuffer import ModelBuilder
from edgemat.export.tflite._source import Array, Graph, Node, RefusedError

MARK = "#"
"""Separates a trunk tensor's name from what was done to it, in the names of tensors that the trunk does not have."""

ACTIVATIONS = {(0.0, float("inf")): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}
"""Bounds that TFLite fuses into the operator before."""

SIDES = ("MAXIMUM", "MINIMUM")
"""Operators that hold to a lower and to an upper bound."""

HALF_MAX = float(np.finfo(np.float16).max)


class Emitter:
    """What a translator sees: the ONNX graph on one side, the model that grows on the other.

    All activations are rank 4, NCHW in the graph and NHWC in the model.

    Attributes:
        graph: The trunk.
        model: The TFLite model so far.
        half: Store convolution weights as float16.
        shuffled: Tensors whose channels the model holds in another order than the trunk, with that order.
        done: Outputs of nodes that were fused into the one before.
        aliases: Activations that are another one.
    """

    def __init__(self, graph: Graph, half: bool) -> None:
        """Start an empty model."""
        self.graph = graph
        self.model = ModelBuilder()
        self.half = half
        self.shuffled = _shuffled(graph)
        self.done: set[str] = set()
        self.aliases: dict[str, str] = {}

    def shape(self, name: str) -> tuple[int, int, int, int]:
        """Return the shape of an activation, in ONNX's layout.

        Raises:
            RefusedError: It is not of rank 4, or unknown because a node before cannot be translated.
        """
        if name not in self.graph.shapes:
            raise RefusedError(f"the shape of tensor {name} is not known")
        shape = self.graph.shapes[name]
        if len(shape) != 4:
            raise RefusedError(f"tensor {name} has rank {len(shape)}, expected 4 (NCHW)")
        return (shape[0], shape[1], shape[2], shape[3])

    def entry(self, name: str) -> int:
        """Return the model's index of the graph's input, as an app feeds it."""
        return self.tensor(name)

    def exit(self, name: str) -> int:
        """Return the model's index of the graph's output, as an app reads it."""
        return self.tensor(name)

    def facts(self) -> dict[str, Any]:
        """Return what the file should say of itself beside its precision, JSON-ready."""
        return {}

    def begin(self, node: Node) -> None:
        """Be told which node comes next."""

    def end(self) -> None:
        """Be told that it is translated."""

    def tensor(self, name: str) -> int:
        """Return the model's index of an activation that is read."""
        return self.model.activation(self.label(name), self.nhwc(name))

    def goal(self, name: str) -> int:
        """Return the model's index of an activation that is written."""
        return self.tensor(name)

    def inner(self, name: str, shape: tuple[int, ...], like: str) -> int:
        """Return the model's index of a new activation of the emitter's own, NHWC, on the grid of ``like``."""
        del like
        return self.model.activation(name, shape)

    def label(self, name: str) -> str:
        """Return the name of an activation in the model."""
        name = self.aliases.get(name, name)
        return f"{name}{MARK}dcr" if name in self.shuffled else name

    def nhwc(self, name: str) -> tuple[int, int, int, int]:
        """Return the shape of an activation in the model."""
        n, c, h, w = self.shape(name)
        return (n, h, w, c)

    def alias(self, name: str, source: str) -> None:
        """Let an activation be another one."""
        self.aliases[name] = self.aliases.get(source, source)

    def operand(self, name: str) -> int:
        """Return the model's index of an activation or of a constant that broadcasts against activations."""
        return self.constant(name, self.broadcast(name)) if name in self.graph.constants else self.tensor(name)

    def joined(self, name: str, output: str) -> int:
        """Return the model's index of what a concatenation to ``output`` reads of an activation or constant."""
        del output
        return self.operand(name)

    def broadcast(self, name: str) -> Array:
        """Return a constant as it stands beside activations: rank 4, NHWC, float32.

        Raises:
            RefusedError: Its rank is greater.
        """
        value = self.graph.constants[name]
        if value.ndim > 4:
            raise RefusedError(f"constant {name} has rank {value.ndim}, expected at most 4")
        nchw = value.reshape((1,) * (4 - value.ndim) + value.shape)
        return nchw.transpose(0, 2, 3, 1).astype(np.float32)

    def value(self, name: str, what: str) -> Array:
        """Return the value of a constant input.

        Raises:
            RefusedError: It is computed by the graph; ``what`` says what it is.
        """
        if name not in self.graph.constants:
            raise RefusedError(f"{what} {name or '(absent)'} is not a constant")
        return self.graph.constants[name]

    def constant(self, name: str, value: Array) -> int:
        """Store a constant as it is.

        Raises:
            InputError: It holds NaN or infinity.
        """
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            bad = int((~np.isfinite(value)).sum())
            raise InputError(f"tensor {name}: {bad} of {value.size} values are NaN or infinite; train or load again")
        return self.model.constant(name, np.ascontiguousarray(value))

    def parameters(self, node: Node, axis: int, layout: tuple[int, ...]) -> list[int]:
        """Return the model's indices of a convolution's weight and bias; zeros where it has none: delegates want one.

        Args:
            node: Conv or ConvTranspose.
            axis: Of the weight's output channels in ONNX.
            layout: ONNX's axes in TFLite's order.
        """
        weight = self.value(node.inputs[1], "weight")
        order = self.shuffled.get(node.outputs[0], np.arange(weight.shape[axis]))
        weight = weight.take(order, axis).transpose(layout)
        return [self._weight(node.inputs[1], weight), self.constant(bias_name(node), self.bias(node, axis)[order])]

    def bias(self, node: Node, axis: int) -> Array:
        """Return a convolution's bias, zeros where there is none."""
        channels = self.value(node.inputs[1], "weight").shape[axis]
        return self.value(node.given(2), "bias") if node.given(2) else np.zeros(channels, np.float32)

    def _weight(self, name: str, value: Array) -> int:
        """Store convolution weights, as float16 followed by DEQUANTIZE where the precision asks for it.

        Raises:
            InputError: A value does not fit.
        """
        if not self.half:
            return self.constant(name, value)
        largest = float(np.abs(value).max(initial=0.0))
        if largest > HALF_MAX:
            raise InputError(
                f"tensor {name}: largest value {largest:g}, float16 holds at most {HALF_MAX:g}; use --precision fp32"
            )
        stored = self.constant(f"{name}{MARK}fp16", value.astype(np.float16))
        index = self.model.activation(f"{name}{MARK}fp32", value.shape)
        self.model.operator("DEQUANTIZE", [stored], [index], schema.DequantizeOptionsT(), version=3)
        return index

    def bounds(self, node: Node) -> tuple[float, float] | None:
        """Return the lower and upper bound of a Relu or Clip with constant bounds; None for any other node."""
        if node.op == "Relu":
            return (0.0, float("inf"))
        limits = [self.graph.constants.get(node.given(i)) for i in (1, 2)]
        if node.op != "Clip" or any(node.given(i) and limit is None for i, limit in zip((1, 2), limits, strict=True)):
            return None
        low, high = (None if limit is None else float(limit.item()) for limit in limits)
        return (float("-inf") if low is None else low, float("inf") if high is None else high)

    def fused(self, node: Node) -> tuple[str, int]:
        """Return the output to write and the activation to fuse: what alone follows ``node``, if TFLite has it."""
        follower = self.graph.only_consumer(node.outputs[0])
        bounds = self.bounds(follower) if follower is not None else None
        if follower is None or bounds not in ACTIVATIONS:
            return node.outputs[0], schema.ActivationFunctionType.NONE
        self.done.add(follower.outputs[0])
        return follower.outputs[0], getattr(schema.ActivationFunctionType, ACTIVATIONS[bounds])

    def means(self, name: str, kernel: list[int], output: str) -> list[int]:
        """Return the weight and bias of a depthwise convolution that makes means of windows; none where a pool does."""
        del name, kernel, output
        return []

    def saturated(self, node: Node) -> str:
        """Return the output to write of an operator that fuses no activation."""
        return node.outputs[0]

    def clamp(self, node: Node, bounds: tuple[float, float]) -> None:
        """Append the operators of a Relu or Clip: what TFLite has for the bounds, else MAXIMUM and MINIMUM.

        Both are exact. RELU_0_TO_1 would say alpha's bounds in one operator, but XNNPACK does not take it, and runtimes
        before 2.10 do not know it. The bounds have rank 4 because quantizers want an operand of the activation's rank.
        """
        source, output = self.tensor(node.inputs[0]), node.outputs[0]
        if bounds in ACTIVATIONS:
            self.emit(ACTIVATIONS[bounds], [source], output)
            return
        limits = [np.full((1, 1, 1, 1), bound, np.float32) for bound in bounds]
        self.between(source, output, [(op, v) for op, v in zip(SIDES, limits, strict=True) if np.isfinite(v).all()])

    def between(self, source: int, output: str, steps: list[tuple[str, Array]], quantization: Any = None) -> None:
        """Append MAXIMUM and MINIMUM, or one of the two, from tensor ``source`` to the activation ``output``."""
        for i, (op, value) in enumerate(steps):
            limit = self.model.constant(f"{output}{MARK}{op.lower()}", value, quantization)
            inner = i < len(steps) - 1
            goal = self.inner(f"{output}{MARK}max", self.nhwc(output), output) if inner else self.goal(output)
            self.operator(op, [source, limit], [goal], schema.MaximumMinimumOptionsT())
            source = goal

    def emit(self, op: str, inputs: list[int], output: str, options: Any = None, version: int = 1) -> None:
        """Append an operator that writes the activation ``output``."""
        self.operator(op, inputs, [self.goal(output)], options, version)

    def operator(self, op: str, inputs: list[int], outputs: list[int], options: Any = None, version: int = 1) -> None:
        """Append an operator at the lowest version that has the semantics asked for."""
        self.model.operator(op, inputs, outputs, options, version)


def bias_name(node: Node) -> str:
    """Return the name of a convolution's bias, of one that it does not have too."""
    return node.given(2) or f"{node.outputs[0]}{MARK}bias"


def _shuffled(graph: Graph) -> dict[str, npt.NDArray[np.int64]]:
    """Find the tensors between a convolution and a CRD DepthToSpace: TFLite shuffles DCR, so they hold another order.

    ONNX's CRD reads channel ``c * b * b + cell`` (PyTorch's pixel_shuffle), DCR and TFLite ``cell * C + c``.
    """
    orders: dict[str, npt.NDArray[np.int64]] = {}
    for node in graph.nodes:
        if node.op != "DepthToSpace" or node.attributes.get("mode", "DCR") != "CRD":
            continue
        cells = node.attributes["blocksize"] ** 2
        channels = graph.shapes[node.inputs[0]][1]
        order = np.arange(channels).reshape(-1, cells).T.ravel()
        tensor, chain = node.inputs[0], []
        while channels > cells and graph.only_consumer(tensor) is not None:
            chain.append(tensor)
            producer = graph.producer(tensor)
            if producer is not None and producer.op in ("Relu", "Clip"):
                tensor = producer.inputs[0]
                continue
            if producer is not None and producer.op in ("Conv", "ConvTranspose"):
                dense = producer.attributes.get("group", 1) == 1
                orders |= dict.fromkeys(chain, order) if dense else {}
            break
    return orders
