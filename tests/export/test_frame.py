"""The frame: a pass takes its place, a failure never does, and one target's failure is not another's."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from PIL import Image

from edgemat.errors import InputError, OutputError, UnsupportedOpError
from edgemat.export._target import Runner, Target, Trunk, Trunks
from edgemat.export.onnx import TARGET

from .exporting import export_
from .faults import FAULTS

Images = npt.NDArray[np.uint8]


def planted(fault: Callable[[Any], None], name: str = "onnx") -> Target:
    def convert(trunk: Trunk, precision: str, path: Path) -> None:
        TARGET.convert(trunk, precision, path)
        model = onnx.load(path)
        fault(model)
        onnx.save(model, path)

    return dataclasses.replace(TARGET, convert=convert, name=name)


def raising(error: BaseException) -> Target:
    def convert(trunk: Trunk, precision: str, path: Path) -> None:
        path.write_text("half")
        raise error

    return dataclasses.replace(TARGET, convert=convert)


def returning(alpha: object) -> Target:
    class Odd(Runner):
        def run(self, images: Images) -> Any:
            return alpha

    return dataclasses.replace(TARGET, load=lambda path: Odd())


def contents(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_pass(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    said: list[str] = []
    report = export_(trunks, [TARGET], "fp16", tmp_path, images, said.append)
    assert report
    assert report.exit_code == 0
    assert contents(tmp_path) == {"student-fp16.onnx", "report.json", "preview.png", "reference"}
    assert said[:3] == ["reference: run", "onnx fp16: convert", "onnx fp16: run"]
    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved["schema_version"] == 3
    assert saved["passed"] is True
    assert saved["results"][0]["comparison"]["images"] == len(images)
    assert saved["results"][0]["bytes"] == (tmp_path / "student-fp16.onnx").stat().st_size
    assert saved["machine"]["packages"]["onnx"] == onnx.__version__
    assert "student-fp16.onnx" in str(report)
    with Image.open(tmp_path / "preview.png") as picture:
        assert picture.size[0] == 4 * 164 - 4  # image, reference, artefact, difference


@pytest.mark.parametrize("name", FAULTS)
def test_a_failed_gate_keeps_the_earlier_artefact(name: str, trunks: Trunks, images: Images, tmp_path: Path) -> None:
    assert export_(trunks, [TARGET], None, tmp_path, images)
    before = (tmp_path / "student-fp32.onnx").read_bytes()
    report = export_(trunks, [planted(FAULTS[name])], None, tmp_path, images)
    (result,) = report.results
    assert not report
    assert report.exit_code == 1
    assert result.state == "gate"
    assert "the gate is max 1e-05" in result.message
    assert "look at" in result.message or "bias" in result.message
    assert "of an earlier export was left as it is" in result.message
    assert (tmp_path / "student-fp32.onnx").read_bytes() == before
    assert result.path == str(tmp_path / "student-fp32.rejected.onnx")
    assert Path(result.path).is_file()


def test_a_pass_removes_the_earlier_rejected(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    export_(trunks, [planted(FAULTS["bias_dropped"])], None, tmp_path, images)
    assert contents(tmp_path) == {"student-fp32.rejected.onnx", "report.json", "preview.png", "reference"}
    assert export_(trunks, [TARGET], None, tmp_path, images)
    assert contents(tmp_path) == {"student-fp32.onnx", "report.json", "preview.png", "reference"}


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UnsupportedOpError("node x: Foo"), 4, "node x: Foo"),
        (InputError("weights beyond float16"), 2, "weights beyond"),
        (RuntimeError("crash"), 1, "RuntimeError: crash"),
    ],
)
def test_an_error_does_not_stop_the_others(
    error: Exception, code: int, message: str, trunks: Trunks, images: Images, tmp_path: Path
) -> None:
    report = export_(trunks, [raising(error), TARGET], None, tmp_path, images)
    assert [result.state for result in report.results] == ["error", "passed"]
    assert report.exit_code == code
    assert message in report.results[0].message
    assert not report


def test_unavailable_is_no_pass(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    absent = dataclasses.replace(TARGET, requires=("no_such_backend",))
    report = export_(trunks, [absent, TARGET], None, tmp_path, images)
    assert [result.state for result in report.results] == ["unavailable", "passed"]
    assert report.exit_code == 3
    assert not report.passed
    assert "no_such_backend not installed; pip install 'edgemat[onnx]'" in report.results[0].message


def test_a_broken_promise_is_no_pass(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    def anonymous(model: onnx.ModelProto) -> None:
        del model.metadata_props[:]

    report = export_(trunks, [planted(anonymous)], None, tmp_path, images)
    assert report.results[0].state == "error"
    assert "license is missing" in report.results[0].message


@pytest.mark.parametrize(
    ("alpha", "reason"),
    [
        (np.full((4, 64, 64), np.nan, np.float32), "16384 of 16384 output values are NaN"),
        (np.zeros((4, 32, 64), np.float32), r"\(4, 32, 64\), expected float32 \(4, 64, 64\)"),
        (np.zeros((4, 64, 64), np.float64), "the output is float64"),
        (np.full((4, 64, 64), 1.1, np.float32), r"in \[1.1, 1.1\], expected \[0, 1\]"),
        (None, "the output is NoneType"),
    ],
)
def test_a_wrong_output_fails(alpha: object, reason: str, trunks: Trunks, images: Images, tmp_path: Path) -> None:
    report = export_(trunks, [returning(alpha)], None, tmp_path, images)
    assert report.results[0].state == "gate"
    assert re.search(reason, report.results[0].message)


def test_an_interrupt_leaves_nothing(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    assert export_(trunks, [TARGET], None, tmp_path, images)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(KeyboardInterrupt):
        export_(trunks, [raising(KeyboardInterrupt())], None, tmp_path, images)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_usage_is_refused_before_anything_is_made(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--precision int4: target onnx makes fp32, fp16"):
        export_(trunks, [TARGET], "int4", tmp_path / "out", images)
    with pytest.raises(InputError, match=r"uint8 \(4, 32, 64, 3\), expected uint8 \(N, \*\(64, 64, 3\)\)"):
        export_(trunks, [TARGET], None, tmp_path / "out", images[:, ::2])
    with pytest.raises(InputError, match="no target"):
        export_(trunks, [], None, tmp_path / "out", images)
    assert not (tmp_path / "out").exists()


def test_an_unwritable_folder(trunks: Trunks, images: Images, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        export_(trunks, [TARGET], None, tmp_path / "file", images)
    (tmp_path / "student-fp32.onnx").mkdir()
    with pytest.raises(OutputError, match="a folder stands where"):
        export_(trunks, [TARGET], None, tmp_path, images)
