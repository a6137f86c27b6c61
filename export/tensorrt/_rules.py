"""TensorRT's rules for explicit Q/DQ graphs, each with its source, as functions that name what breaks them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, numpy_helper

from edgemat.export.tensorrt._write import SHIFT, SHIFTS
from edgemat.quantize import qdq

GUIDE = "https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library"
EXPLICIT = f"{GUIDE}/quantized-types-explicit-quantization.html"
PARSER = "https://github.com/onnx/onnx-tensorrt, onnxOpImporters.cpp, QuantDequantLinearHelper"
_PAIR = ("QuantizeLinear", "DequantizeLinear")
_WEIGHTED = {"Conv": 0, "ConvTranspose": 1}
_POINTWISE = ("Relu", "Clip")
"""What TensorRT fuses between an operator and its QuantizeLinear, besides a shift."""


class View:
    """A Q/DQ graph with its links: who makes and who reads each tensor, and every constant's value."""

    def __init__(self, model: ModelProto) -> None:
        """Collect the links."""
        self.nodes: tuple[NodeProto, ...] = tuple(model.graph.node)
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.constants: dict[str, npt.NDArray[Any]] = {
            t.name: numpy_helper.to_array(t) for t in model.graph.initializer
        }
        self.readers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.opsets = {entry.domain: int(entry.version) for entry in model.opset_import}
        facts = {entry.key: entry.value for entry in model.metadata_props}
        self.kept = frozenset(json.loads(facts.get(qdq.KEPT, "[]")))
        self.shifts: dict[str, int] = json.loads(facts.get(SHIFTS, "{}"))

    def pairs(self, *ops: str) -> Iterator[NodeProto]:
        """Yield the nodes of these operators."""
        return (node for node in self.nodes if node.op_type in ops)

    def computing(self) -> Iterator[NodeProto]:
        """Yield what is neither of a pair, nor fused behind an operator, nor a shift, nor kept in float."""
        for node in self.nodes:
            if (
                node.op_type not in _PAIR
                and not self.follows(node)
                and node.name not in self.kept
                and not at_ends(node)
            ):
                yield node

    def follows(self, node: NodeProto) -> bool:
        """Return whether a node is fused behind the operator that it reads."""
        maker = self.makers.get(node.input[0]) if node.input else None
        pointwise = node.op_type in _POINTWISE or node.name.endswith(SHIFT)
        return pointwise and maker is not None and maker.op_type not in _PAIR

    def reads_codes(self, node: NodeProto) -> bool:
        """Return whether all that a node reads, constants aside, comes from DequantizeLinear."""
        makers = [self.makers.get(name) for name in node.input if name and name not in self.constants]
        if any(maker is not None and maker.name.endswith(SHIFT) for maker in makers):  # behind a pair, a shift undone
            makers = [self.makers.get(m.input[0]) if m is not None and m.name.endswith(SHIFT) else m for m in makers]
        return bool(makers) and all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)

    def makes_codes(self, node: NodeProto) -> bool:
        """Return whether all that a node makes becomes codes, perhaps behind what is fused."""
        following = list(self.readers.get(node.output[0], ()))
        while following and all(self.follows(n) for n in following):
            following = [n for f in following for n in self.readers.get(f.output[0], ())]
        return bool(following) and all(n.op_type == "QuantizeLinear" for n in following)


