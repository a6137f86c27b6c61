"""TFLite (LiteRT): one FlatBuffer written by an own ONNX emitter, without TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgemat.export._target import Gate, IntegerGate, Target

if TYPE_CHECKING:
    from pathlib import Path

    from edgemat.export._target import Runner, Scales, Trunk
    from edgemat.inspection import Inspection


def _write(trunk: Trunk, precision: str, path: Path) -> None:
    from edgemat.export.tflite._convert import convert

    convert(trunk, precision, path)


def _load(path: Path) -> Runner:
    from edgemat.export.tflite._runner import LiteRTRunner

    return LiteRTRunner(path)


def _complaints(path: Path) -> tuple[str, ...]:
    from edgemat.export.tflite._check import check

    return check(path)


def _facts(path: Path) -> Inspection:
    from edgemat.export.tflite._inspect import inspect

    return inspect(path)


def _scales(path: Path) -> Scales:
    from edgemat.export.tflite._inspect import scales

    return scales(path)


TARGET = Target(
    name="tflite",
    title="TFLite for LiteRT on Android, iOS and embedded Linux",
    suffix=".tflite",
    gates={
        "fp32": Gate(1e-5, 1e-6),
        "fp16": Gate(5e-3, 5e-4),
        "int8": IntegerGate(),
        "int8_float_io": IntegerGate(),
    },
    extra="tflite",
    requires=("ai_edge_litert", "flatbuffers"),
    proves="runs the file in LiteRT with XNNPACK, as a phone's CPU does; proves nothing about a phone's GPU or NPU",
    convert=_write,
    load=_load,
    check=_complaints,
    inspect=_facts,
    scales=_scales,
)
