"""Take the QuantizeLinear and DequantizeLinear nodes out of an ONNX graph, and note what each pair stated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError
from edgemat.quantize.graph import Array
from edgemat.quantize.grid import QParams
from edgemat.quantize.qdq import FLOAT

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_NARROW = 7
"""Largest magnitude of a code of 4 bits."""


@dataclass(frozen=True, eq=False)
class StatedWeight:
    """What a file states of a weight.

    Attributes:
        scales: float32, one a channel, or a single one.
        zero_points: int64, as many.
        axis: Of the channels.
        bits: 4 where every code fits, 8 otherwise.
    """

    scales: npt.NDArray[np.float32]
    zero_points: npt.NDArray[np.int64]
    axis: int
    bits: int


class Pairs:
    """The graph without its pairs.

    Attributes:
        nodes: What is left, in order; each reads the reals that the codes were made of.
        constants: Initializers and dequantized constants, by name.
        activations: Tensor name to the scales stated for it, in order.
        weights: Constant name to what was stated of it.
    """

    def __init__(self, model: ModelProto, origin: str) -> None:
        """Take a graph apart.

        Raises:
            InputError: A scale is no constant or unusable, or a DequantizeLinear reads what no QuantizeLinear made.
        """
        import onnx

        self.origin = origin
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        self.activations: dict[str, list[QParams]] = {}
        self.weights: dict[str, StatedWeight] = {}
        self._codes: dict[str, str] = {}
        self._reals: dict[str, str] = {}
        for node in model.graph.node:
            if node.op_type == "QuantizeLinear":
                self._quantize(node)
            elif node.op_type == "DequantizeLinear":
                self._dequantize(node)
            else:
                self._keep(node)
        self._rename({output.name for output in model.graph.output})

    def add(self, name: str, value: Array | np.float32) -> str:
        """Add a constant and return its name."""
        self.constants[name] = np.asarray(value)
        return name

    def renamed(self, name: str, wanted: str) -> str:
        """Rename a constant where the wanted name is free, and return the name that it has now."""
        if wanted in self.constants:
            return name
        self.constants[wanted] = self.constants.pop(name)
        return wanted

    def _keep(self, node: NodeProto) -> None:
        import onnx

        if node.op_type == "Constant":
            value = onnx.helper.get_attribute_value(node.attribute[0])
            is_tensor = isinstance(value, onnx.TensorProto)
            self.constants[node.output[0]] = onnx.numpy_helper.to_array(value) if is_tensor else np.asarray(value)
            return
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        on_codes = [name for name in copy.input if name in self._codes]
        if on_codes:
            raise InputError(
                f"{self.origin}: node {node.name or node.output[0]} ({node.op_type}) computes on the codes "
                f"{on_codes[0]}; expected DequantizeLinear before it"
            )
        copy.input[:] = [self._reals.get(name, name) for name in copy.input]
        self.nodes.append(copy)

    def _ends(self, node: NodeProto) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.integer]]:
        """Return a node's scales and zero points, each one-dimensional."""
        scale = self.constants.get(node.input[1])
        given = node.input[2] if len(node.input) > 2 else ""
        zero = self.constants.get(given, np.zeros(1, np.uint8))
        if scale is None or (given and given not in self.constants):
            raise InputError(f"{self.origin}: {node.op_type} {node.name or node.output[0]}: its scale is no constant")
        zeros = np.broadcast_to(np.atleast_1d(zero), np.atleast_1d(scale).shape)
        return np.atleast_1d(scale).astype(np.float32), zeros

    def _quantize(self, node: NodeProto) -> None:
        source = self._reals.get(node.input[0], node.input[0])
        scales, zeros = self._ends(node)
        self._codes[node.output[0]] = source
        if source in self.constants:
            self._state_weight(source, node, np.asarray(self.constants[source], np.float32), scales, zeros)
            return
        limits = _limits(zeros.dtype)
        if limits is None or len(scales) != 1:
            found = f"{zeros.dtype}, {len(scales)} scales"
            raise InputError(f"{self.origin}: tensor {source}: {found}; expected int8 or uint8 and one scale a tensor")
        try:
            params = QParams(float(scales[0]), int(zeros[0]), *limits)
        except ValueError as error:
            raise InputError(f"{self.origin}: tensor {source}: {error}") from error
        self.activations.setdefault(source, []).append(params)

    def _dequantize(self, node: NodeProto) -> None:
        codes, reals = node.input[0], node.output[0]
        if codes in self._codes:
            self._reals[reals] = self._codes[codes]
            return
        value = self.constants.get(codes)
        if value is None:
            raise InputError(
                f"{self.origin}: DequantizeLinear {node.name or reals} reads {codes}, which no QuantizeLinear makes; "
                "expected float ends, and no operator between the two nodes of a pair"
            )
        scales, zeros = self._ends(node)
        axis = _axis(node, value)
        shape = [-1 if i == axis and len(scales) > 1 else 1 for i in range(value.ndim)]
        shifted = value.astype(np.int64) - zeros.astype(np.int64).reshape(shape)
        real = (shifted * scales.astype(np.float64).reshape(shape)).astype(np.float32)
        if value.dtype != np.int32:  # a bias, whose scale follows from others
            self._state_weight(reals, node, real, scales, zeros)
        self.constants[reals] = real

    def _state_weight(
        self,
        name: str,
        node: NodeProto,
        real: npt.NDArray[np.float32],
        scales: npt.NDArray[np.float32],
        zeros: npt.NDArray[np.integer],
    ) -> None:
        axis = _axis(node, real)
        shape = [-1 if i == axis and len(scales) > 1 else 1 for i in range(real.ndim)]
        narrow = bool((np.abs(np.rint(real / scales.reshape(shape))) <= _NARROW).all())
        offset = 128 if zeros.dtype == np.uint8 else 8 if str(zeros.dtype) == "uint4" else 0
        self.weights[name] = StatedWeight(scales, zeros.astype(np.int64) - offset, axis, 4 if narrow else 8)

    def _rename(self, outputs: set[str]) -> None:
        """Give a tensor the name that it has behind its pair, where a reader of the graph expects that one."""
        names: dict[str, str] = {}
        for reals, source in self._reals.items():
            if reals == source.removesuffix(FLOAT) != source or (reals in outputs and source not in outputs):
                names[source] = reals
        for node in self.nodes:
            for ends in (node.input, node.output):
                ends[:] = [names.get(name, name) for name in ends]
        self.activations = {names.get(name, name): stated for name, stated in self.activations.items()}


def _axis(node: NodeProto, value: Array) -> int:
    """Return the axis of a node's scales."""
    stated = next((a.i for a in node.attribute if a.name == "axis"), 1)
    return int(stated % value.ndim) if value.ndim else 0


def _limits(kind: np.dtype[np.generic]) -> tuple[int, int] | None:
    return {"uint8": (0, 255), "int8": (-128, 127)}.get(str(kind))
