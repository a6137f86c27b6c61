"""Read the folder back: what its files are, what they compute in, on which scales; and run the source."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgemat.export import _npu, _npu_tflite
from edgemat.export._target import Runner, Scales
from edgemat.export.litert_qualcomm._write import DISPATCH
from edgemat.export.tflite import _check, _inspect, _reading, _runner
from edgemat.inspection import Inspection


def load(path: Path) -> Runner:
    """Open the int8 source in LiteRT; the compiled files must be whole.

    Raises:
        InputError: The folder or a file in it is not whole.
    """
    report = _npu.read_report(path, _npu.QUALCOMM)
    for entry in report["compiled"]:
        _reading.verified(path / entry["file"])
    return _runner.LiteRTRunner(path / report["source"]["file"])


def check(path: Path) -> tuple[str, ...]:
    """Return what is wrong with a folder; none when it is as promised.

    Raises:
        InputError: The folder or a file in it is not whole.
    """
    report = _npu.read_report(path, _npu.QUALCOMM)
    wrong = _npu.complaints(path, report)
    if wrong:
        return tuple(wrong)
    wrong = [f"{report['source']['file']}: {line}" for line in _check.check(path / report["source"]["file"])]
    for entry in report["compiled"]:
        file = path / entry["file"]
        lines = [*_npu_tflite.complaints(file, DISPATCH), *_npu.htp_complaints(file.read_bytes(), entry["chip"])]
        wrong += [f"{entry['file']}: {line}" for line in lines]
    return tuple(wrong)


def inspect(path: Path) -> Inspection:
    """Return what the source computes in; the compiled files hold the same operators.

    Raises:
        InputError: The folder or a file in it is not whole.
    """
    report = _npu.read_report(path, _npu.QUALCOMM)
    found = _inspect.inspect(path / report["source"]["file"])
    notes = ("operators as source.tflite states them", *_npu.notes(report))
    return dataclasses.replace(found, path=str(path), form="TFLite compiled for Qualcomm's HTP", notes=notes)


def scales(path: Path) -> Scales:
    """Return the scales that the source states, under the trunk's names.

    Raises:
        InputError: The folder or a file in it is not whole.
    """
    return _inspect.scales(path / _npu.read_report(path, _npu.QUALCOMM)["source"]["file"])
