"""What each ONNX operator is in Core ML's MIL, one function an operator.

Nothing is approximated: an attribute without an exact counterpart is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Var = Any  # a coremltools MIL variable; coremltools carries no types
Array = npt.NDArray[Any]
Shape = tuple[int, ...]


class RefusalError(Exception):
    """Why one node cannot be translated exactly; all of them are collected into one error."""


@dataclass
class Node:
    """One ONNX node with what its translation needs.

    Attributes:
        mb: coremltools' MIL builder.
        name: The MIL name for the tensor that the node makes.
        attributes: ONNX attributes, as `onnx.helper.get_attribute_value` gives them.
        values: The inputs, None where an optional one is left out: MIL variables or constant arrays.
        shapes: The inputs' shapes, aligned with `values`.
        out_shape: The output's shape as ONNX infers it.
        const_names: MIL names for those inputs that are constants, aligned with `values`.
        const_vars: The constants that have become MIL variables so far, shared by all nodes.
    """

    mb: Any
    name: str
    attributes: Mapping[str, Any]
    values: Sequence[Var | Array | None]
    shapes: Sequence[Shape]
    out_shape: Shape
    const_names: Sequence[str]
    const_vars: dict[str, Var]

    def attr(self, name: str, default: Any) -> Any:
        """Return an attribute or ONNX's default for it."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def require(self, name: str, allowed: Sequence[Any]) -> None:
        """Refuse an attribute whose value is none of ``allowed``; the first is ONNX's default."""
        value = self.attr(name, allowed[0])
        if value not in allowed:
            raise RefusalError(f"{name}={value!r}, supported: {', '.join(repr(a) for a in allowed)}")

    def const(self, index: int, what: str) -> Array | None:
        """Return a constant input, None where it is left out; refuse one that is computed."""
        value = self.values[index] if index < len(self.values) else None
        if value is not None and not isinstance(value, np.ndarray):
            raise RefusalError(f"{what} is computed in the graph, supported: a constant")
        return value

    def var(self, index: int) -> Var:
        """Return an input as a MIL variable; a constant becomes one under its own name."""
        value = self.values[index]
        if value is None:
            raise RefusalError(f"input {index} is missing")
        if not isinstance(value, np.ndarray):
            return value
        if value.dtype != np.float32:
            raise RefusalError(f"constant input {index} is {value.dtype}, supported: float32")
        name = self.const_names[index]
        if name not in self.const_vars:
            self.const_vars[name] = self.mb.const(val=value, name=name)
        return self.const_vars[name]

    def optional(self, index: int, what: str) -> Var | None:
        """Return a constant input as a MIL variable, None where it is left out."""
        return None if self.const(index, what) is None else self.var(index)


Translation = Callable[[Node], Var]
TABLE: dict[str, Translation] = {}


def _op(name: str) -> Callable[[Translation], Translation]:
    """Register the translation of one ONNX operator."""

    def register(function: Translation) -> Translation:
        TABLE[name] = function
        return function

    return register


def _spatial(node: Node) -> None:
    """Refuse anything but (N, C, H, W)."""
    if len(node.shapes[0]) != 4:
        raise RefusalError(f"input has shape {node.shapes[0]}, supported: four dimensions")


def _pads(node: Node) -> list[int]:
    """Return ONNX's (top, left, bottom, right) in MIL's order: top, bottom, left, right."""
    node.require("auto_pad", ("NOTSET", "VALID"))
    top, left, bottom, right = (
        (0, 0, 0, 0) if node.attr("auto_pad", "NOTSET") == "VALID" else node.attr("pads", (0,) * 4)
    )
    if min(top, left, bottom, right) < 0:
        raise RefusalError(f"pads={[top, left, bottom, right]}, supported: none negative")
    return [int(p) for p in (top, bottom, left, right)]


def _convolution(node: Node) -> dict[str, Any]:
    """Return the arguments that both convolutions share."""
    _spatial(node)
    weight = node.const(1, "weight")
    if weight is None:
        raise RefusalError("weight is missing")
    return {
        "x": node.var(0),
        "weight": node.var(1),
        "bias": node.optional(2, "bias"),
        "pad_type": "custom",
        "pad": _pads(node),
        "strides": [int(s) for s in node.attr("strides", (1, 1))],
        "dilations": [int(d) for d in node.attr("dilations", (1, 1))],
        "groups": int(node.attr("group", 1)),
        "name": node.name,
    }


@_op("Conv")
def _conv(node: Node) -> Var:
    return node.mb.conv(**_without_none(_convolution(node)))


