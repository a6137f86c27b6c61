"""OpenVINO: IR for its CPU, GPU and NPU plugins, in float or on the integer grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgemat.export._target import Gate, IntegerGate, Target

if TYPE_CHECKING:
    from pathlib import Path

    from edgemat.export._target import Runner, Scales, Trunk
    from edgemat.inspection import Inspection


def _convert(trunk: Trunk, precision: str, path: Path) -> None:
    from edgemat.export.openvino._write import convert

    convert(trunk, precision, path)


def _load(path: Path) -> Runner:
    from edgemat.export.openvino._runner import load

    return load(path)


def _complaints(path: Path) -> tuple[str, ...]:
    from edgemat.export.openvino._check import check

    return check(path)


def _inspect(path: Path) -> Inspection:
    from edgemat.export.openvino._execution import inspect

    return inspect(path)


def _scales(path: Path) -> Scales:
    from edgemat.export.openvino._readback import scales

    return scales(path)


TARGET = Target(
    name="openvino",
    title="OpenVINO IR for Intel's CPUs, GPUs and NPUs",
    suffix=".openvino",
    gates={"fp32": Gate(1e-5, 1e-6), "int8": IntegerGate()},
    extra="openvino",
    requires=("onnx", "openvino"),
    proves="runs the file in OpenVINO on the CPU, and reads back what it executes; nothing about its GPU or NPU",
    convert=_convert,
    load=_load,
    check=_complaints,
    inspect=_inspect,
    scales=_scales,
)
