"""What each MIL operator computes, in numpy and in its inputs' type, as coremltools' operator reference defines it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError

Reals = npt.NDArray[np.floating[Any]]
Arguments = dict[str, Any]
TABLE: dict[str, Callable[[Arguments], Reals]] = {}


def _op(name: str) -> Callable[[Callable[[Arguments], Reals]], Callable[[Arguments], Reals]]:
    """Register the meaning of one MIL operator."""

    def register(function: Callable[[Arguments], Reals]) -> Callable[[Arguments], Reals]:
        TABLE[name] = function
        return function

    return register


@_op("identity")
@_op("cast")  # the rounding follows from the type of the result
def _identity(a: Arguments) -> Reals:
    return np.asarray(a["x"])


@_op("add")
def _add(a: Arguments) -> Reals:
    return np.asarray(a["x"] + a["y"])


@_op("sub")
def _sub(a: Arguments) -> Reals:
    return np.asarray(a["x"] - a["y"])


@_op("mul")
def _mul(a: Arguments) -> Reals:
    return np.asarray(a["x"] * a["y"])


@_op("real_div")
def _real_div(a: Arguments) -> Reals:
    return np.asarray(a["x"] / a["y"])


@_op("relu")
def _relu(a: Arguments) -> Reals:
    return np.asarray(np.maximum(a["x"], 0))


@_op("relu6")
def _relu6(a: Arguments) -> Reals:
    return np.asarray(np.clip(a["x"], 0, 6))


@_op("clip")
def _clip(a: Arguments) -> Reals:
    return np.asarray(np.clip(a["x"], float(a["alpha"]), float(a["beta"])))


@_op("sigmoid")
def _sigmoid(a: Arguments) -> Reals:
    return np.asarray(1.0 / (1.0 + np.exp(-a["x"])))


@_op("batch_norm")
def _batch_norm(a: Arguments) -> Reals:
    def channel(key: str, default: float) -> Reals:
        return np.asarray(a.get(key, np.float32(default)), np.float32).reshape(1, -1, 1, 1)

    scale = channel("gamma", 1.0) / np.sqrt(channel("variance", 1.0) + np.float32(a["epsilon"]))
    return np.asarray((a["x"] - channel("mean", 0.0)) * scale + channel("beta", 0.0), np.float32)


def _per_channel(value: Any, x: npt.NDArray[Any], a: Arguments) -> npt.NDArray[Any]:
    """Return a scale or zero point so that it broadcasts: a vector lies along ``axis``."""
    array = np.asarray(value)
    if not array.ndim:
        return array
    axis = int(a["axis"]) % x.ndim
    return array.reshape([-1 if i == axis else 1 for i in range(x.ndim)])


@_op("quantize")
def _quantize(a: Arguments) -> Reals:
    """Clip round(input / scale) + zero_point to the output's type; halves round to even."""
    x, limits = a["input"], np.iinfo(str(a["output_dtype"]))
    zero = _per_channel(a.get("zero_point", 0), x, a).astype(x.dtype)
    codes = np.rint(x / _per_channel(a["scale"], x, a)) + zero
    return np.asarray(np.clip(codes, limits.min, limits.max))


@_op("dequantize")
def _dequantize(a: Arguments) -> Reals:
    scale = np.asarray(a["scale"])
    x = np.asarray(a["input"], scale.dtype)
    zero = _per_channel(a.get("zero_point", 0), x, a).astype(scale.dtype)
    return np.asarray((x - zero) * _per_channel(scale, x, a))


@_op("constexpr_affine_dequantize")
def _constexpr_affine_dequantize(a: Arguments) -> Reals:
    return _dequantize(a | {"input": a["quantized_data"]})


@_op("concat")
def _concat(a: Arguments) -> Reals:
    return np.concatenate(a["values"], int(a["axis"]))


@_op("reduce_mean")
def _reduce_mean(a: Arguments) -> Reals:
    return np.asarray(a["x"].mean(tuple(a["axes"].tolist()), keepdims=bool(a["keep_dims"])))


