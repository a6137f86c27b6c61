"""Translate a saved Core ML package back to ONNX, so that engines which nobody here wrote can judge what it holds.

The arithmetic is float32 whatever the package states: float16 weights are widened, nothing is rounded in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export.coreml import _package
from edgemat.export.coreml._package import Operation, Tensor

_OPSET = 18


@dataclass
class _Graph:
    """The ONNX graph as far as it is built; `shapes` are those of all MIL variables."""

    shapes: Mapping[str, tuple[int, ...]]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, value: Any) -> str:
        """Add a constant and return its name; floats become float32, and integers but codes int64."""
        array = np.asarray(value)
        if array.dtype not in (np.int8, np.uint8):
            array = array.astype(np.float32) if array.dtype.kind == "f" else array.astype(np.int64)
        name = f"constant_{len(self.weights)}"
        self.weights.append(onnx.numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def name(self, argument: Any) -> str:
        """Return the ONNX name of an argument; a constant is added."""
        return argument.name if isinstance(argument, Tensor) else self.constant(argument)

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        """Add one node."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))


_Back = Callable[[_Graph, Operation], None]
_TABLE: dict[str, _Back] = {}


def _op(*kinds: str) -> Callable[[_Back], _Back]:
    """Register what MIL operators are in ONNX."""

    def register(function: _Back) -> _Back:
        _TABLE.update(dict.fromkeys(kinds, function))
        return function

    return register


def to_onnx(path: Path, out: Path) -> None:
    """Write the network of a package as ONNX: float32 RGB pixels 0 to 255, (1, 3, H, W), to its output.

    Args:
        path: The .mlpackage folder; its input is an RGB image.
        out: The ONNX file to write, opset 18.

    Raises:
        InputError: The package cannot be read, or its input is no RGB image.
        UnsupportedOpError: It holds MIL operators that are not known here; all are listed.
    """
    package = _package.read(path)
    if [f.layout for f in package.inputs] != ["RGB"]:
        raise InputError(f"{path}: inputs {package.inputs}, expected one RGB image; export it again")
    unknown = sorted({f"{op.output.name} ({op.kind})" for op in package.operations if op.kind not in _TABLE})
    if unknown:
        raise UnsupportedOpError(f"{path}: no ONNX counterpart for {', '.join(unknown)}; known: {', '.join(_TABLE)}")
    graph = _Graph({op.output.name: op.output.shape for op in package.operations})
    for op in package.operations:
        _TABLE[op.kind](graph, op)
    argument, outputs = package.arguments[0], {op.output.name: op.output for op in package.operations}
    results = [outputs[f.name] for f in package.outputs]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "package", [_info(argument)], [_info(r) for r in results], graph.weights),
        opset_imports=[helper.make_opsetid("", _OPSET)],
    )
    model.ir_version = 10
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(out))


def _info(tensor: Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.shape)


def _ints(op: Operation, key: str) -> list[int]:
    return [int(v) for v in np.atleast_1d(np.asarray(op.inputs[key][0]))]


def _real(op: Operation, key: str) -> float:
    return float(np.asarray(op.inputs[key][0]))


def _text(op: Operation, key: str) -> str:
    return str(op.inputs[key][0])


def _flag(op: Operation, key: str) -> bool:
    return key in op.inputs and bool(np.asarray(op.inputs[key][0]))


def _window(op: Operation, kernel: tuple[int, ...]) -> dict[str, list[int]]:
    """Return ONNX's window attributes; MIL orders pads top, bottom, left, right."""
    top, bottom, left, right = _ints(op, "pad") if _text(op, "pad_type") == "custom" else (0, 0, 0, 0)
    return {"kernel_shape": list(kernel), "strides": _ints(op, "strides"), "pads": [top, left, bottom, right]}


@_op("cast", "identity")
def _identity(g: _Graph, op: Operation) -> None:
    g.add("Identity", [g.name(op.inputs["x"][0])], op.output.name)


@_op("quantize", "dequantize")
def _quantization(g: _Graph, op: Operation) -> None:
    """Translate a step of the grid; MIL leaves out a zero point of 0, so that the type of codes has to be said."""
    ends = [g.name(op.inputs["input"][0]), g.constant(op.inputs["scale"][0])]
    if "zero_point" in op.inputs:
        ends.append(g.constant(op.inputs["zero_point"][0]))
    elif op.kind == "quantize":
        ends.append(g.constant(np.zeros((), op.output.dtype)))
    axis = {"axis": _ints(op, "axis")[0]} if "axis" in op.inputs else {}
    g.add("QuantizeLinear" if op.kind == "quantize" else "DequantizeLinear", ends, op.output.name, **axis)


@_op("constexpr_affine_dequantize")
def _stored(g: _Graph, op: Operation) -> None:
    scale, zero = (np.asarray(op.inputs[key][0]) for key in ("scale", "zero_point"))
    ends = [
        g.constant(op.inputs["quantized_data"][0]),
        g.constant(scale),
        g.constant(np.broadcast_to(zero, scale.shape)),
    ]
    g.add("DequantizeLinear", ends, op.output.name, axis=_ints(op, "axis")[0])


