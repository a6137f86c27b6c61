"""State the symmetric grid as TensorRT reads it: every zero point 0, biases in float, the ends shifted by a constant.

The grid's ends are pixels and 8-bit alpha: scale 1/255, zero point -128. With zero point 0 the same codes stand for
reals that are 128/255 smaller. The shift is exact: subtracted from the image and added to alpha, made good in the bias
of the convolution that reads the image and taken off the bias of the one that makes alpha. Where the first one pads,
the image is padded with black before it becomes codes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgemat.errors import UnsupportedOpError
from edgemat.export import onnx as onnx_target
from edgemat.export._target import Trunk
from edgemat.quantize import graph as graphs
from edgemat.quantize import qdq, rules
from edgemat.quantize.graph import Graph
from edgemat.quantize.grid import Grid, bias_codes, bias_scales, weight_codes
from edgemat.quantize.rules import Unit

TRTEXEC, SHIFTS = "edgemat.trtexec", "edgemat.shifts"
"""Keys of the metadata: the command that builds an engine; tensor name to how far its zero point was moved, as JSON."""
SHIFT = "#shift"
"""Ending of the nodes that add or subtract a shift."""


def convert(trunk: Trunk, precision: str, path: Path) -> None:
    """Write a trunk for TensorRT.

    Raises:
        InputError: The grid breaks a rule, or is not symmetric.
        UnsupportedOpError: An operator cannot be quantized, or cannot be shifted.
    """
    assert trunk.grid is not None  # the frame has seen to it
    floating = onnx.load(trunk.path)
    model = qdq.insert(floating, trunk.grid, trunk.path.name)
    _Shifter(model, graphs.of(floating, trunk.path.name), trunk.grid, trunk.path.name).apply()
    onnx_target.describe(model, trunk, precision)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    shifts = {name: -params.zero_point for name, params in trunk.grid.activations.items() if params.zero_point}
    helper.set_model_props(model, {**facts, TRTEXEC: command(path.name), SHIFTS: json.dumps(shifts)})
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    del model.graph.value_info[:]
    path.write_bytes(model.SerializeToString(deterministic=True))


def command(name: str) -> str:
    """Return the line that builds an engine of a file with TensorRT 10 or later and times it.

    Example:
        >>> command("student-int8.tensorrt.onnx")
        'trtexec --onnx=student-int8.tensorrt.onnx --stronglyTyped --saveEngine=student-int8.engine'
    """
    return f"trtexec --onnx={name} --stronglyTyped --saveEngine={name.removesuffix('.tensorrt.onnx')}.engine"


class _Shifter:
    """Rewrites a Q/DQ graph in place."""

    def __init__(self, model: ModelProto, graph: Graph, grid: Grid, origin: str) -> None:
        self.model, self.graph, self.grid, self.origin = model, graph, grid, origin
        self.units = {unit.output: unit for unit in rules.units(graph)}
        self.by_node = {unit.node.name: unit for unit in self.units.values()}
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.nodes: list[NodeProto] = []
        self.padding = self._padding()

    def apply(self) -> None:
        """Rewrite every node."""
        self._refuse()
        for node in self.model.graph.node:
            handlers = {"QuantizeLinear": self._quantize, "DequantizeLinear": self._dequantize}
            handlers.get(node.op_type, self._other)(node)
        graph = self.model.graph
        read = {name for node in self.nodes for name in node.input}
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(tensor for name, tensor in self.constants.items() if name in read)

    def shift(self, tensor: str) -> float:
        """Return by how much the reals of a tensor's codes become smaller; 0 where its zero point is 0 already."""
        params = self.grid.activations[tensor]
        return -params.zero_point * params.scale

    def _refuse(self) -> None:
        """Raise unless every reader of a shifted tensor can make the shift good.

        Raises:
            UnsupportedOpError: Nodes that cannot, all of them.
        """
        lines = []
        for unit in self.units.values():
            for name in unit.inputs:
                if self.shift(name) and (why := self._why_not(unit, name)):
                    lines.append(f"{unit.node.name} ({unit.node.op}): {why}")
        if lines:
            head = (
                f"{self.origin}: TensorRT's zero points are 0, so the pixels' codes are read shifted, "
                f"and {len(lines)} nodes cannot make that good:"
            )
            raise UnsupportedOpError("\n  ".join([head, *lines]))

    def _why_not(self, unit: Unit, name: str) -> str:
        """Return why a reader cannot make a shift good; what is no convolution adds it again, or keeps it."""
        op, inside = unit.node.op, name not in self.graph.inputs
        if op in ("Conv", "AveragePool") and any(self._pads(unit)) and (inside or op != "Conv"):
            return "it pads a shifted tensor with zeros"
        if op == "Pad" and unit.node.attributes.get("mode", "constant") == "constant":
            return "it pads a shifted tensor with a constant"
        return "a transposed convolution of a shifted tensor" if op == "ConvTranspose" else ""

    def _pads(self, unit: Unit) -> tuple[int, ...]:
        attributes = unit.node.attributes
        if str(attributes.get("auto_pad", "NOTSET")).startswith("SAME"):
            return (1,)  # some: not known here
        return tuple(attributes.get("pads", (0, 0, 0, 0)))

    def _padding(self) -> dict[str, tuple[int, ...]]:
        """Return, for an input whose readers all pad alike, how: its pixels are padded before they become codes."""
        found = {}
        for name in self.graph.inputs:
            readers = [unit for unit in self.units.values() if name in unit.inputs]
            pads = {self._pads(unit) for unit in readers}
            if any(any(p) for p in pads):
                if len(pads) > 1 or any(
                    len(p) != 4 or u.node.op != "Conv" for p, u in zip(pads, readers, strict=False)
                ):
                    raise UnsupportedOpError(
                        f"{self.origin}: what reads {name} pads it in {len(pads)} ways, expected explicit pads of one "
                        "kind, because TensorRT reads the pixels' codes shifted"
                    )
                found[name] = pads.pop()
        return found

    def _make(self, op: str, inputs: list[str], output: str, name: str) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name))
        return output

    def _constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def _offset(self, tensor: str) -> str:
        return self._constant(f"{tensor}{SHIFT}ed_by", np.array(self.shift(tensor), np.float32))

    def _quantize(self, node: NodeProto) -> None:
        """Append a QuantizeLinear with zero point 0, behind what shifts its input where nothing else did."""
        tensor = node.output[0].removesuffix(qdq.CODES)
        self._constant(node.input[2], np.zeros((), np.int8))
        unit = self.units.get(tensor)
        absorbed = unit is not None and unit.node.op in ("Conv", *rules.SAME_SCALE)
        source = node.input[0]
        if self.shift(tensor) and not absorbed:
            source = self._make("Sub", [source, self._offset(tensor)], f"{tensor}#shifted", f"{tensor}{SHIFT}")
        if tensor in self.padding:
            (top, left, bottom, right) = self.padding[tensor]
            pads = self._constant(f"{tensor}#pads", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
            zero = self._constant(f"{tensor}#zero", np.array(-self.shift(tensor), np.float32))
            source = self._make("Pad", [source, pads, zero], f"{tensor}#padded", f"{tensor}#pad")
        node.input[0] = source
        self.nodes.append(node)

    def _dequantize(self, node: NodeProto) -> None:
        """Append a DequantizeLinear; a bias is left to its convolution, an output's shift is added again."""
        codes = self.constants.get(node.input[0])
        if codes is not None and codes.data_type == TensorProto.INT32:
            return
        tensor = node.input[0].removesuffix(qdq.CODES)
        result = node.output[0]
        if codes is None and result in self.graph.outputs and self.shift(tensor):
            node.output[0] = f"{tensor}#shifted"
            self.nodes.append(node)
            self._make("Add", [node.output[0], self._offset(tensor)], result, f"{tensor}{SHIFT}")
            return
        self.nodes.append(node)

    def _other(self, node: NodeProto) -> None:
        """Append a node; a convolution with its bias in float and the shifts made good."""
        unit = self.by_node.get(node.name)
        if unit is not None and not unit.weight and unit.node.op not in rules.SAME_SCALE:
            for position, name in enumerate(unit.node.inputs):
                if name in unit.inputs and self.shift(name):
                    result = f"{node.name}.{position}#restored"
                    node.input[position] = self._make(
                        "Add", [node.input[position], self._offset(name)], result, f"{result}{SHIFT}"
                    )
        if unit is not None and unit.weight:
            self._bias(node, unit)
            if unit.inputs[0] in self.padding:
                kept = [a for a in node.attribute if a.name != "pads"]
                del node.attribute[:]
                node.attribute.extend(kept)
        self.nodes.append(node)

    def _bias(self, node: NodeProto, unit: Unit) -> None:
        """Give a convolution its bias, float32: the codes' reals, and what the shifts of input and output ask for."""
        weight, axis = self.graph.constants[unit.weight], rules.WEIGHTED[unit.node.op]
        sums = tuple(i for i in range(weight.ndim) if i != axis)
        stated = self.graph.constants[unit.bias] if unit.bias else np.zeros(weight.shape[axis], np.float32)
        into, out = self.shift(unit.inputs[0]), self.shift(unit.output)
        if not (unit.bias or into or out):
            return
        if unit.node.name in self.grid.kept:
            real = stated.astype(np.float64) + into * weight.astype(np.float64).sum(sums)
        else:
            source, scales = self.grid.activations[unit.inputs[0]], self.grid.weights[unit.weight]
            codes = weight_codes(weight, scales, axis, self.grid.scheme).astype(np.int64).sum(sums)
            total = bias_codes(stated, bias_scales(source, scales)) - source.zero_point * codes
            real = total * np.float64(source.scale) * scales.astype(np.float64)
        name = self._constant(f"{unit.output}#bias", (real - (out if unit.node.op == "Conv" else 0)).astype(np.float32))
        node.input[2:] = [name]
