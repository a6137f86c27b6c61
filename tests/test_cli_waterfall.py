"""``edgemat waterfall``: the table, the document, the picture and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgemat import export
from edgemat.cli import main
from edgemat.export import _frame
from edgemat.export._target import Trunks
from edgemat.images import write_png
from edgemat.verify.waterfall import Waterfall


@pytest.fixture(scope="module")
def folders(
    trunks: Trunks, images: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Return an export, and images with mattes that the student nearly gives."""
    base = tmp_path_factory.mktemp("waterfall")
    onnx = export.get("onnx")
    _frame.export(trunks, [(onnx, "fp32"), (onnx, "int8")], base / "out", images)
    with onnx.load(base / "out" / "student-fp32.onnx") as runner:
        mattes = np.clip(np.roll(runner.run(images), 2, 1) * 255, 0, 255).astype(np.uint8)
    for i, (image, matte) in enumerate(zip(images, mattes, strict=True)):
        write_png(base / "set" / "image" / f"{i}.png", image)
        write_png(base / "set" / "alpha" / f"{i}.png", matte)
    return base / "out", base / "set"


def test_a_table_a_document_and_a_picture(
    folders: tuple[Path, Path], weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, mattes = folders
    picture = tmp_path / "budget.svg"
    words = ["waterfall", str(out), "--images", str(mattes), "--weights", str(weights), "--plot", str(picture)]
    assert main(words) == 0
    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines()]
    assert rows[0] == ["chain", "step", "after", "MAD", "change", "Grad", "change", "moved"]
    assert ["float", "torch"] in [row[:2] for row in rows]
    assert "4 images of 4 faces" in printed.err
    assert picture.stat().st_size > 0
    found = Waterfall.from_json(json.loads((out / "proof" / "waterfall.json").read_text()))
    assert found.step("onnx int8").figures
    assert main([*words, "--json"]) == 0
    assert Waterfall.from_json(json.loads(capsys.readouterr().out)) == found


def test_a_limit_that_is_not_kept_exits_1(
    folders: tuple[Path, Path], weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, mattes = folders
    words = ["waterfall", str(out), "--images", str(mattes), "--weights", str(weights), "--gate", "mad=-50%"]
    assert main(words) == 1
    assert "FAILED: onnx int8: mad (frame) " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--gate", "mad+1"], "--gate 'mad+1': expected METRIC=+N%"),
        (["--plot", "a.gif"], "expected a name in .svg, .png, .pdf"),
        (["--images", "calibration", "--gate", "mad=+1%"], "not measured here; found images without truth"),
    ],
)
def test_what_cannot_be_done_exits_2(
    words: list[str], line: str, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["waterfall", str(folders[0]), *words]) == 2
    assert line in capsys.readouterr().err


def test_a_folder_that_is_no_export_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["waterfall", str(tmp_path)]) == 2
    assert "report.json: not found, so this is no export folder" in capsys.readouterr().err
