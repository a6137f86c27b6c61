"""Exact arithmetic of the operators, on integers or reals: sums of products, windows, places between inputs, moves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.quantize.graph import Node

Values = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
Reals = npt.NDArray[np.floating[Any]]
COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
"""Values of a Resize's ``coordinate_transformation_mode`` that `Taps` knows."""
_EXACT_IN_FLOAT32 = 2**24
"""Integers up to here are float32 values; a sum whose magnitudes add up to less is exact in any order."""


@dataclass(frozen=True)
class Window:
    """Where a sliding window stands: sizes are (rows, columns).

    Attributes:
        kernel: Its taps.
        strides: Steps between positions.
        dilations: Steps between taps.
        pads: Rows above, columns left; below and right is what the output's size asks for.
        output: Positions.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int]
    output: tuple[int, int]

    @classmethod
    def of(cls, node: Node, kernel: tuple[int, ...], source: tuple[int, ...], result: tuple[int, ...]) -> Window:
        """Read a window off a node: Conv, MaxPool or AveragePool.

        Args:
            node: ONNX attributes.
            kernel: (rows, columns).
            source: Shape of the input, NCHW.
            result: Shape of the output, NCHW.
        """
        get = node.attributes.get
        strides, dilations = tuple(get("strides", (1, 1))), tuple(get("dilations", (1, 1)))
        pads = tuple(get("pads", (0, 0, 0, 0)))[:2]
        if str(get("auto_pad", "NOTSET")).startswith("SAME"):
            spans = [(result[2 + i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 for i in range(2)]
            excess = [max(spans[i] - source[2 + i], 0) for i in range(2)]
            pads = tuple(e - e // 2 if get("auto_pad") == "SAME_LOWER" else e // 2 for e in excess)
        elif get("auto_pad", "NOTSET") == "VALID":
            pads = (0, 0)
        return cls((kernel[0], kernel[1]), strides, dilations, (pads[0], pads[1]), (result[2], result[3]))

    def views(self, values: Values, fill: float) -> Iterator[Values]:
        """Yield what each tap sees, rows first: (N, C, output rows, output columns); ``fill`` outside the values."""
        padded = self._padded(values, fill)
        (rows, columns), (down, right) = self.output, self.strides
        for y in range(self.kernel[0]):
            for x in range(self.kernel[1]):
                top, left = y * self.dilations[0], x * self.dilations[1]
                yield padded[
                    :, :, top : top + (rows - 1) * down + 1 : down, left : left + (columns - 1) * right + 1 : right
                ]

    def _padded(self, values: Values, fill: float) -> Values:
        size = [(self.output[i] - 1) * self.strides[i] + (self.kernel[i] - 1) * self.dilations[i] + 1 for i in range(2)]
        after = [max(size[i] - self.pads[i] - values.shape[2 + i], 0) for i in range(2)]
        if not any((*self.pads, *after)):
            return values
        around = ((0, 0), (0, 0), (self.pads[0], after[0]), (self.pads[1], after[1]))
        return np.pad(values, around, constant_values=fill)


def convolve(values: Values, weight: Values, window: Window, groups: int) -> npt.NDArray[np.float64]:
    """Return sums of products, float64, (N, O, H, W); exact where values and weights are integers.

    Args:
        values: (N, I, H, W), the zero point taken off.
        weight: (O, I / groups, rows, columns).
        window: Where the weight stands.
        groups: Of channels.
    """
    dtype = _matching(values, weight)
    outputs, inputs = weight.shape[:2]
    count, (rows, columns) = len(values), window.output
    if inputs == 1 and outputs == groups:  # depthwise: one channel each
        total = np.zeros((count, outputs, rows, columns), dtype)
        flat = weight.reshape(outputs, -1).astype(dtype)
        for tap, seen in enumerate(window.views(values.astype(dtype), 0)):
            total += seen * flat[:, tap, None, None]
        return total.astype(np.float64)
    seen = np.stack(list(window.views(values.astype(dtype), 0)), axis=2)  # (N, I, taps, H, W)
    seen = seen.reshape(count, groups, -1, rows * columns)
    sums = weight.reshape(groups, outputs // groups, -1).astype(dtype) @ seen
    return sums.reshape(count, outputs, rows, columns).astype(np.float64)


def _matching(values: Values, weight: Values) -> type[np.floating[Any]]:
    """Return float32 where integers are summed exactly in it, otherwise float64."""
    if not (np.issubdtype(values.dtype, np.integer) and np.issubdtype(weight.dtype, np.integer)):
        return np.float64
    largest = np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(1).max(initial=0)
    return np.float32 if int(largest) * int(np.abs(values).max(initial=0)) < _EXACT_IN_FLOAT32 else np.float64


def convolve_transposed(values: Values, weight: Values, node: Node, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return the sums of a transposed convolution of one group, float64, of the given NCHW shape.

    Args:
        values: (N, I, H, W), the zero point taken off.
        weight: (I, O, rows, columns).
        node: Strides, dilations, pads.
        shape: Of the output.
    """
    get, kernel = node.attributes.get, weight.shape[2:]
    strides, dilations = tuple(get("strides", (1, 1))), tuple(get("dilations", (1, 1)))
    extra = tuple(get("output_padding", (0, 0)))
    reach = [(values.shape[2 + i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 for i in range(2)]
    full = [max(reach[i] + extra[i], shape[2 + i]) for i in range(2)]
    total = np.zeros((len(values), weight.shape[1], full[0], full[1]), np.float64)
    flat = values.reshape(*values.shape[:2], -1).astype(np.float64)
    for y in range(kernel[0]):
        for x in range(kernel[1]):
            part = weight[:, :, y, x].T.astype(np.float64) @ flat
            rows = slice(y * dilations[0], y * dilations[0] + (values.shape[2] - 1) * strides[0] + 1, strides[0])
            columns = slice(x * dilations[1], x * dilations[1] + (values.shape[3] - 1) * strides[1] + 1, strides[1])
            total[:, :, rows, columns] += part.reshape(len(values), -1, *values.shape[2:])
    pads = tuple(get("pads", (0, 0, 0, 0)))[:2]
    automatic = str(get("auto_pad", "NOTSET"))
    if automatic.startswith("SAME") or "output_shape" in node.attributes:
        excess = [max(reach[i] + extra[i] - shape[2 + i], 0) for i in range(2)]
        pads = tuple(e // 2 if automatic == "SAME_UPPER" else e - e // 2 for e in excess)
    return total[:, :, pads[0] : pads[0] + shape[2], pads[1] : pads[1] + shape[3]]


@dataclass(frozen=True)
class Taps:
    """Where a Resize reads one axis.

    Attributes:
        mode: ONNX's ``coordinate_transformation_mode``.
        size: Inputs.
        count: Outputs.
        scale: Outputs an input, as the node states it.

    Example:
        >>> Taps("half_pixel", 2, 4, 2.0).linear(np.float64)[2].tolist()
        [0.0, 0.25, 0.75, 0.0]
    """

    mode: str
    size: int
    count: int
    scale: float

    def positions(self, dtype: type[np.floating[Any]]) -> Reals:
        """Return where each output lies among the inputs, computed in ``dtype``; not clamped."""
        at: Reals = np.arange(self.count).astype(dtype)
        half, scale = dtype(0.5), dtype(self.scale)
        if self.mode == "align_corners":
            at = at * dtype(self.size - 1) / dtype(max(self.count - 1, 1))
        elif self.mode == "asymmetric":
            at = at / scale
        elif self.mode != "pytorch_half_pixel" or self.count > 1:
            at = (at + half) / scale - half
        return at

    def linear(self, dtype: type[np.floating[Any]]) -> tuple[Indices, Indices, Reals]:
        """Return the inputs before and after each output, and the weight of the second, in [0, 1]."""
        position = np.clip(self.positions(dtype), dtype(0), dtype(self.size - 1))
        lower = position.astype(np.int64)
        return lower, np.minimum(lower + 1, self.size - 1), position - lower.astype(dtype)

    def nearest(self, mode: str) -> Indices:
        """Return the input that each output copies; ``mode`` is ONNX's ``nearest_mode``."""
        position = self.positions(np.float32)  # as ONNX Runtime: where a copy comes from is no matter of rounding codes
        rounded = {
            "round_prefer_floor": np.ceil(position - np.float32(0.5)),
            "round_prefer_ceil": np.floor(position + np.float32(0.5)),
            "floor": np.floor(position),
            "ceil": np.ceil(position),
        }[mode]
        found: Indices = np.clip(rounded.astype(np.int64), 0, self.size - 1)
        return found


def depth_to_space(codes: Values, block: int, mode: str) -> Values:
    """Return (N, C, H, W) as (N, C / block**2, H * block, W * block); ``mode`` is ONNX's, CRD or DCR."""
    count, channels, rows, columns = codes.shape
    depth = channels // block**2
    if mode == "CRD":
        parts = codes.reshape(count, depth, block, block, rows, columns).transpose(0, 1, 4, 2, 5, 3)
    else:
        parts = codes.reshape(count, block, block, depth, rows, columns).transpose(0, 3, 4, 1, 5, 2)
    return parts.reshape(count, depth, rows * block, columns * block)


def space_to_depth(codes: Values, block: int) -> Values:
    """Return (N, C, H, W) as (N, C * block**2, H / block, W / block), the block's position slowest."""
    count, channels, rows, columns = codes.shape
    parts = codes.reshape(count, channels, rows // block, block, columns // block, block).transpose(0, 3, 5, 1, 2, 4)
    return parts.reshape(count, channels * block**2, rows // block, columns // block)


def sigmoid(real: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Return 1 / (1 + exp(-x)), float64."""
    return np.array([0.5 * (1.0 + math.tanh(0.5 * float(x))) for x in real.ravel()]).reshape(real.shape)


def evaluated(node: Node, values: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Return what any node makes of reals, by ONNX's own reference."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    proto = helper.make_node(node.op, node.inputs, node.outputs, node.name, **node.attributes)
    feeds: dict[str, Any] = {name: values[name] for name in node.inputs if name}
    outputs: Any = ReferenceEvaluator(proto).run(None, feeds)
    return np.asarray(outputs[0])
