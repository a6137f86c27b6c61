"""Read a Core ML package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgemat.verify.lint.facts import HALF, MAY, Facts, Op, Quantization, Resize, Value, Weighted
from edgemat.verify.lint.readers import words
from edgemat.verify.lint.readers.onnx import reals

_PARAMETERS = ("stride", "strides", "pad", "pad_type", "dilations", "groups", "align_corners", "half_pixel_centers",
               "sampling_mode", "scale_factor_height", "scale_factor_width", "target_size_height", "target_size_width",
               "dtype", "axis", "alpha", "beta", "perm", "mode", "interpolation_mode")  # fmt: skip
_SAMPLING = {"STRICT_ALIGN_CORNERS": "align_corners", "ALIGN_CORNERS": "align_corners", "DEFAULT": "asymmetric",
             "UNALIGN_CORNERS": "half_pixel"}  # fmt: skip
"""MIL's sampling modes in ONNX's words, by the formulas of coremltools' ``resize_bilinear``."""
_RESIZES = ("resize", "resize_bilinear", "resize_nearest_neighbor", "upsample_bilinear", "upsample_nearest_neighbor")


def read(path: Path) -> Facts:
    """Return what a Core ML package holds.

    Raises:
        InputError: It is no readable Core ML package, or no ML Program.
    """
    from edgemat.export.coreml import _codes, _package

    package = _package.read(path)
    ops, values = _graph(package)
    float32 = {op.output.dtype for op in package.operations if op.kind in ("conv", "conv_transpose")} == {"float32"}
    colours = next((f.layout for f in package.inputs if f.kind == "image" and f.layout in ("RGB", "BGR")), "")
    stated = {**package.metadata, "name": package.user.get("edgemat.name", "") or path.stem}
    text = " ".join(f.description for f in package.inputs)
    colours = colours or package.user.get("edgemat.colour_order", "")
    range_ = "8-bit pixels" if any(f.kind == "image" for f in package.inputs) else ""
    return Facts(
        file=path.name,
        artefact="Core ML",
        form="Core ML",
        ops=tuple(op for op in ops if op.kind != _codes.CONSTANT),
        values=values,
        inputs=tuple(argument.name for argument in package.arguments),
        outputs=tuple(f.name for f in package.outputs),
        resizes=tuple(_resizes(package, values)),
        weighted=tuple(_weighted(package)),
        described=words.described(stated, text, colours, range_),
        half=MAY if float32 else HALF,
        flexible=_flexible(path),
        kept=tuple(_codes.kept(package)),
    )


def _graph(package: Any) -> tuple[tuple[Op, ...], dict[str, Value]]:
    """Return operators and tensors by the trunk's names, as far as they are known."""
    from edgemat.export.coreml import _codes
    from edgemat.export.coreml._package import Tensor

    values, ops = {t.name: Value(t.name, t.dtype, _shape(t.shape)) for t in package.arguments}, []
    for op in package.operations:
        out = op.output
        values[out.name] = Value(out.name, out.dtype, _shape(out.shape), _grid(op))
        inputs = tuple(a.name for arguments in op.inputs.values() for a in arguments if isinstance(a, Tensor))
        attributes = {
            k: _plain(v[0]) for k, v in op.inputs.items() if k in _PARAMETERS and not isinstance(v[0], Tensor)
        }
        ops.append(Op(_codes.trunk_name(package, out.name), op.kind, inputs, (out.name,), attributes))
        if op.kind == _codes.CONSTANT:
            codes = np.asarray(op.inputs["quantized_data"][0])
            values[out.name] = Value(out.name, codes.dtype.name, codes.shape, _constant_grid(op), codes)
    return tuple(ops), values


def _shape(shape: tuple[int, ...]) -> tuple[int | str, ...]:
    """Return a shape, an open dimension (which the package reader gives as 0) as a text."""
    return tuple(size or "?" for size in shape)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    return array.item() if array.size == 1 else array.tolist()


def _grid(op: Any) -> Quantization | None:
    if op.kind != "quantize":
        return None
    scale = np.asarray(op.inputs["scale"][0], np.float32).reshape(-1)
    zero = np.asarray(op.inputs["zero_point"][0] if "zero_point" in op.inputs else np.zeros(scale.shape))
    return Quantization(scale, zero.astype(np.int64).reshape(-1), 0, op.output.dtype)


def _constant_grid(op: Any) -> Quantization:
    scale = np.asarray(op.inputs["scale"][0], np.float32).reshape(-1)
    zero = np.broadcast_to(np.asarray(op.inputs["zero_point"][0]).reshape(-1), scale.shape)
    axis = int(np.asarray(op.inputs["axis"][0]).reshape(-1)[0]) if "axis" in op.inputs else 0
    return Quantization(scale, zero.astype(np.int64), axis, np.asarray(op.inputs["quantized_data"][0]).dtype.name)


