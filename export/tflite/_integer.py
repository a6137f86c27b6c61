"""The emitter on an integer grid: int8 codes in TFLite's terms, every scale carried and none computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgemat.errors import InputError
from edgemat.export.tflite._emit import MARK, Emitter, bias_name
from edgemat.export.tflite._source import Graph, Node, RefusedError
from edgemat.quantize import rules
from edgemat.quantize.grid import Grid, QParams, bias_codes, bias_scales, weight_codes

VERSIONS = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), 3),
    **dict.fromkeys(
        ("ADD", "AVERAGE_POOL_2D", "CONCATENATION", "DEPTH_TO_SPACE", "LOGISTIC", "MAXIMUM", "MAX_POOL_2D"), 2
    ),
    **dict.fromkeys(("MEAN", "MINIMUM", "MUL", "PAD", "SPACE_TO_DEPTH", "SUB"), 2),
}
"""The version from which on an operator takes int8, where that is not its first."""

_LOW = -128
"""Smallest int8 code. The grid counts from `QParams.low`, TFLite from here."""


class IntegerEmitter(Emitter):
    """Emits int8 where the grid says so; nodes that it keeps in float stand between DEQUANTIZE and QUANTIZE.

    Attributes:
        grid: Scales by the trunk's names.
    """

    def __init__(self, graph: Graph, grid: Grid, origin: str, float_ends: bool = False) -> None:
        """Start an empty model.

        Args:
            graph: The trunk.
            grid: Its scales.
            origin: The trunk's file, for errors.
            float_ends: Take and give float32; codes otherwise.

        Raises:
            UnsupportedOpError: Nodes that cannot be quantized, all of them.
            InputError: The grid breaks a rule; the tensors are named.
        """
        rules.refuse(graph, grid.kept, origin)
        wrong = rules.complaints(graph, grid)
        if wrong:
            head = f"{origin}: its integer grid breaks {len(wrong)} rules; quantize it again with: edgemat quantize"
            raise InputError(head + rules.first(wrong))
        super().__init__(graph, half=False)
        self.grid = grid
        self._float_ends = float_ends
        self._units = {unit.node.outputs[0]: unit for unit in rules.units(graph)}
        self._kept = False
        self._reals: dict[str, int] = {}
        self._open: list[tuple[str, int]] = []

    def codes(self, name: str) -> int:
        """Return the model's index of an activation's codes."""
        return self.model.activation(self.label(name), self.nhwc(name), self.quantization(name))

    def quantization(self, name: str) -> Any:
        """Return an activation's scale and zero point as TFLite states them."""
        return _quantization(self.grid.activations[name])

    def entry(self, name: str) -> int:
        """Return the input: codes, or float32 with a QUANTIZE behind."""
        codes = self.codes(name)
        if not self._float_ends:
            return codes
        index = self.model.activation(f"{name}{MARK}input", self.nhwc(name))
        self.model.operator("QUANTIZE", [index], [codes], schema.QuantizeOptionsT())
        return index

    def exit(self, name: str) -> int:
        """Return the output: codes, or float32 from a DEQUANTIZE."""
        return self._dequantized(name, "output") if self._float_ends else self.codes(name)

    def facts(self) -> dict[str, Any]:
        """Return scheme, ends, and what else a reader needs to find the trunk's tensors again."""
        found: dict[str, Any] = {"scheme": self.grid.scheme.name}
        if not self._float_ends:
            for end, (name,) in (("input", self.graph.inputs), ("output", self.graph.outputs)):
                params = self.grid.activations[name]
                found[end] = {"scale": params.scale, "zero_point": _zero_point(params)}
        kept = {u.node.name: u.output for u in self._units.values() if u.node.name in self.grid.kept}
        if kept:
            found["kept"] = dict(sorted(kept.items()))
        if self.aliases:
            found["same"] = dict(sorted(self.aliases.items()))
        return found

    def begin(self, node: Node) -> None:
        """Learn whether the node computes in codes."""
        self._kept = node.name in self.grid.kept

    def end(self) -> None:
        """Turn into codes what a kept node made."""
        for name, index in self._open:
            self.model.operator("QUANTIZE", [index], [self.codes(name)], schema.QuantizeOptionsT())
        self._open.clear()
        self._kept = False

    def tensor(self, name: str) -> int:
        """Return an activation's codes; what they stand for where the node is kept in float."""
        if not self._kept:
            return self.codes(name)
        name = self.aliases.get(name, name)
        if name not in self._reals:
            self._reals[name] = self._dequantized(name, "real")
        return self._reals[name]

    def goal(self, name: str) -> int:
        """Return the codes to write; a float32 tensor that `end` turns into codes where the node is kept in float."""
        if not self._kept:
            return self.codes(name)
        index = self.model.activation(f"{self.label(name)}{MARK}float", self.nhwc(name))
        self._open.append((name, index))
        return index

    def inner(self, name: str, shape: tuple[int, ...], like: str) -> int:
        """Return a tensor of the emitter's own, on the grid of ``like``."""
        return self.model.activation(name, shape, None if self._kept else self.quantization(like))

    def _dequantized(self, name: str, ending: str) -> int:
        index = self.model.activation(f"{self.label(name)}{MARK}{ending}", self.nhwc(name))
        self.model.operator("DEQUANTIZE", [self.codes(name)], [index], schema.DequantizeOptionsT(), version=2)
        return index

    def joined(self, name: str, output: str) -> int:
        """Return what a concatenation reads: codes on its output's grid."""
        if self._kept:
            return super().joined(name, output)
        params = self.grid.activations[output]
        if name in self.graph.constants:
            stored = _int8(params.codes(self.broadcast(name)), params)
            return self.model.constant(name, stored, self.quantization(output))
        if self.grid.activations[name] == params:
            return self.codes(name)
        return self._requantized(name, output, f"{name}{MARK}{output}")

    def _requantized(self, name: str, output: str, label: str) -> int:
        """Return an activation on the grid of another; saturation cuts what that has no code for."""
        index = self.model.activation(label, self.nhwc(name), self.quantization(output))
        self.model.operator("QUANTIZE", [self.codes(name)], [index], schema.QuantizeOptionsT())
        return index

    def parameters(self, node: Node, axis: int, layout: tuple[int, ...]) -> list[int]:
        """Return a weight's codes, one scale a channel, and its bias at the scale of the sum."""
        if self._kept:
            return super().parameters(node, axis, layout)
        weight, scales = self.value(node.inputs[1], "weight"), self.grid.weights[node.inputs[1]]
        order = self.shuffled.get(node.outputs[0], np.arange(weight.shape[axis]))
        sums = bias_scales(self.grid.activations[node.inputs[0]], scales)
        kernel = weight_codes(weight, scales, axis, self.grid.scheme).take(order, axis).transpose(layout)
        bias = bias_codes(self.bias(node, axis), sums)[order]
        # the axis of the output channels, wherever the layout puts it
        kernel_grid = _per_channel(scales[order], layout.index(axis))
        return [
            self.model.constant(node.inputs[1], np.ascontiguousarray(kernel), kernel_grid),
            self.model.constant(bias_name(node), bias, _per_channel(sums[order], 0)),
        ]

    def means(self, name: str, kernel: list[int], output: str) -> list[int]:
        """Return a depthwise convolution's weight and bias: XNNPACK takes no AVERAGE_POOL_2D of codes.

        Codes of 1 at a scale of 1 by their number make the mean, rounded once as any convolution's sum.
        """
        if self._kept:
            return super().means(name, kernel, output)
        channels = self.shape(name)[1]
        scales = np.full(channels, 1.0 / np.prod(kernel), np.float32)
        ones, zeros = np.ones((1, *kernel, channels), np.int8), np.zeros(channels, np.int32)
        sums = bias_scales(self.grid.activations[name], scales)
        return [
            self.model.constant(f"{output}{MARK}mean", ones, _per_channel(scales, 3)),
            self.model.constant(f"{output}{MARK}bias", zeros, _per_channel(sums, 0)),
        ]

    def fused(self, node: Node) -> tuple[str, int]:
        """Return the output of the node's unit, and RELU only where saturation does not do it."""
        unit = self._units[node.outputs[0]]
        if unit.activation is None:
            return unit.output, schema.ActivationFunctionType.NONE
        self.done.add(unit.output)
        # an upper bound is where codes end, or above: saturation does that always
        absorbed = rules.is_absorbed(unit, self.grid.activations[unit.output])
        return unit.output, schema.ActivationFunctionType.NONE if absorbed else schema.ActivationFunctionType.RELU

    def saturated(self, node: Node) -> str:
        """Return the output of the node's unit.

        Raises:
            RefusedError: It has an activation that saturation does not do.
        """
        output, activation = self.fused(node)
        if activation != schema.ActivationFunctionType.NONE:
            raise RefusedError(
                f"an activation on codes that start below 0 ({self.grid.scheme.name}); TFLite fuses none"
            )
        return output

    def clamp(self, node: Node, bounds: tuple[float, float]) -> None:
        """Append a requantization; MAXIMUM and MINIMUM of codes only where these do not end at the bound anyway."""
        if self._kept:
            super().clamp(node, bounds)
            return
        (name, *_), output = node.inputs, node.outputs[0]
        params = self.grid.activations[output]
        low, high = (
            int(params.codes(np.array(bound, np.float32))) for bound in np.clip(bounds, params.bottom, params.top)
        )
        reached = (("MAXIMUM", low, low > params.low), ("MINIMUM", high, high < params.high))
        steps = [(op, _int8(np.full((1, 1, 1, 1), code), params)) for op, code, is_needed in reached if is_needed]
        source = self._requantized(name, output, f"{output}{MARK}wide" if steps else self.label(output))
        self.between(source, output, steps, self.quantization(output))

    def operator(self, op: str, inputs: list[int], outputs: list[int], options: Any = None, version: int = 1) -> None:
        """Append an operator, at the version that takes int8 where it computes in codes."""
        if not self._kept:
            version = max(version, VERSIONS.get(op, 1))
            if op == "MUL" and self.model.product(*inputs, *outputs) >= 1.0:
                version = 3
        super().operator(op, inputs, outputs, options, version)


def _zero_point(params: QParams) -> int:
    return params.zero_point - params.low + _LOW


def _int8(codes: npt.NDArray[np.int32], params: QParams) -> npt.NDArray[np.int8]:
    return (codes - params.low + _LOW).astype(np.int8)


def _quantization(params: QParams) -> Any:
    return schema.QuantizationParametersT(scale=[params.scale], zeroPoint=[_zero_point(params)])


def _per_channel(scales: npt.NDArray[np.float32], axis: int) -> Any:
    zeros = np.zeros(len(scales), np.int64)
    return schema.QuantizationParametersT(scale=scales, zeroPoint=zeros, quantizedDimension=axis)
