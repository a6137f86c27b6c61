"""Convolutions: weights laid out for NHWC, ONNX's explicit padding said as SAME, VALID or an operator of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgemat.export.tflite._source import Array, Node, RefusedError

if TYPE_CHECKING:
    from edgemat.export.tflite._emit import Emitter

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID


def conv(e: Emitter, node: Node) -> None:
    """Conv: CONV_2D, or DEPTHWISE_CONV_2D where every input channel has filters of its own."""
    image, name = node.inputs[:2]
    weight = e.value(name, "weight")
    group, channels = node.take("group", 1), e.shape(image)[1]
    if group not in (1, channels):
        raise RefusedError(f"group {group} of {channels} channels, expected 1 (dense) or {channels} (depthwise)")
    kernel = kernel_of(node, weight)
    strides, dilations = node.take("strides", [1, 1]), node.take("dilations", [1, 1])
    source, padding = padded(e, node, kernel, strides, dilations)
    output, activation = e.fused(node)
    shared = {
        "padding": padding,
        "strideH": strides[0],
        "strideW": strides[1],
        "dilationHFactor": dilations[0],
        "dilationWFactor": dilations[1],
        "fusedActivationFunction": activation,
    }
    if group == 1:
        inputs = [source, *e.parameters(node, 0, (0, 2, 3, 1))]
        e.emit("CONV_2D", inputs, output, schema.Conv2DOptionsT(**shared))
        return
    options = schema.DepthwiseConv2DOptionsT(**shared, depthMultiplier=weight.shape[0] // channels)
    inputs = [source, *e.parameters(node, 0, (1, 2, 3, 0))]
    e.emit("DEPTHWISE_CONV_2D", inputs, output, options, version=1 if dilations == [1, 1] else 2)


def conv_transpose(e: Emitter, node: Node) -> None:
    """ConvTranspose: TRANSPOSE_CONV with its output shape stated."""
    image, name = node.inputs[:2]
    weight = e.value(name, "weight")
    if node.take("group", 1) != 1:
        raise RefusedError("group other than 1")
    if node.take("dilations", [1, 1]) != [1, 1]:
        raise RefusedError("dilations other than 1")
    if node.take("auto_pad", "NOTSET") != "NOTSET":
        raise RefusedError("auto_pad other than NOTSET")
    kernel, strides = kernel_of(node, weight), node.take("strides", [1, 1])
    pads, extra = node.take("pads", [0, 0, 0, 0]), node.take("output_padding", [0, 0])
    n, _, *size = e.shape(node.outputs[0])
    crops = [(pads[i], pads[i + 2] - extra[i]) for i in (0, 1)]
    same = [_same(out // s, s, k, 1) for out, s, k in zip(size, strides, kernel, strict=True)]
    if all(crop == (0, 0) for crop in crops):
        padding = VALID
    elif crops == same and size == [i * s for i, s in zip(e.shape(image)[2:], strides, strict=True)]:
        padding = SAME
    else:
        raise RefusedError(
            f"kernel {kernel}, strides {strides}, pads {pads}, output_padding {extra}: TRANSPOSE_CONV has pads 0, "
            f"or (begin, end) {same} with an output of stride times the input"
        )
    shape = e.constant(f"{node.outputs[0]}#shape", np.array([n, *size, weight.shape[1]], np.int32))
    output = e.saturated(node)
    kernel_index, bias_index = e.parameters(node, 1, (1, 2, 3, 0))
    options = schema.TransposeConvOptionsT(padding=padding, strideH=strides[0], strideW=strides[1])
    e.emit("TRANSPOSE_CONV", [shape, kernel_index, e.tensor(image), bias_index], output, options, version=3)


def kernel_of(node: Node, weight: Array) -> list[int]:
    """Return the kernel's rows and columns; the weight must be of rank 4 and agree with the attribute."""
    if weight.ndim != 4:
        raise RefusedError(f"weight of rank {weight.ndim}, expected 4 (2-D convolution)")
    found = list(weight.shape[2:])
    stated = node.take("kernel_shape", found)
    if stated != found:
        raise RefusedError(f"kernel_shape {stated}, weight {found}")
    return found


def padded(
    e: Emitter, node: Node, kernel: list[int], strides: list[int], dilations: list[int], explicit: bool = True
) -> tuple[int, Any]:
    """Return the tensor to read and TFLite's padding; put a PAD before where neither SAME nor VALID says it.

    Args:
        e: The emitter.
        node: Takes ``pads`` and ``auto_pad`` from it.
        kernel: Rows, columns.
        strides: Rows, columns.
        dilations: Rows, columns.
        explicit: Zeros may be padded by an operator of its own; otherwise the node is refused.
    """
    image = node.inputs[0]
    pads, auto = node.take("pads", [0, 0, 0, 0]), node.take("auto_pad", "NOTSET")
    same = [
        _same(-(-i // s), s, k, d, i) for i, s, k, d in zip(e.shape(image)[2:], strides, kernel, dilations, strict=True)
    ]
    stated = [(pads[i], pads[i + 2]) for i in (0, 1)]
    if auto not in ("NOTSET", "VALID", "SAME_UPPER"):
        raise RefusedError(f"auto_pad {auto}, expected NOTSET, VALID or SAME_UPPER")
    if auto == "VALID" or (auto == "NOTSET" and stated == [(0, 0), (0, 0)]):
        return e.tensor(image), VALID
    if auto == "SAME_UPPER" or stated == same:
        return e.tensor(image), SAME
    if not explicit:
        raise RefusedError(f"pads {pads}; TFLite pools with pads 0 or (begin, end) {same}")
    return pad_zeros(e, image, [(0, 0), *stated, (0, 0)], f"{node.outputs[0]}#pad"), VALID


def pad_zeros(e: Emitter, image: str, pads: list[tuple[int, int]], name: str) -> int:
    """Append PAD and return its output: a new tensor, or the trunk's where ``name`` is one.

    Args:
        e: The emitter.
        image: The trunk's tensor to pad.
        pads: Before and after, for N, H, W, C.
        name: Of the padded tensor.
    """
    n, c, h, w = e.shape(image)
    shape = [size + sum(pad) for size, pad in zip((n, h, w, c), pads, strict=True)]
    inputs = [e.tensor(image), e.constant(f"{name}#amounts", np.array(pads, np.int32))]
    index = e.goal(name) if name in e.graph.shapes else e.inner(name, tuple(shape), image)
    e.operator("PAD", inputs, [index], schema.PadOptionsT())
    return index


def _same(out: int, stride: int, kernel: int, dilation: int, size: int | None = None) -> tuple[int, int]:
    """Return what TFLite's SAME pads before and after, for a convolution with ``out`` results of ``size`` values."""
    total = max(0, (out - 1) * stride + (kernel - 1) * dilation + 1 - (out * stride if size is None else size))
    return total // 2, total - total // 2
