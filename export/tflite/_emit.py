"""Translate an ONNX trunk to TFLite: one translator a node, every refusal at once, one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export.tflite import _metadata, _source
from edgemat.export.tflite._flatbuffer import ModelBuilder
from edgemat.export.tflite._source import Array, Graph, Node, RefusedError
from edgemat.files import atomic_path

if TYPE_CHECKING:
    from edgemat.export._target import Trunk

MARK = "#"
"""Separates a trunk tensor's name from what was done to it, in the names of tensors that the trunk does not have."""

ACTIVATIONS = {(0.0, float("inf")): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}
"""Bounds that TFLite fuses into the operator before."""

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
    """

    def __init__(self, graph: Graph, half: bool) -> None:
        """Start an empty model."""
        self.graph = graph
        self.model = ModelBuilder()
        self.half = half
        self.shuffled = _shuffled(graph)
        self.done: set[str] = set()
        self._aliases: dict[str, str] = {}

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

    def tensor(self, name: str) -> int:
        """Return the model's index of an activation."""
        name = self._aliases.get(name, name)
        n, c, h, w = self.shape(name)
        return self.model.activation(f"{name}{MARK}dcr" if name in self.shuffled else name, (n, h, w, c))

    def alias(self, name: str, source: str) -> None:
        """Let an activation be another one."""
        self._aliases[name] = self._aliases.get(source, source)

    def operand(self, name: str) -> int:
        """Return the model's index of an activation or of a constant that broadcasts against activations."""
        value = self.graph.constants.get(name)
        if value is None:
            return self.tensor(name)
        if value.ndim > 4:
            raise RefusedError(f"constant {name} has rank {value.ndim}, expected at most 4")
        nchw = value.reshape((1,) * (4 - value.ndim) + value.shape)
        return self.constant(name, nchw.transpose(0, 2, 3, 1).astype(np.float32))

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

    def weight(self, name: str, value: Array) -> int:
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

    def emit(self, op: str, inputs: list[int], output: str, options: Any = None, version: int = 1) -> None:
        """Append an operator that writes the activation ``output``."""
        self.model.operator(op, inputs, [self.tensor(output)], options, version)


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


def translate(graph: Graph, half: bool) -> Emitter:
    """Translate all nodes.

    Args:
        graph: The trunk.
        half: Store convolution weights as float16.

    Raises:
        UnsupportedOpError: Nodes that cannot be translated, all of them, and what can.
    """
    from edgemat.export.tflite._ops import OPS

    emitter = Emitter(graph, half)
    refused: list[str] = []
    for node in graph.nodes:
        if node.outputs[0] in emitter.done:
            continue
        try:
            if node.op not in OPS:
                raise RefusedError("operator not supported")
            OPS[node.op](emitter, node)
            if node.attributes:
                raise RefusedError(f"attribute {', '.join(sorted(node.attributes))} is not translated")
        except RefusedError as error:
            refused.append(f"  {node.name} ({node.op}): {error}")
    if refused:
        raise UnsupportedOpError(
            f"tflite: {len(refused)} of {len(graph.nodes)} nodes cannot be translated:\n"
            + "\n".join(refused)
            + f"\nsupported operators: {', '.join(sorted(OPS))}"
        )
    return emitter


def convert(trunk: Trunk, precision: str, path: Path) -> None:
    """Write a .tflite file.

    Args:
        trunk: Float ONNX, input ``image`` (1, 3, H, W), output ``alpha`` (1, 1, H, W).
        precision: ``fp32``, or ``fp16`` for float16 weights with float32 input, output and arithmetic.
        path: The goal.

    Raises:
        UnsupportedOpError: Nodes that cannot be translated, all of them.
        InputError: The ONNX cannot be read, or a weight cannot be stored.
    """
    graph = _source.read(trunk.path)
    emitter = translate(graph, half=precision == "fp16")
    model = emitter.model
    inputs = dict(zip(("image",), map(emitter.tensor, graph.inputs), strict=True))
    outputs = dict(zip(("alpha",), map(emitter.tensor, graph.outputs), strict=True))
    metadata = _metadata.build(trunk.info, trunk.height, trunk.width, model.min_runtime(), precision)
    content = model.finish(trunk.info.description, inputs, outputs, metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
