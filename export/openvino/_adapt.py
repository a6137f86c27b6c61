"""The ONNX graph as OpenVINO reads it without loss: FakeQuantize at every tensor, integer weights, nothing to fold.

OpenVINO's CPU plugin takes FakeQuantize for what QuantizeLinear and DequantizeLinear say, and executes in int8 between
two of them. Three traps, measured with 2026.4 (in brackets: alpha's pixels within one code of the exact result):

- A convolution takes over the element-wise operator behind it and then leaves the rounding between the two out (93.9 %;
  99.0 % with `_BARRIER` between them). A Maximum that changes nothing is not taken over.
- Interpolations and averages in float meet many exact halves, and float errors decide them (99.0 %; 99.6 % on codes).
  The plugin has kernels for uint8, which round halves to even: these operators read and write codes. What makes reals
  of them needs a barrier likewise, or it is taken over and nothing is rounded (95.2 %).
- A Conv's bias becomes a chain of shape arithmetic of twelve nodes. An Add of a constant does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgemat.quantize.grid import Grid, QParams
from edgemat.quantize.qdq import CODES, REAL

QUANTIZE, DEQUANTIZE, SHIFT = "#quantize", "#dequantize", "#shift"
"""Endings of the layers that make a tensor's codes, and that make reals of codes."""
_DOMAIN = "org.openvinotoolkit"
_BARRIER = ("Add", "Sub", "Mul", "Relu", "Clip", "Sigmoid")
"""What a convolution before it would take over."""
_CONVOLUTIONS = ("Conv", "ConvTranspose")
_ON_CODES = ("Resize", "AveragePool")


def ends_of(params: QParams) -> tuple[np.float32, np.float32]:
    """Return the reals of the smallest and of the largest code, rounded once to float32: a FakeQuantize's bounds."""
    low, high = (np.float32(params.scale) * np.float32(code - params.zero_point) for code in (params.low, params.high))
    return low, high


def on_codes(node: NodeProto) -> bool:
    """Return whether a node computes on codes as they are: an average that counts zeros beside its input cannot."""
    stated = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    padded = any(stated.get("pads", ())) or stated.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    return node.op_type in _ON_CODES and not (padded and stated.get("count_include_pad"))


def adapt(model: ModelProto, grid: Grid | None) -> ModelProto:
    """Return the graph for OpenVINO's ONNX reader.

    Args:
        model: Float where ``grid`` is None, else of `edgemat.quantize.qdq.insert`.
        grid: Its scales.
    """
    writer = _Writer(model, grid)
    for node in model.graph.node:
        writer.node(node)
    result = ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:], result.metadata_props[:]
    result.graph.node.extend(writer.nodes)
    read = {name for node in writer.nodes for name in node.input}
    result.graph.initializer.extend(t for name, t in writer.constants.items() if name in read)
    result.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return result


