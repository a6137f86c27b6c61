"""One ONNX operator is one function here; `OPS` is the table of all."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgemat.export.tflite._conv import VALID, conv, conv_transpose, pad_zeros, padded
from edgemat.export.tflite._emit import Emitter
from edgemat.export.tflite._source import Node, RefusedError

Translator = Callable[[Emitter, Node], None]


def clamp(e: Emitter, node: Node) -> None:
    """Relu, Clip."""
    bounds = e.bounds(node)
    if bounds is None:
        raise RefusedError("bounds are computed by the graph, expected constants")
    if not np.isfinite(bounds).any():
        raise RefusedError("no bound is given")
    e.clamp(node, bounds)


def binary(op: str, options: Callable[..., object], e: Emitter, node: Node) -> None:
    """Add, Sub, Mul, Div: constants and tensors of size 1 broadcast."""
    output, activation = e.fused(node)
    inputs = [e.operand(name) for name in node.inputs]
    e.emit(op, inputs, output, options(fusedActivationFunction=activation))


def sigmoid(e: Emitter, node: Node) -> None:
    """Sigmoid: LOGISTIC."""
    e.emit("LOGISTIC", [e.tensor(node.inputs[0])], node.outputs[0])


def identity(e: Emitter, node: Node) -> None:
    """Identity: nothing."""
    e.alias(node.outputs[0], node.inputs[0])


def concat(e: Emitter, node: Node) -> None:
    """Concat: CONCATENATION, the axis in NHWC."""
    axis = (0, 3, 1, 2)[node.take("axis") % 4]
    inputs = [e.joined(name, node.outputs[0]) for name in node.inputs]
    e.emit("CONCATENATION", inputs, node.outputs[0], schema.ConcatenationOptionsT(axis=axis))


def resize(e: Emitter, node: Node) -> None:
    """Resize: RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR, where they sample the same places as ONNX says."""
    mode, place = node.take("mode", "nearest"), node.take("coordinate_transformation_mode", "half_pixel")
    rounding = node.take("nearest_mode", "round_prefer_floor")
    for name, neutral in _RESIZE_NEUTRAL.items():
        if (found := node.take(name, neutral)) != neutral:
            raise RefusedError(f"{name} {found}, expected {neutral}")
    for name in ("cubic_coeff_a", "extrapolation_value"):  # read by modes that are refused
        node.take(name)
    source, goal = e.shape(node.inputs[0]), e.shape(node.outputs[0])
    scales = e.value(node.given(2), "scales") if node.given(2) and not node.given(3) else None
    if scales is not None and not np.array_equal(np.multiply(source, scales), goal):
        raise RefusedError(f"scales {scales.tolist()} do not divide {source} into whole pixels")
    ups = all(g % s == 0 for s, g in zip(source, goal, strict=True))
    if place == "pytorch_half_pixel" and min(goal[2:]) > 1:
        place = "half_pixel"
    key = (mode, place, rounding if mode == "nearest" else "")
    if key == ("nearest", "half_pixel", "round_prefer_floor") and ups:
        key = ("nearest", "half_pixel", "round_prefer_ceil")  # no pixel lies half-way, so nothing is rounded
    if key not in _RESIZES or source[:2] != goal[:2]:
        raise RefusedError(f"mode {mode}, {place}, {rounding}; TFLite has " + "; ".join(" ".join(k) for k in _RESIZES))
    corners, halves = _RESIZES[key]
    linear = mode == "linear"
    options = (schema.ResizeBilinearOptionsT if linear else schema.ResizeNearestNeighborOptionsT)(corners, halves)
    size = e.constant(f"{node.outputs[0]}#size", np.array(goal[2:], np.int32))
    op = "RESIZE_BILINEAR" if linear else "RESIZE_NEAREST_NEIGHBOR"
    e.emit(op, [e.tensor(node.inputs[0]), size], node.outputs[0], options, version=3)


_RESIZE_NEUTRAL = {
    "antialias": 0,
    "axes": [0, 1, 2, 3],
    "exclude_outside": 0,
    "keep_aspect_ratio_policy": "stretch",
}

_RESIZES = {
    ("linear", "half_pixel", ""): (False, True),
    ("linear", "align_corners", ""): (True, False),
    ("linear", "asymmetric", ""): (False, False),
    ("nearest", "half_pixel", "round_prefer_ceil"): (False, True),
    ("nearest", "asymmetric", "floor"): (False, False),
}
"""ONNX's mode, coordinate transformation and rounding to TFLite's align_corners and half_pixel_centers."""


def depth_to_space(e: Emitter, node: Node) -> None:
    """DepthToSpace: TFLite's order is DCR; for CRD the convolution before has its channels put in that order."""
    image, block, mode = node.inputs[0], node.take("blocksize"), node.take("mode", "DCR")
    if mode == "CRD" and image not in e.shuffled and e.shape(node.outputs[0])[1] > 1:
        raise RefusedError(
            "mode CRD (pixel_shuffle) of several channels, expected right after a dense Conv read by it alone"
        )
    e.emit("DEPTH_TO_SPACE", [e.tensor(image)], node.outputs[0], schema.DepthToSpaceOptionsT(blockSize=block))


