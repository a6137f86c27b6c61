"""``edgemat bisect`` as it is typed: exit codes, what it prints, what it leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from edgemat.cli import main
from edgemat.export import _frame, get
from edgemat.export._target import Trunks
from edgemat.images import read_rgb, write_png

Images = npt.NDArray[np.uint8]
WANTED = (("onnx", "fp32"), ("tflite", "fp32"), ("onnx", "int8"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, trunks: Trunks, images: Images) -> Path:
    folder = tmp_path_factory.mktemp("out")
    assert _frame.export(trunks, [(get(name), precision) for name, precision in WANTED], folder, images[:2])
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "out"))


def drop_bias(path: Path, name: str) -> None:
    model = onnx.load(path)
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tensor)), name))
    onnx.save(model, path)


@pytest.mark.parametrize("name", ["student-fp32.onnx", "student-fp32.tflite", "student-int8.onnx"])
def test_an_untouched_artefact_passes(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bisect", str(folder / name)]) == 0
    assert "nothing parts in" in capsys.readouterr().out
    assert not (folder / "proof").exists()


def test_a_fault_is_named_and_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "student-fp32.onnx"
    drop_bias(path, "decoders.1.body.bias")
    assert main(["bisect", str(path)]) == 1
    shown = capsys.readouterr()
    assert "parts at decoders.1.body (Conv decoders.1.body)" in shown.out
    assert "the bias of decoders.1.body is missing" in shown.out
    assert "not those that the export wrote" in shown.err
    assert read_rgb(folder / "proof" / "bisect-onnx-fp32.png").shape == (32 + 256, 4 * 256, 3)


def test_json_image_and_picture_of_ones_own(
    folder: Path, images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "student-int8.onnx"
    drop_bias(path, "decoders.1.body#bias#codes")
    write_png(tmp_path / "mine.png", images[0])
    picture = tmp_path / "there" / "picture.png"
    arguments = ["--image", str(tmp_path / "mine.png"), "--out", str(picture), "--json"]
    assert main(["bisect", str(path), *arguments]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["first"]["tensor"] == "decoders.1.body.relu"
    assert document["images"] == 1
    assert picture.exists()


def test_a_vote_names_the_wrong_backend(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bisect", str(folder / "student-fp32.tflite"), "--backends", "onnx"]) == 0
    assert "reference, tflite fp32, onnx fp32 agree" in capsys.readouterr().out
    drop_bias(folder / "student-fp32.onnx", "decoders.1.body.bias")
    assert main(["bisect", str(folder / "student-fp32.tflite"), "--backends", "onnx", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["state"], document["wrong"]) == ("decided", ["onnx fp32"])


def test_a_rejected_artefact_is_bisected(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = folder / "student-fp32.rejected.onnx"
    (folder / "student-fp32.onnx").rename(place)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    report["results"][0] |= {"state": "gate", "path": str(place), "exit_code": 1}
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    drop_bias(place, "decoders.1.body.bias")
    assert main(["bisect", str(place)]) == 1
    assert "parts at decoders.1.body" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing.onnx"], "not found"),
        (["student-fp32.onnx", "--backends", "coreml_"], "coreml_"),
        (["student-fp32.onnx", "--backends", "onnx"], "needs two backends"),
        (["student-int8.onnx", "--backends", "tensorrt"], "its grid is"),
    ],
)
def test_what_cannot_be_used_is_refused(
    arguments: list[str], says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bisect", str(folder / arguments[0]), *arguments[1:]]) == 2
    assert says in capsys.readouterr().err