def _resizes(package: Any, values: Mapping[str, Value]) -> Iterator[Resize]:
    from edgemat.export.coreml import _codes
    from edgemat.export.coreml._package import Tensor

    for op in package.operations:
        if op.kind not in _RESIZES:
            continue
        source = op.inputs["x"][0]
        before = _size(values.get(source.name)) if isinstance(source, Tensor) else None
        coordinates, mode = _coordinates(op)
        name = _codes.trunk_name(package, op.output.name)
        sized = [
            a for key, v in op.inputs.items() if key.startswith(("target_size", "scale_factor", "shape")) for a in v
        ]
        computed = any(isinstance(a, Tensor) for a in sized)
        rounding = "floor" if mode == "nearest" else ""
        after = _size(values[op.output.name])
        yield Resize(f"{name} ({op.kind})", name, mode, coordinates, rounding, before, after, None, computed)


def _coordinates(op: Any) -> tuple[str, str]:
    """Return where an operator samples, in ONNX's words, and its mode."""
    stated = {key: _plain(v[0]) for key, v in op.inputs.items() if key in _PARAMETERS}
    mode = "nearest" if "nearest" in op.kind or "NEAREST" in str(stated.get("interpolation_mode", "")) else "linear"
    if "sampling_mode" in stated:
        return _SAMPLING.get(stated["sampling_mode"], f"Core ML's {stated['sampling_mode']}"), mode
    if op.kind == "resize_bilinear":
        return _SAMPLING["DEFAULT"], mode
    if stated.get("align_corners") and mode == "linear":
        return "align_corners", mode
    return ("half_pixel" if stated.get("half_pixel_centers") else "asymmetric"), mode


def _size(value: Value | None) -> tuple[int, int] | None:
    shape = value.shape if value is not None else None
    if shape is None or len(shape) != 4 or not isinstance(shape[2], int) or not isinstance(shape[3], int):
        return None
    return shape[2], shape[3]


def _weighted(package: Any) -> Iterator[Weighted]:
    from edgemat.export.coreml import _codes
    from edgemat.export.coreml._package import Tensor

    stored = {op.output.name: op for op in package.operations if op.kind == _codes.CONSTANT}
    for op in package.operations:
        if op.kind not in ("conv", "conv_transpose"):
            continue
        weight, grid, kind = op.inputs["weight"][0], None, ""
        if isinstance(weight, Tensor):
            if weight.name not in stored:
                continue
            holder = stored[weight.name]
            codes, name = np.asarray(holder.inputs["quantized_data"][0]), _codes.trunk_name(package, weight.name)
            grid, kind = _constant_grid(holder), codes.dtype.name
            weight = reals(codes, grid)
        else:
            kind, name = weight.dtype.name, f"{_codes.trunk_name(package, op.output.name)}.weight"
        source = op.inputs["x"][0]
        output = _codes.trunk_name(package, op.output.name)
        bias = np.asarray(op.inputs["bias"][0], np.float32) if "bias" in op.inputs else None
        yield Weighted(
            f"{output} ({op.kind})",
            _codes.trunk_name(package, source.name),
            output,
            name,
            "Conv" if op.kind == "conv" else "ConvTranspose",
            np.asarray(weight, np.float32),
            bias,
            _window(op),
            kind,
            grid,
        )


def _window(op: Any) -> dict[str, Any]:
    def ints(key: str, default: list[int]) -> list[int]:
        return [int(v) for v in np.atleast_1d(np.asarray(op.inputs[key][0]))] if key in op.inputs else default

    kind = str(op.inputs["pad_type"][0]) if "pad_type" in op.inputs else "valid"
    top, bottom, left, right = ints("pad", [0, 0, 0, 0]) if kind == "custom" else (0, 0, 0, 0)
    window = {
        "strides": ints("strides", [1, 1]),
        "dilations": ints("dilations", [1, 1]),
        "group": ints("groups", [1])[0],
    }
    if kind.startswith("same"):
        return {**window, "auto_pad": "SAME_LOWER" if kind == "same_lower" else "SAME_UPPER"}
    return {**window, "pads": [top, left, bottom, right]}


def _flexible(path: Path) -> dict[str, str]:
    """Return the inputs whose size may vary, each with how."""
    from edgemat.export.coreml import _coremltools, _package

    spec = _coremltools.load("coremltools.proto.Model_pb2").Model()
    spec.ParseFromString(_package.spec_path(path).read_bytes())
    found = {}
    for feature in spec.description.input:
        kind = feature.type.WhichOneof("Type")
        part = getattr(feature.type, kind) if kind in ("imageType", "multiArrayType") else None
        field = "SizeFlexibility" if kind == "imageType" else "ShapeFlexibility"
        how = part.WhichOneof(field) if part is not None else None
        if how is not None:
            found[feature.name] = "RangeDim" if "Range" in how else "EnumeratedShapes"
    return found