@_op("relu", "sigmoid")
def _activation(g: _Graph, op: Operation) -> None:
    g.add(op.kind.capitalize(), [g.name(op.inputs["x"][0])], op.output.name)


@_op("relu6", "clip")
def _clip(g: _Graph, op: Operation) -> None:
    low, high = (0.0, 6.0) if op.kind == "relu6" else (_real(op, "alpha"), _real(op, "beta"))
    g.add("Clip", [g.name(op.inputs["x"][0]), g.constant(low), g.constant(high)], op.output.name)


@_op("add", "sub", "mul", "real_div")
def _binary(g: _Graph, op: Operation) -> None:
    kind = "Div" if op.kind == "real_div" else op.kind.capitalize()
    g.add(kind, [g.name(op.inputs["x"][0]), g.name(op.inputs["y"][0])], op.output.name)


@_op("concat")
def _concat(g: _Graph, op: Operation) -> None:
    g.add("Concat", [g.name(v) for v in op.inputs["values"]], op.output.name, axis=_ints(op, "axis")[0])


@_op("conv", "conv_transpose")
def _convolution(g: _Graph, op: Operation) -> None:
    inputs = [g.name(op.inputs[key][0]) for key in ("x", "weight", "bias") if key in op.inputs]
    weight = op.inputs["weight"][0]
    kernel = g.shapes[weight.name][2:] if isinstance(weight, Tensor) else np.asarray(weight).shape[2:]
    kind = "Conv" if op.kind == "conv" else "ConvTranspose"
    window = _window(op, kernel) | {"dilations": _ints(op, "dilations")}
    g.add(kind, inputs, op.output.name, group=_ints(op, "groups")[0], **window)


@_op("batch_norm")
def _batch_norm(g: _Graph, op: Operation) -> None:
    inputs = [g.name(op.inputs[key][0]) for key in ("x", "gamma", "beta", "mean", "variance")]
    g.add("BatchNormalization", inputs, op.output.name, epsilon=_real(op, "epsilon"))


@_op("max_pool")
def _max_pool(g: _Graph, op: Operation) -> None:
    window = _window(op, tuple(_ints(op, "kernel_sizes")))
    g.add("MaxPool", [g.name(op.inputs["x"][0])], op.output.name, ceil_mode=int(_flag(op, "ceil_mode")), **window)


@_op("avg_pool")
def _avg_pool(g: _Graph, op: Operation) -> None:
    include = int(not _flag(op, "exclude_padding_from_average"))
    window = _window(op, tuple(_ints(op, "kernel_sizes"))) | {"ceil_mode": int(_flag(op, "ceil_mode"))}
    g.add("AveragePool", [g.name(op.inputs["x"][0])], op.output.name, count_include_pad=include, **window)


@_op("reduce_mean")
def _reduce_mean(g: _Graph, op: Operation) -> None:
    inputs = [g.name(op.inputs["x"][0]), g.constant(_ints(op, "axes"))]
    g.add("ReduceMean", inputs, op.output.name, keepdims=int(_flag(op, "keep_dims")))


@_op("pad")
def _pad(g: _Graph, op: Operation) -> None:
    pairs = np.array(_ints(op, "pad")).reshape(-1, 2)
    pairs = np.pad(pairs, ((len(op.output.shape) - len(pairs), 0), (0, 0)))
    inputs = [g.name(op.inputs["x"][0]), g.constant(pairs.T.reshape(-1)), g.constant(_real(op, "constant_val"))]
    g.add("Pad", inputs, op.output.name, mode=_text(op, "mode"))


@_op("upsample_bilinear", "resize_bilinear", "upsample_nearest_neighbor")
def _resize(g: _Graph, op: Operation) -> None:
    how = {"mode": "linear", "coordinate_transformation_mode": _grid(op)}
    if op.kind == "upsample_nearest_neighbor":
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    inputs = [g.name(op.inputs["x"][0]), "", "", g.constant(np.array(op.output.shape))]
    g.add("Resize", inputs, op.output.name, **how)


def _grid(op: Operation) -> str:
    """Return ONNX's name for the positions that a MIL resize samples."""
    if op.kind == "resize_bilinear":
        return {"STRICT_ALIGN_CORNERS": "align_corners", "UNALIGN_CORNERS": "half_pixel"}[_text(op, "sampling_mode")]
    if _flag(op, "align_corners"):
        return "align_corners"
    return "half_pixel" if _flag(op, "half_pixel_centers") else "asymmetric"


@_op("pixel_shuffle", "depth_to_space")
def _depth_to_space(g: _Graph, op: Operation) -> None:
    mode, key = ("CRD", "upscale_factor") if op.kind == "pixel_shuffle" else ("DCR", "block_size")
    g.add("DepthToSpace", [g.name(op.inputs["x"][0])], op.output.name, blocksize=_ints(op, key)[0], mode=mode)


@_op("space_to_depth")
def _space_to_depth(g: _Graph, op: Operation) -> None:
    g.add("SpaceToDepth", [g.name(op.inputs["x"][0])], op.output.name, blocksize=_ints(op, "block_size")[0])