def space_to_depth(e: Emitter, node: Node) -> None:
    """SpaceToDepth: the same order in both."""
    options = schema.SpaceToDepthOptionsT(blockSize=node.take("blocksize"))
    e.emit("SPACE_TO_DEPTH", [e.tensor(node.inputs[0])], node.outputs[0], options)


def max_pool(e: Emitter, node: Node) -> None:
    """MaxPool: MAX_POOL_2D."""
    if len(node.outputs) > 1:
        raise RefusedError("the indices output is asked for")
    node.take("storage_order")  # orders the indices only
    if node.take("dilations", [1, 1]) != [1, 1]:
        raise RefusedError("dilations other than 1")
    kernel, strides = node.take("kernel_shape"), node.take("strides", [1, 1])
    source, padding = padded(e, node, kernel, strides, [1, 1], explicit=False)
    _pool(e, node, "MAX_POOL_2D", source, padding, kernel, strides)


def average_pool(e: Emitter, node: Node) -> None:
    """AveragePool: AVERAGE_POOL_2D, which leaves padding out of the mean; zeros that count are padded before."""
    if node.take("dilations", [1, 1]) != [1, 1]:
        raise RefusedError("dilations other than 1")
    kernel, strides = node.take("kernel_shape"), node.take("strides", [1, 1])
    pads = node.attributes.get("pads", [0, 0, 0, 0])
    if node.take("count_include_pad", 0) and any(pads):
        node.take("pads")
        if node.take("auto_pad", "NOTSET") != "NOTSET":
            raise RefusedError("count_include_pad with auto_pad")
        amounts = [(0, 0), (pads[0], pads[2]), (pads[1], pads[3]), (0, 0)]
        source, padding = pad_zeros(e, node.inputs[0], amounts, f"{node.outputs[0]}#pad"), VALID
    else:
        source, padding = padded(e, node, kernel, strides, [1, 1], explicit=False)
    means = e.means(node.inputs[0], kernel, node.outputs[0]) if padding == VALID else []
    if means and not node.take("ceil_mode", 0):
        options = schema.DepthwiseConv2DOptionsT(padding, strides[1], strides[0], depthMultiplier=1)
        options.dilationHFactor = options.dilationWFactor = 1
        e.emit("DEPTHWISE_CONV_2D", [source, *means], node.outputs[0], options)
        return
    _pool(e, node, "AVERAGE_POOL_2D", source, padding, kernel, strides)


def _pool(e: Emitter, node: Node, op: str, source: int, padding: int, kernel: list[int], strides: list[int]) -> None:
    if node.take("ceil_mode", 0):
        raise RefusedError("ceil_mode 1, expected 0")
    options = schema.Pool2DOptionsT(padding, strides[1], strides[0], kernel[1], kernel[0])
    e.emit(op, [source], node.outputs[0], options)


def global_average_pool(e: Emitter, node: Node) -> None:
    """GlobalAveragePool: MEAN over rows and columns."""
    axes = e.constant(f"{node.outputs[0]}#axes", np.array([1, 2], np.int32))
    e.emit("MEAN", [e.tensor(node.inputs[0]), axes], node.outputs[0], schema.ReducerOptionsT(keepDims=True))


def pad(e: Emitter, node: Node) -> None:
    """Pad: PAD with zeros."""
    if (mode := node.take("mode", "constant")) != "constant":
        raise RefusedError(f"mode {mode}, expected constant")
    value = e.value(node.given(2), "value").item() if node.given(2) else 0.0
    if value != 0.0 or node.given(3):
        raise RefusedError(f"value {value}, axes {node.given(3) or 'not given'}; expected zeros over all axes")
    amounts = [int(a) for a in e.value(node.given(1), "pads")]
    if min(amounts) < 0:
        raise RefusedError(f"pads {amounts}, expected none below 0")
    pairs = [(amounts[i], amounts[i + 4]) for i in (0, 2, 3, 1)]
    pad_zeros(e, node.inputs[0], pairs, node.outputs[0])


OPS: Mapping[str, Translator] = {
    "Add": functools.partial(binary, "ADD", schema.AddOptionsT),
    "AveragePool": average_pool,
    "Clip": clamp,
    "Concat": concat,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DepthToSpace": depth_to_space,
    "Div": functools.partial(binary, "DIV", schema.DivOptionsT),
    "GlobalAveragePool": global_average_pool,
    "Identity": identity,
    "MaxPool": max_pool,
    "Mul": functools.partial(binary, "MUL", schema.MulOptionsT),
    "Pad": pad,
    "Relu": clamp,
    "Resize": resize,
    "Sigmoid": sigmoid,
    "SpaceToDepth": space_to_depth,
    "Sub": functools.partial(binary, "SUB", schema.SubOptionsT),
}
"""ONNX operator type to its translator."""