class _Writer:
    """Collects nodes and constants; equal numbers are one constant."""

    def __init__(self, model: ModelProto, grid: Grid | None) -> None:
        self.grid, self.nodes = grid, list[NodeProto]()
        self.constants: dict[str, TensorProto] = {t.name: t for t in model.graph.initializer}
        self.values: Mapping[str, npt.NDArray[Any]] = {n: numpy_helper.to_array(t) for n, t in self.constants.items()}
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.outputs = {value.name for value in model.graph.output}
        self.inputs = {value.name for value in model.graph.input}
        self._numbers: dict[bytes, str] = {}

    def node(self, node: NodeProto) -> None:
        """Append what a node becomes."""
        copy = NodeProto()
        copy.CopyFrom(node)
        if node.op_type == "QuantizeLinear":
            self._quantize(node)
        elif node.op_type == "DequantizeLinear":
            (self._constant if node.input[0] in self.values else self._dequantize)(node)
        elif on_codes(node) and self.grid is not None:
            self._interpolate(copy)
        elif node.op_type in _CONVOLUTIONS and len(node.input) > 2 and node.input[2]:
            self._without_bias(copy)
        else:
            if node.op_type in _BARRIER:
                copy.input[:] = [self._kept(name) for name in node.input]
            self.nodes.append(copy)

    def _make(self, op: str, inputs: list[str], output: str, name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def _number(self, value: float | np.float32) -> str:
        stored = np.asarray(value, np.float32)
        name = self._numbers.setdefault(stored.tobytes(), f"c{len(self._numbers)}")
        self.constants[name] = numpy_helper.from_array(stored, name)
        return name

    def _params(self, tensor: str) -> QParams:
        assert self.grid is not None  # only its graphs have pairs
        return self.grid.activations[tensor]

    def _quantize(self, node: NodeProto) -> None:
        """Append a FakeQuantize: of reals, or to codes where an interpolation reads them."""
        tensor = node.output[0].removesuffix(CODES)
        params, maker = self._params(tensor), self.makers.get(node.input[0])
        if maker is not None and on_codes(maker):
            return  # made as codes
        ends = [self._number(end) for end in ends_of(params)]
        if not self._is_on_codes(tensor):
            real = tensor + REAL if tensor in self.inputs else tensor
            self._fake(node.input[0], [*ends, *ends], real, tensor)
            return
        span = [self._number(params.low), self._number(params.high)]
        whole = self._fake(node.input[0], [*ends, *span], f"{tensor}#whole", tensor)
        self._make("Cast", [whole], tensor + CODES, tensor + CODES, to=_kind(params))

    def _fake(self, source: str, ends: list[str], output: str, tensor: str) -> str:
        return self._make("FakeQuantize", [source, *ends], output, tensor + QUANTIZE, levels=256, domain=_DOMAIN)

    def _is_on_codes(self, tensor: str) -> bool:
        real = tensor + REAL if tensor in self.inputs else tensor
        return any(on_codes(reader) for reader in self.readers.get(real, ()))

    def _dequantize(self, node: NodeProto) -> None:
        """Append what makes reals of codes, where codes were made and somebody reads reals.

        Behind an interpolation, a convolution reads codes as they are; what could be taken over has a barrier.
        """
        tensor, real = node.input[0].removesuffix(CODES), node.output[0]
        readers = [n.op_type for n in self.readers.get(real, ()) if not on_codes(n)]
        if self._is_interpolated(real):
            if real in self.outputs:
                self._reals(tensor, real, barrier=True)
            elif set(readers) - set(_BARRIER):
                self._reals(tensor, real, barrier=False)
            if real not in self.outputs and set(readers) & set(_BARRIER):
                self._reals(tensor, f"{real}#kept", barrier=True)
        elif self._is_on_codes(tensor) and (readers or real in self.outputs):
            self._reals(tensor, real, barrier=False)

    def _reals(self, tensor: str, real: str, barrier: bool) -> None:
        params, ending = self._params(tensor), "#kept" if barrier else ""
        found = self._make("Cast", [tensor + CODES], f"{real}#float", f"{real}#float", to=TensorProto.FLOAT)
        if barrier:
            found = self._make("Max", [found, self._number(params.low - 0.25)], f"{real}#max", f"{real}#max")
        if params.zero_point:
            found = self._make(
                "Sub", [found, self._number(params.zero_point)], f"{real}{SHIFT}", tensor + ending + SHIFT
            )
        self._make("Mul", [found, self._number(params.scale)], real, tensor + ending + DEQUANTIZE)

    def _is_interpolated(self, real: str) -> bool:
        """Return whether a pair's reals come from an interpolation."""
        pair = self.makers.get(real)
        if self.grid is None or pair is None or pair.op_type != "DequantizeLinear" or pair.input[0] in self.values:
            return False
        above = self.makers.get(self.makers[pair.input[0]].input[0])
        return above is not None and on_codes(above)

    def _interpolate(self, node: NodeProto) -> None:
        """Append an interpolation of codes."""
        source = self.makers[node.input[0]].input[0]
        node.input[0] = source
        node.output[0] = self.readers[node.output[0]][0].output[0]
        self.nodes.append(node)

    def _constant(self, node: NodeProto) -> None:
        """Append a weight's codes with its scales, or a bias in float."""
        name, codes, scales = node.output[0], self.values[node.input[0]], self.values[node.input[1]]
        if codes.dtype == np.int32:
            self.constants[name] = numpy_helper.from_array(codes.astype(np.float32) * scales, name)
            return
        axis = next(a.i for a in node.attribute if a.name == "axis")
        shape = [-1 if i == axis else 1 for i in range(codes.ndim)]
        self.constants[node.input[1]] = numpy_helper.from_array(scales.reshape(shape), node.input[1])
        real = self._make("Cast", [node.input[0]], f"{name}#float", f"{name}#float", to=TensorProto.FLOAT)
        self._make("Mul", [real, node.input[1]], name, name)

    def _without_bias(self, node: NodeProto) -> None:
        """Append a convolution and the addition of its bias."""
        bias, output = node.input[2], node.output[0]
        shaped = f"{bias}#row"
        values = numpy_helper.to_array(self.constants[bias])
        self.constants[shaped] = numpy_helper.from_array(values.reshape(1, -1, 1, 1), shaped)
        del node.input[2:]
        node.output[0] = f"{output}#sums"
        self.nodes.append(node)
        self._make("Add", [node.output[0], shaped], output, f"{node.name}#bias")

    def _kept(self, name: str) -> str:
        """Return an operand, behind a barrier where what makes it could take its reader over."""
        if name in self.outputs or self.grid is None:
            return name
        if self._is_interpolated(name):
            return f"{name}#kept"
        maker = self.makers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear" or len(self.readers[name]) > 1:
            return name
        if maker.input[0] in self.values or maker.input[0].removesuffix(CODES) in self.inputs:
            return name
        params = self._params(maker.input[0].removesuffix(CODES))
        return self._make("Max", [name, self._number(params.bottom - params.scale / 4)], f"{name}#kept", f"{name}#kept")


def _kind(params: QParams) -> int:
    return int(onnx.TensorProto.UINT8 if params.low == 0 else onnx.TensorProto.INT8)
