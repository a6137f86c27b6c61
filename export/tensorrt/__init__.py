"""TensorRT: explicit Q/DQ ONNX under TensorRT's rules, symmetric int8, and the command that builds its engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgemat.export._target import IntegerGate, Target

if TYPE_CHECKING:
    from pathlib import Path

    from edgemat.export._target import Runner, Scales, Trunk
    from edgemat.inspection import Inspection


def _convert(trunk: Trunk, precision: str, path: Path) -> None:
    from edgemat.export.tensorrt._write import convert

    convert(trunk, precision, path)


def _load(path: Path) -> Runner:
    from edgemat.export.tensorrt._runner import load

    return load(path)


def _complaints(path: Path) -> tuple[str, ...]:
    from edgemat.export.tensorrt._check import check

    return check(path)


def _inspect(path: Path) -> Inspection:
    from edgemat.export.tensorrt._readback import inspect

    return inspect(path)


def _scales(path: Path) -> Scales:
    from edgemat.export.tensorrt._readback import scales

    return scales(path)


TARGET = Target(
    name="tensorrt",
    title="explicit Q/DQ ONNX for TensorRT on NVIDIA's GPUs",
    suffix=".tensorrt.onnx",
    gates={"int8": IntegerGate()},
    extra="tensorrt",
    requires=("onnx", "onnxruntime"),
    proves="TensorRT's rules hold, and what the graph computes (ONNX Runtime); an engine only where there is a GPU",
    convert=_convert,
    load=_load,
    check=_complaints,
    inspect=_inspect,
    scales=_scales,
    scheme="static_w8c_a8s",
)
