"""Qualcomm NPU (HTP) through ONNX Runtime's QNN provider: Q/DQ ONNX, and a compiled context for each chip.

The artefact is a folder: ``source.onnx`` (uint8 pixels in, uint8 alpha out, int8 between), ``SM8650.onnx`` and the like
(one EPContext node that holds the compiled binary), ``report.json``. An app ships the context of its chip, or the
source where the chip is not known: the provider compiles that on the phone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgemat.export._target import IntegerGate, Target

if TYPE_CHECKING:
    from pathlib import Path

    from edgemat.export._target import Runner, Scales, Trunk
    from edgemat.inspection import Inspection


def _convert(trunk: Trunk, precision: str, path: Path) -> None:
    from edgemat.export.qnn import _write

    _write.convert(trunk, precision, path)


def _load(path: Path) -> Runner:
    from edgemat.export.qnn import _read

    return _read.load(path)


def _check(path: Path) -> tuple[str, ...]:
    from edgemat.export.qnn import _read

    return _read.check(path)


def _inspect(path: Path) -> Inspection:
    from edgemat.export.qnn import _read

    return _read.inspect(path)


def _scales(path: Path) -> Scales:
    from edgemat.export.qnn import _read

    return _read.scales(path)


def _on_device(path: Path) -> int:
    from edgemat.export import _npu

    return _npu.on_device(path)


TARGET = Target(
    name="qnn",
    title="Qualcomm NPU: Q/DQ ONNX and QNN contexts for SM8450, SM8550, SM8650, SM8750 and SM8850",
    suffix=".qnn",
    gates={"int8": IntegerGate(differ=0.1)},  # Concat and Mul are known to one code, the rest exactly
    extra="qnn",
    requires=("onnx", "onnxruntime", "onnxruntime_qnn"),
    proves="Runs each context in Qualcomm's HTP library on x86, no CPU fallback, assignment read back; not a phone.",
    convert=_convert,
    load=_load,
    check=_check,
    inspect=_inspect,
    scales=_scales,
    on_device=_on_device,
    platforms=("linux-x86_64",),
)