def at_ends(node: NodeProto) -> bool:
    """Return whether a node only shifts or pads the ends, outside of codes."""
    return bool(node.name.endswith((SHIFT, "#pad")))


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: A word.
        text: What must hold.
        source: Where NVIDIA says so.
        broken: Yields a line for each place where it does not.
    """

    name: str
    text: str
    source: str
    broken: Callable[[View], Iterator[str]]


def _zero_points(view: View) -> Iterator[str]:
    for node in view.pairs(*_PAIR):
        zero = view.constants.get(node.input[2]) if len(node.input) > 2 else None
        if zero is None:
            yield f"{node.name}: no constant zero point"
        elif zero.dtype != np.int8 or zero.any():
            yield f"{node.name}: zero point {zero.ravel()[:4].tolist()} {zero.dtype}"


def _scales(view: View) -> Iterator[str]:
    for node in view.pairs(*_PAIR):
        scale = view.constants.get(node.input[1])
        if scale is None or scale.dtype != np.float32:
            yield f"{node.name}: scale {'computed by the graph' if scale is None else scale.dtype}"
        elif not (np.isfinite(scale) & (scale > 0)).all():
            yield f"{node.name}: scale {scale.min()}"
        elif (
            len(node.input) > 2 and (zero := view.constants.get(node.input[2])) is not None and zero.size != scale.size
        ):
            yield f"{node.name}: {scale.size} scales, {zero.size} zero points"


def _per_tensor(view: View) -> Iterator[str]:
    for node in view.pairs(*_PAIR):
        scale = view.constants.get(node.input[1])
        if node.input[0] not in view.constants and scale is not None and scale.size != 1:
            yield f"{node.name}: {scale.size} scales"


def _weights(view: View) -> Iterator[str]:
    for node in view.pairs(*_WEIGHTED):
        maker = view.makers.get(node.input[1])
        if node.name in view.kept or maker is None or maker.op_type != "DequantizeLinear":
            continue  # another rule's matter
        axis = _WEIGHTED[node.op_type]
        codes, scale = (view.constants.get(name) for name in maker.input[:2])
        stated = next((int(a.i) for a in maker.attribute if a.name == "axis"), 1)
        if codes is None or codes.dtype != np.int8:
            yield f"{node.input[1]}: {'computed by the graph' if codes is None else codes.dtype}"
        elif scale is None or (scale.size, stated % codes.ndim) != (codes.shape[axis], axis):
            count = 0 if scale is None else scale.size
            yield f"{node.input[1]}: {count} scales on axis {stated}, {codes.shape[axis]} channels on axis {axis}"


def _biases(view: View) -> Iterator[str]:
    for node in view.pairs(*_WEIGHTED):
        if len(node.input) > 2 and node.input[2]:
            bias = view.constants.get(node.input[2])
            if bias is None or bias.dtype != np.float32:
                yield f"{node.name}: bias {node.input[2]} is {'computed by the graph' if bias is None else bias.dtype}"


def _pairs(view: View) -> Iterator[str]:
    for node in view.pairs("QuantizeLinear"):
        ends = [view.constants.get(name) for name in node.input[1:3]]
        for reader in view.readers.get(node.output[0], ()):
            if reader.op_type != "DequantizeLinear":
                yield f"{node.output[0]}: read by {reader.name} ({reader.op_type})"
            elif not all(_same(a, view.constants.get(b)) for a, b in zip(ends, reader.input[1:3], strict=False)):
                yield f"{node.output[0]}: {reader.name} has another scale or zero point"
    for node in view.pairs("DequantizeLinear"):
        maker = view.makers.get(node.input[0])
        if node.input[0] not in view.constants and (maker is None or maker.op_type != "QuantizeLinear"):
            yield f"{node.name}: reads no codes"


def _same(first: npt.NDArray[Any] | None, second: npt.NDArray[Any] | None) -> bool:
    return first is not None and second is not None and np.array_equal(first, second)


def _inputs(view: View) -> Iterator[str]:
    for node in view.pairs(*_WEIGHTED):
        for name, what in zip(node.input, ("input", "weight"), strict=False):
            maker = view.makers.get(name)
            if node.name not in view.kept and (maker is None or maker.op_type != "DequantizeLinear"):
                yield f"{node.name}: its {what} {name} is not quantized"


def _operands(view: View) -> Iterator[str]:
    for node in view.computing():
        if node.op_type not in _WEIGHTED and not view.reads_codes(node):
            yield f"{node.name} ({node.op_type}): reads a tensor that is not quantized"


def _results(view: View) -> Iterator[str]:
    for node in view.computing():
        if not view.makes_codes(node):
            yield f"{node.name} ({node.op_type}): what it makes is not quantized"


def _ends(view: View) -> Iterator[str]:
    """Yield a line for each shifted tensor whose constant is not its scale times its moved zero point."""
    scales = {n.output[0].removesuffix(qdq.CODES): view.constants.get(n.input[1]) for n in view.pairs("QuantizeLinear")}
    for tensor, steps in view.shifts.items():
        scale, offset = scales.get(tensor), view.constants.get(f"{tensor}{SHIFT}ed_by")
        if scale is None:
            yield f"{tensor}: shifted, but no such tensor"
        elif offset is not None and offset != np.float32(steps * float(scale)):
            yield f"{tensor}: shifted by {float(offset):.9g}, expected {steps * float(scale):.9g}"
    for node in view.nodes:
        if node.name.endswith(SHIFT) and node.input[1].removesuffix(f"{SHIFT}ed_by") not in view.shifts:
            yield f"{node.name}: shifts what the metadata do not name"


def _opset(view: View) -> Iterator[str]:
    for domain, version in view.opsets.items():
        if domain not in ("", "ai.onnx"):
            yield f"domain {domain!r}"
        elif not 13 <= version <= 20:
            yield f"opset {version}"


RULES = (
    Rule("zero-points", "every zero point is a constant int8 0", PARSER, _zero_points),
    Rule("scales", "every scale is a positive constant in float32, as many as zero points", PARSER, _scales),
    Rule("per-tensor", "an activation has one scale", f"{GUIDE}/work-quantized-types.html", _per_tensor),
    Rule("weights", "a weight is int8 before DequantizeLinear, a scale for each output channel", EXPLICIT, _weights),
    Rule(
        "biases",
        "a bias is a constant in float32: DequantizeLinear of int32 is refused",
        "https://github.com/microsoft/onnxruntime/issues/14229",
        _biases,
    ),
    Rule("pairs", "codes are read by DequantizeLinear alone, on the scale that made them", EXPLICIT, _pairs),
    Rule("inputs", "all inputs of a weighted operator are quantized", f"{EXPLICIT}, placement", _inputs),
    Rule("operands", "what a join or any other operator reads is quantized", f"{EXPLICIT}, placement", _operands),
    Rule("results", "QuantizeLinear stands behind each operator's Relu or Clip", f"{EXPLICIT}, placement", _results),
    Rule("ends", "the shift of the ends is their scale times 128", "edgemat.export.tensorrt._write", _ends),
    Rule("opset", "standard operators, opset 13 to 20", f"{PARSER}; 13 brought scales by channel", _opset),
)  # fmt: skip


def broken(model: ModelProto) -> list[str]:
    """Return a line for each place where a graph breaks a rule: the place, the rule and its source."""
    view = View(model)
    return [f"{line}; rule {r.name}: {r.text} ({r.source})" for r in RULES for line in r.broken(view)]
