"""Arm Ethos-U NPU: the int8 .tflite, compiled by Vela for a core of each generation.

The artefact is a folder: ``source.tflite`` (int8, in the operators that these cores have), ``ethos-u55-128.tflite`` and
the like (one ``ethos-u`` operator that holds the command stream), ``report.json`` with Vela's estimates. Firmware runs
a compiled file in TensorFlow Lite Micro with Arm's driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgemat.export._target import IntegerGate, Target

if TYPE_CHECKING:
    from pathlib import Path

    from edgemat.export._target import Runner, Scales, Trunk
    from edgemat.inspection import Inspection


def _convert(trunk: Trunk, precision: str, path: Path) -> None:
    from edgemat.export.ethos_u import _write

    _write.convert(trunk, precision, path)


def _load(path: Path) -> Runner:
    from edgemat.export.ethos_u import _read

    return _read.load(path)


def _check(path: Path) -> tuple[str, ...]:
    from edgemat.export.ethos_u import _read

    return _read.check(path)


def _inspect(path: Path) -> Inspection:
    from edgemat.export.ethos_u import _read

    return _read.inspect(path)


def _scales(path: Path) -> Scales:
    from edgemat.export.ethos_u import _read

    return _read.scales(path)


def _on_device(path: Path) -> int:
    from edgemat.export import _npu

    return _npu.on_device(path)


TARGET = Target(
    name="ethos_u",
    title="Arm Ethos-U NPU: .tflite compiled by Vela for U55-128, U55-256, U65-512 and U85-1024",
    suffix=".ethos_u",
    gates={"int8": IntegerGate()},
    extra="ethos_u",
    requires=("ai_edge_litert", "ethosu", "flatbuffers"),
    proves="Runs the int8 source in LiteRT on the CPU; of the compiled files, that no operator is left to a CPU.",
    convert=_convert,
    load=_load,
    check=_check,
    inspect=_inspect,
    scales=_scales,
    on_device=_on_device,
)
