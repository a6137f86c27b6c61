"""Qualcomm NPU through LiteRT: the int8 .tflite, compiled ahead of time for each chip.

The artefact is a folder: ``source.tflite`` (what the tflite target makes as int8, for any phone), ``SM8650.tflite`` and
the like (one dispatch operator that holds the compiled binary), ``report.json``. An app ships the file of its chip to
LiteRT with its Qualcomm dispatch library, and the source as the way back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgemat.export._target import IntegerGate, Target

if TYPE_CHECKING:
    from pathlib import Path

    from edgemat.export._target import Runner, Scales, Trunk
    from edgemat.inspection import Inspection


def _convert(trunk: Trunk, precision: str, path: Path) -> None:
    from edgemat.export.litert_qualcomm import _write

    _write.convert(trunk, precision, path)


def _load(path: Path) -> Runner:
    from edgemat.export.litert_qualcomm import _read

    return _read.load(path)


def _check(path: Path) -> tuple[str, ...]:
    from edgemat.export.litert_qualcomm import _read

    return _read.check(path)


def _inspect(path: Path) -> Inspection:
    from edgemat.export.litert_qualcomm import _read

    return _read.inspect(path)


def _scales(path: Path) -> Scales:
    from edgemat.export.litert_qualcomm import _read

    return _read.scales(path)


def _on_device(path: Path) -> int:
    from edgemat.export import _npu

    return _npu.on_device(path)


TARGET = Target(
    name="litert_qualcomm",
    title="Qualcomm NPU: .tflite compiled for SM8450, SM8550, SM8650, SM8750 and SM8850",
    suffix=".litert_qualcomm",
    gates={"int8": IntegerGate()},
    extra="litert_qualcomm",
    requires=("ai_edge_litert", "flatbuffers", "onnxruntime_qnn"),
    proves="Runs the int8 source in LiteRT on the CPU; of the compiled files, that all of it is in one NPU partition.",
    convert=_convert,
    load=_load,
    check=_check,
    inspect=_inspect,
    scales=_scales,
    on_device=_on_device,
    platforms=("linux-x86_64",),
)
