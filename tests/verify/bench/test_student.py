"""The forms of a student that are timed without a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgemat import export
from edgemat.errors import BackendMissingError
from edgemat.export._target import Trunk
from edgemat.verify.bench import student
from edgemat.verify.bench.runtimes import Untimed


def test_every_form_of_a_student_runs(trunk: Trunk, images: np.ndarray, tmp_path: Path) -> None:
    calls = student.calls(trunk, student.calibrated(trunk, images), 1, tmp_path)
    assert list(calls) == ["onnx fp32", "onnx int8_byte_io", "tflite fp32", "tflite int8"]
    for call in calls.values():
        call()


def test_a_peer_that_is_not_fetched_is_said_to_be_missing(tmp_path: Path) -> None:
    found = student.peer(tmp_path)
    assert isinstance(found, Untimed)
    assert "edgemat data fetch" in found.reason


def test_without_a_run_time_its_install_command_is_said(
    trunk: Trunk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export._target.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        BackendMissingError, match=r"bench: onnx, onnxruntime not installed; pip install 'edgemat\[onnx\]'"
    ):
        student.subjects(trunk, trunk, tmp_path)
