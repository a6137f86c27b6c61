"""Read an OpenVINO IR."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgemat.verify.lint.facts import MAY, Facts, Op, Quantization, Resize, Value, Weighted, plain
from edgemat.verify.lint.readers import words
from edgemat.verify.lint.readers.onnx import reals

_TYPES = {"FP32": "float32", "FP16": "float16", "I8": "int8", "U8": "uint8", "I32": "int32", "I64": "int64"}
_SKIPPED = ("Const", "Parameter", "Result")


def read(path: Path) -> Facts:
    """Return what an IR holds.

    Args:
        path: A folder with ``model.xml`` and ``model.bin``, or an .xml file with its .bin beside it.

    Raises:
        InputError: It is no whole IR.
    """
    from edgemat.export.openvino import _ir

    if path.is_dir():
        return _of(_ir.read(path), path.name)
    with tempfile.TemporaryDirectory() as folder:  # the reader wants the names that the target gives
        for source, name in ((path, "model.xml"), (path.with_suffix(".bin"), "model.bin")):
            if source.is_file():
                shutil.copyfile(source, Path(folder) / name)
        return _of(_ir.read(Path(folder)), path.name)


def _of(ir: Any, file: str) -> Facts:
    facts, names = ir.facts, {i: _name(layer) for i, layer in ir.layers.items()}
    values = {names[i]: _value(ir, i, names[i]) for i in ir.layers}
    stated = {key: str(facts.get(key, "")) for key in (*words.NAMED, "input")}
    return Facts(
        file=file,
        artefact="OpenVINO IR",
        form="OpenVINO IR",
        ops=tuple(_ops(ir, names)),
        values=values,
        inputs=tuple(names[i] for i, layer in ir.layers.items() if layer.kind == "Parameter"),
        outputs=tuple(names[layer.inputs[0]] for layer in ir.layers.values() if layer.kind == "Result"),
        resizes=tuple(_resizes(ir, names)),
        weighted=tuple(_weighted(ir, names)),
        described=words.described(stated, stated["input"]),
        half=MAY,  # the GPU plugin computes in float16 by default
        flexible={
            names[i]: f"shape {layer.output[0]}"
            for i, layer in ir.layers.items()
            if layer.kind == "Parameter" and layer.output is not None and any(n < 0 for n in layer.output[0])
        },
        kept=tuple(facts.get("kept", ())),
    )


def _name(layer: Any) -> str:
    return str(layer.names[0] if layer.kind == "Parameter" and layer.names else layer.name)


def _value(ir: Any, identity: int, name: str) -> Value:
    layer = ir.layers[identity]
    shape, kind = layer.output or (None, "")
    stated = None if shape is None else tuple("?" if n < 0 else n for n in shape)
    grid = None
    if layer.kind == "FakeQuantize":
        low, high = (ir.constant(i) for i in layer.inputs[1:3])
        if low is not None and high is not None and layer.data.get("levels") == "256":
            scale = (np.asarray(high, np.float64) - low).reshape(-1) / 255
            with np.errstate(divide="ignore", invalid="ignore"):
                zeros = np.rint(-np.asarray(low, np.float64).reshape(-1) / scale)
            safe = np.where(np.isfinite(zeros), zeros, 0).astype(np.int64)
            grid = Quantization(scale.astype(np.float32), safe, 0, "uint8")
    return Value(name, _TYPES.get(kind, kind.lower()), stated, grid, ir.constant(identity))


def _ops(ir: Any, names: dict[int, str]) -> Iterator[Op]:
    constant = _folded(ir)
    for identity, layer in ir.layers.items():
        if layer.kind not in _SKIPPED and identity not in constant:
            inputs = tuple(names[i] for i in layer.inputs)
            yield Op(layer.name, layer.kind, inputs, (names[identity],), dict(layer.data))


def _folded(ir: Any) -> set[int]:
    """Return the layers that work on constants alone: widened weights and the like."""
    found: set[int] = set()
    for identity, layer in ir.layers.items():  # in order: each after what it reads
        if layer.kind == "Const" or (layer.inputs and set(layer.inputs) <= found):
            found.add(identity)
    return found


def _resizes(ir: Any, names: dict[int, str]) -> Iterator[Resize]:
    for identity, layer in ir.layers.items():
        if layer.kind != "Interpolate":
            continue
        data, source = layer.data, ir.layers[layer.inputs[0]]
        mode = (
            "nearest"
            if data.get("mode") == "nearest"
            else "linear"
            if "linear" in data.get("mode", "")
            else data["mode"]
        )
        before, after = (_size(found) for found in (source, layer))
        rounding = data.get("nearest_mode", "round_prefer_floor") if mode == "nearest" else ""
        extras = tuple(key for key in ("antialias",) if data.get(key) in ("true", "1"))
        computed = any(ir.constant(i) is None for i in layer.inputs[1:3])
        coordinates = data.get("coordinate_transformation_mode", "half_pixel")
        label = f"{layer.name} ({layer.kind})"
        yield Resize(label, plain(names[identity]), mode, coordinates, rounding, before, after, None, computed, extras)


def _size(layer: Any) -> tuple[int, int] | None:
    shape: tuple[int, ...] = layer.output[0] if layer.output is not None else ()
    return (shape[2], shape[3]) if len(shape) == 4 and min(shape[2:]) > 0 else None


def _weighted(ir: Any, names: dict[int, str]) -> Iterator[Weighted]:
    from edgemat.export.openvino import _readback

    for layer in ir.layers.values():
        if layer.kind not in _readback.CONVOLUTIONS:
            continue
        held = _weight(ir, layer.inputs[1])
        if held is None:
            continue
        weight, stored, grid, name = held
        group = 1
        if layer.kind.startswith("Group"):
            group, weight = weight.shape[0], weight.reshape(-1, *weight.shape[2:])
        data = {key: [int(n) for n in layer.data.get(key, "").split(",") if n] for key in _WINDOW}
        window = {
            "strides": data["strides"],
            "dilations": data["dilations"],
            "pads": [*data["pads_begin"], *data["pads_end"]],
            "group": group,
        }
        kind = "ConvTranspose" if "Backprop" in layer.kind else "Conv"
        source, label = plain(names[layer.inputs[0]]), f"{layer.name} ({layer.kind})"
        yield Weighted(label, source, plain(layer.name), name, kind, weight, None, window, stored, grid)


_WINDOW = ("strides", "dilations", "pads_begin", "pads_end")


def _weight(ir: Any, identity: int) -> tuple[Any, str, Quantization | None, str] | None:
    """Return a weight's reals, float32, what stores it, the scales of its codes and its name; None where computed."""
    from edgemat.export.openvino import _readback

    factor = _readback.weight_of(ir, identity)
    if factor is not None:
        product = ir.layers[factor]
        codes, scale = (ir.constant(i) for i in (ir.layers[product.inputs[0]].inputs[0], product.inputs[1]))
        if codes is None or scale is None or codes.ndim < 4:
            return None
        sides = [i for i, n in enumerate(scale.shape) if n > 1]
        flat = np.asarray(scale, np.float32).reshape(-1)
        grid = Quantization(flat, np.zeros(flat.size, np.int64), sides[0] if sides else 0, codes.dtype.name)
        return reals(codes, grid), codes.dtype.name, grid, product.name
    while ir.constant(identity) is None and ir.layers[identity].kind in ("Reshape", "Convert"):
        identity = ir.layers[identity].inputs[0]
    constant = ir.constant(identity)
    if constant is None or constant.ndim < 4:
        return None
    return constant.astype(np.float32), constant.dtype.name, None, ir.layers[identity].name