@_op("ConvTranspose")
def _conv_transpose(node: Node) -> Var:
    arguments = _convolution(node)
    if "output_shape" in node.attributes:
        raise RefusalError("output_shape is given, supported: pads and output_padding")
    extra = node.attr("output_padding", (0, 0))
    top, bottom, left, right = arguments["pad"]
    bottom, right = bottom - int(extra[0]), right - int(extra[1])  # what output_padding adds, the pad no longer crops
    if bottom < 0 or right < 0:
        raise RefusalError(f"output_padding={list(extra)} exceeds the end pads, supported: at most the end pads")
    return node.mb.conv_transpose(**_without_none(arguments | {"pad": [top, bottom, left, right]}))


def _without_none(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what is left out: MIL's builder takes no None."""
    return {key: value for key, value in arguments.items() if value is not None}


@_op("Relu")
def _relu(node: Node) -> Var:
    return node.mb.relu(x=node.var(0), name=node.name)


@_op("Sigmoid")
def _sigmoid(node: Node) -> Var:
    return node.mb.sigmoid(x=node.var(0), name=node.name)


@_op("Identity")
def _identity(node: Node) -> Var:
    return node.mb.identity(x=node.var(0), name=node.name)


@_op("Clip")
def _clip(node: Node) -> Var:
    low, high = node.const(1, "min"), node.const(2, "max")
    if low is None or high is None:
        raise RefusalError("only one end is given, supported: both min and max (a Relu for min=0 alone)")
    if (float(low), float(high)) == (0.0, 6.0):
        return node.mb.relu6(x=node.var(0), name=node.name)
    return node.mb.clip(x=node.var(0), alpha=float(low), beta=float(high), name=node.name)


@_op("Add")
def _add(node: Node) -> Var:
    return node.mb.add(x=node.var(0), y=node.var(1), name=node.name)


@_op("Sub")
def _sub(node: Node) -> Var:
    return node.mb.sub(x=node.var(0), y=node.var(1), name=node.name)


@_op("Mul")
def _mul(node: Node) -> Var:
    return node.mb.mul(x=node.var(0), y=node.var(1), name=node.name)


@_op("Div")
def _div(node: Node) -> Var:
    return node.mb.real_div(x=node.var(0), y=node.var(1), name=node.name)


@_op("Concat")
def _concat(node: Node) -> Var:
    values = [node.var(i) for i in range(len(node.values))]
    return node.mb.concat(values=values, axis=int(node.attr("axis", 1)), name=node.name)


@_op("Resize")
def _resize(node: Node) -> Var:
    _spatial(node)
    node.require("antialias", (0,))
    node.require("exclude_outside", (0,))
    node.require("keep_aspect_ratio_policy", ("stretch",))
    node.require("mode", ("linear", "nearest"))
    if "axes" in node.attributes:
        raise RefusalError("axes are given, supported: scales or sizes for all four dimensions")
    scales = node.const(2, "scales")
    _ = node.const(3, "sizes")
    size, goal = node.shapes[0], node.out_shape
    if size[:2] != goal[:2]:
        raise RefusalError(f"resizes batch or channels, {size} to {goal}; supported: height and width")
    real = np.array(goal) / np.array(size)
    if scales is not None and scales.size and not np.allclose(scales, real, rtol=1e-6, atol=0):
        raise RefusalError(f"scales {scales.tolist()} do not divide {size} to {goal} exactly, supported: exact scales")
    return _resize_linear(node) if node.attr("mode", "nearest") == "linear" else _resize_nearest(node)


def _resize_linear(node: Node) -> Var:
    """Interpolate: ``upsample_bilinear`` for whole factors, ``resize_bilinear`` with the same grid for others."""
    mode = node.attr("coordinate_transformation_mode", "half_pixel")
    node.require("coordinate_transformation_mode", ("half_pixel", "pytorch_half_pixel", "align_corners"))
    (height, width), (rows, columns) = node.shapes[0][2:], node.out_shape[2:]
    if min(rows, columns) == 1 and mode != "half_pixel":
        raise RefusalError(f"{mode} to a single row or column, supported: at least two")
    corners = mode == "align_corners"
    if rows % height == 0 and columns % width == 0:
        return node.mb.upsample_bilinear(
            x=node.var(0),
            scale_factor_height=float(rows // height),
            scale_factor_width=float(columns // width),
            align_corners=corners,
            half_pixel_centers=not corners,
            name=node.name,
        )
    return node.mb.resize_bilinear(
        x=node.var(0),
        target_size_height=rows,
        target_size_width=columns,
        sampling_mode="STRICT_ALIGN_CORNERS" if corners else "UNALIGN_CORNERS",
        name=node.name,
    )


def _resize_nearest(node: Node) -> Var:
    """Repeat pixels: accepted where ONNX's own rule picks pixel ``i // factor`` for every output pixel ``i``."""
    factors = []
    for size, goal in zip(node.shapes[0][2:], node.out_shape[2:], strict=True):
        if goal % size or not np.array_equal(_nearest_source(node, size, goal), np.arange(goal) // (goal // size)):
            mode, rounding = node.attr("coordinate_transformation_mode", "half_pixel"), node.attr("nearest_mode", "")
            raise RefusalError(
                f"nearest {size} to {goal} with {mode}/{rounding}, supported: whole factors that repeat pixels"
            )
        factors.append(goal // size)
    return node.mb.upsample_nearest_neighbor(
        x=node.var(0), scale_factor_height=factors[0], scale_factor_width=factors[1], name=node.name
    )


def _nearest_source(node: Node, size: int, goal: int) -> npt.NDArray[np.int64]:
    """Return the input index of every output index, as the ONNX operator's text defines it."""
    node.require("coordinate_transformation_mode", ("half_pixel", "pytorch_half_pixel", "asymmetric"))
    node.require("nearest_mode", ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"))
    index = np.arange(goal, dtype=np.float64) * size / goal
    if node.attr("coordinate_transformation_mode", "half_pixel") != "asymmetric":
        index += 0.5 * size / goal - 0.5
    rounding: dict[str, Callable[[Array], Array]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda x: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    }
    rounded = rounding[node.attr("nearest_mode", "round_prefer_floor")](index)
    return np.clip(rounded, 0, size - 1).astype(np.int64)


@_op("DepthToSpace")
def _depth_to_space(node: Node) -> Var:
    node.require("mode", ("DCR", "CRD"))
    block = int(node.attr("blocksize", 0))
    if node.attr("mode", "DCR") == "CRD":  # a channel's block lies together, as PyTorch's PixelShuffle has it
        return node.mb.pixel_shuffle(x=node.var(0), upscale_factor=block, name=node.name)
    return node.mb.depth_to_space(x=node.var(0), block_size=block, name=node.name)


@_op("SpaceToDepth")
def _space_to_depth(node: Node) -> Var:
    return node.mb.space_to_depth(x=node.var(0), block_size=int(node.attr("blocksize", 0)), name=node.name)


def _pool(node: Node) -> dict[str, Any]:
    """Return the arguments that both poolings share."""
    _spatial(node)
    node.require("dilations", ([1, 1],))
    kernel, strides = node.attr("kernel_shape", ()), node.attr("strides", (1, 1))
    pad = _pads(node)
    steps = [(n + pad[2 * i] + pad[2 * i + 1] - kernel[i]) % strides[i] for i, n in enumerate(node.shapes[0][2:])]
    if node.attr("ceil_mode", 0) and any(steps):
        raise RefusalError("ceil_mode=1 with windows that overhang, supported: ceil_mode=0")
    return {
        "x": node.var(0),
        "kernel_sizes": [int(k) for k in kernel],
        "strides": [int(s) for s in strides],
        "pad_type": "custom",
        "pad": pad,
        "name": node.name,
    }


@_op("MaxPool")
def _max_pool(node: Node) -> Var:
    node.require("storage_order", (0,))
    return node.mb.max_pool(**_pool(node))


@_op("AveragePool")
def _average_pool(node: Node) -> Var:
    exclude = not node.attr("count_include_pad", 0)
    return node.mb.avg_pool(**_pool(node), exclude_padding_from_average=exclude)


@_op("GlobalAveragePool")
def _global_average_pool(node: Node) -> Var:
    _spatial(node)
    return node.mb.reduce_mean(x=node.var(0), axes=[2, 3], keep_dims=True, name=node.name)


@_op("Pad")
def _pad(node: Node) -> Var:
    _spatial(node)
    node.require("mode", ("constant",))
    pads, fill, axes = node.const(1, "pads"), node.const(2, "value"), node.const(3, "axes")
    if axes is not None:
        raise RefusalError("axes are given, supported: pads for all four dimensions")
    if pads is None or pads.min() < 0 or pads[[0, 1, 4, 5]].any():
        raise RefusalError(
            f"pads={None if pads is None else pads.tolist()}, supported: height and width, none negative"
        )
    amounts = [int(p) for p in pads.reshape(2, 4).T.reshape(-1)]
    value = 0.0 if fill is None else float(fill)
    return node.mb.pad(x=node.var(0), pad=amounts, mode="constant", constant_val=value, name=node.name)