@_op("pad")
def _pad(a: Arguments) -> Reals:
    if a["mode"] != "constant":
        raise InputError(f"pad: mode {a['mode']!r}, the interpreter knows constant")
    pairs = a["pad"].reshape(-1, 2)
    widths = [(0, 0)] * (a["x"].ndim - len(pairs)) + [tuple(p) for p in pairs.tolist()]
    return np.pad(a["x"], widths, constant_values=float(a["constant_val"]))


def _padding(a: Arguments) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right."""
    kind = str(a["pad_type"])
    if kind == "valid":
        return 0, 0, 0, 0
    if kind != "custom":
        raise InputError(f"pad_type {kind!r}, the interpreter knows custom and valid")
    top, bottom, left, right = a["pad"].tolist()
    return top, bottom, left, right


def _windows(x: Reals, kernel: tuple[int, int], a: Arguments, fill: float) -> list[Reals]:
    """Return, for each kernel tap in row order, the strided pixels that it meets: (N, C, rows, columns) each."""
    top, bottom, left, right = _padding(a)
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    (sy, sx), (dy, dx) = a["strides"].tolist(), a["dilations"].tolist() if "dilations" in a else (1, 1)
    rows = (padded.shape[2] - dy * (kernel[0] - 1) - 1) // sy + 1
    columns = (padded.shape[3] - dx * (kernel[1] - 1) - 1) // sx + 1
    return [
        padded[:, :, i * dy : i * dy + (rows - 1) * sy + 1 : sy, j * dx : j * dx + (columns - 1) * sx + 1 : sx]
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]


@_op("conv")
def _conv(a: Arguments) -> Reals:
    x, weight, groups = a["x"][0], a["weight"], int(a["groups"])
    out, per_group, *kernel = weight.shape
    taps = weight.reshape(groups, out // groups, per_group, -1)
    total: Any = 0.0
    rows = columns = 0
    for i, window in enumerate(_windows(x[None], (kernel[0], kernel[1]), a, 0.0)):
        rows, columns = window.shape[2:]
        pixels = window.reshape(groups, per_group, rows * columns)
        total = total + (taps[..., i] * pixels if per_group == 1 else taps[..., i] @ pixels)
    result = total.reshape(1, out, rows, columns)
    return np.asarray(result + a["bias"].reshape(1, -1, 1, 1) if "bias" in a else result)


@_op("conv_transpose")
def _conv_transpose(a: Arguments) -> Reals:
    x, weight, groups = a["x"][0], a["weight"], int(a["groups"])
    _, per_group, kh, kw = weight.shape
    (sy, sx), (dy, dx) = a["strides"].tolist(), a["dilations"].tolist()
    height, width = x.shape[1:]
    full = np.zeros(
        (groups, per_group, (height - 1) * sy + dy * (kh - 1) + 1, (width - 1) * sx + dx * (kw - 1) + 1), x.dtype
    )
    taps = weight.reshape(groups, -1, per_group, kh, kw)
    pixels = x.reshape(groups, -1, height * width)
    for i in range(kh):
        for j in range(kw):
            part = (taps[..., i, j].transpose(0, 2, 1) @ pixels).reshape(groups, per_group, height, width)
            full[:, :, i * dy : i * dy + (height - 1) * sy + 1 : sy, j * dx : j * dx + (width - 1) * sx + 1 : sx] += (
                part
            )
    top, bottom, left, right = _padding(a)
    cut = full.reshape(1, groups * per_group, *full.shape[2:])
    cut = cut[:, :, top : cut.shape[2] - bottom, left : cut.shape[3] - right]
    return np.asarray(cut + a["bias"].reshape(1, -1, 1, 1) if "bias" in a else cut)


def _refuse_ceil(a: Arguments) -> None:
    if bool(a.get("ceil_mode", False)):
        raise InputError("pooling with ceil_mode, the interpreter knows floor")


@_op("max_pool")
def _max_pool(a: Arguments) -> Reals:
    _refuse_ceil(a)
    kernel = a["kernel_sizes"].tolist()
    return np.asarray(np.maximum.reduce(_windows(a["x"], kernel, a, -np.inf)))


@_op("avg_pool")
def _avg_pool(a: Arguments) -> Reals:
    _refuse_ceil(a)
    kernel = a["kernel_sizes"].tolist()
    total = sum(_windows(a["x"], kernel, a, 0.0))
    if not bool(a.get("exclude_padding_from_average", False)):
        return np.asarray(total / (kernel[0] * kernel[1]))
    return np.asarray(total / sum(_windows(np.ones_like(a["x"]), kernel, a, 0.0)))


def _interpolate(x: Reals, axis: int, grid: npt.NDArray[np.float64]) -> Reals:
    """Sample ``x`` along one axis at real positions, linearly, clamped to the first and the last element."""
    grid = np.clip(grid, 0, x.shape[axis] - 1)
    low = np.floor(grid).astype(np.int64)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    part = (grid - low).astype(x.dtype).reshape(shape)
    lower, upper = x.take(low, axis), x.take(high, axis)
    return np.asarray(lower + (upper - lower) * part)


def _grid(size: int, goal: int, corners: bool, half_pixel: bool) -> npt.NDArray[np.float64]:
    """Return the sampling positions of MIL's bilinear operators (coremltools' operator reference)."""
    index = np.arange(goal, dtype=np.float64)
    if corners:
        return index * ((size - 1) / max(goal - 1, 1))
    return (index + 0.5) * size / goal - 0.5 if half_pixel else index * size / goal


@_op("upsample_bilinear")
def _upsample_bilinear(a: Arguments) -> Reals:
    x, corners = a["x"], bool(a["align_corners"])
    half_pixel = bool(a.get("half_pixel_centers", not corners))
    for axis, key in ((2, "scale_factor_height"), (3, "scale_factor_width")):
        goal = int(np.floor(x.shape[axis] * float(a[key])))
        x = _interpolate(x, axis, _grid(x.shape[axis], goal, corners, half_pixel))
    return np.asarray(x)


@_op("resize_bilinear")
def _resize_bilinear(a: Arguments) -> Reals:
    x, mode = a["x"], str(a["sampling_mode"])
    if mode not in ("STRICT_ALIGN_CORNERS", "UNALIGN_CORNERS"):
        raise InputError(f"resize_bilinear: mode {mode}, the interpreter knows STRICT_ALIGN_CORNERS, UNALIGN_CORNERS")
    for axis, key in ((2, "target_size_height"), (3, "target_size_width")):
        x = _interpolate(x, axis, _grid(x.shape[axis], int(a[key]), mode == "STRICT_ALIGN_CORNERS", True))
    return np.asarray(x)


@_op("upsample_nearest_neighbor")
def _upsample_nearest_neighbor(a: Arguments) -> Reals:
    x: Reals = a["x"]
    for axis, key in ((2, "scale_factor_height"), (3, "scale_factor_width")):
        factor = float(a[key])
        goal = int(np.floor(x.shape[axis] * factor))
        x = x.take(np.minimum(np.arange(goal) / factor, x.shape[axis] - 1).astype(np.int64), axis)
    return x


@_op("pixel_shuffle")
def _pixel_shuffle(a: Arguments) -> Reals:
    n, c, h, w = a["x"].shape
    f = int(a["upscale_factor"])
    blocks = a["x"].reshape(n, c // (f * f), f, f, h, w)
    return np.asarray(blocks.transpose(0, 1, 4, 2, 5, 3).reshape(n, c // (f * f), h * f, w * f))


@_op("depth_to_space")
def _depth_to_space(a: Arguments) -> Reals:
    n, c, h, w = a["x"].shape
    f = int(a["block_size"])
    blocks = a["x"].reshape(n, f, f, c // (f * f), h, w)
    return np.asarray(blocks.transpose(0, 3, 4, 1, 5, 2).reshape(n, c // (f * f), h * f, w * f))


@_op("space_to_depth")
def _space_to_depth(a: Arguments) -> Reals:
    n, c, h, w = a["x"].shape
    f = int(a["block_size"])
    blocks = a["x"].reshape(n, c, h // f, f, w // f, f)
    return np.asarray(blocks.transpose(0, 3, 5, 1, 2, 4).reshape(n, c * f * f, h // f, w // f))
