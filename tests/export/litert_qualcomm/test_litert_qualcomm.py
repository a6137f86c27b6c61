"""LiteRT's ahead-of-time compilation for Qualcomm: everything in one partition, from an int8 source that is judged."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("ai_edge_litert")
if importlib.util.find_spec("onnxruntime_qnn") is None:  # never imported here: it runs in processes of its own
    pytest.skip("needs onnxruntime_qnn", allow_module_level=True)

from edgemat.errors import EdgematError, UnsupportedOpError
from edgemat.export import _npu, tflite
from edgemat.export._target import Trunk
from edgemat.export.litert_qualcomm import TARGET, _write

from .. import npu

Images = npt.NDArray[np.uint8]
ONE = ("SM8650",)


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory, int_trunk: Trunk) -> Path:
    path = tmp_path_factory.mktemp("litert") / "student.litert_qualcomm"
    _write.convert(int_trunk, "int8", path, ONE)
    return path


def test_the_folder_is_as_promised(artefact: Path) -> None:
    assert {p.name for p in artefact.iterdir()} == {"source.tflite", "SM8650.tflite", "report.json"}
    assert TARGET.check(artefact) == ()
    (entry,) = json.loads((artefact / "report.json").read_text())["compiled"]
    assert entry["fully_compiled"]
    assert entry["operators"] == {"npu": len(tflite.TARGET.inspect(artefact / "source.tflite").ops), "cpu": 0}
    assert entry["partitions"] == 1


def test_the_source_is_the_grids(artefact: Path, int_trunk: Trunk, images: Images) -> None:
    assert int_trunk.grid is not None
    assert npu.differences(TARGET, TARGET.scales(artefact), int_trunk.grid) == []
    assert TARGET.inspect(artefact).is_integer
    with TARGET.load(artefact) as runner:
        assert npu.checked(int_trunk, runner, images[0])
        assert npu.agreement(int_trunk, runner, images).within_one >= 0.99


@pytest.mark.parametrize("fault", ["scale", "zero point", "weights"])
def test_a_wrong_grid_is_read_back(fault: str, int_trunk: Trunk, tmp_path: Path) -> None:
    assert int_trunk.grid is not None
    wrong, tensor = npu.faulty(int_trunk, fault)
    _write.convert(wrong, "int8", tmp_path / "wrong", ONE)
    (line,) = npu.differences(TARGET, TARGET.scales(tmp_path / "wrong"), int_trunk.grid)
    assert line.startswith(tensor)


def test_a_dropped_bias_is_located(int_trunk: Trunk, images: Images, tmp_path: Path) -> None:
    wrong, tensor = npu.without_bias(int_trunk, tmp_path / "wrong.onnx")
    _write.convert(wrong, "int8", tmp_path / "wrong", ONE)
    with TARGET.load(tmp_path / "wrong") as runner:
        assert [layer.tensor for layer in npu.checked(int_trunk, runner, images[0]).failed] == [tensor]


def test_a_float_source_is_caught_although_it_compiles(int_trunk: Trunk, tmp_path: Path) -> None:
    path = tmp_path / "float"
    path.mkdir()
    tflite.TARGET.convert(dataclasses.replace(int_trunk, grid=None), "fp32", path / "source.tflite")
    made = _write._compile(path, "SM8650", "a float network")
    _npu.write_report(path, "litert_qualcomm", int_trunk, "source.tflite", [made], {}, ())
    lines = TARGET.check(path)
    assert "SM8650.tflite: input is ['float32'], expected one int8 tensor" in lines


def test_a_file_that_was_not_compiled_is_caught(artefact: Path, int_trunk: Trunk, tmp_path: Path) -> None:
    path = tmp_path / "left"
    path.mkdir()
    for name in ("source.tflite", "SM8650.tflite"):
        (path / name).write_bytes((artefact / "source.tflite").read_bytes())
    made = [_npu.Compiled("SM8650", "SM8650.tflite", 22, 0)]
    _npu.write_report(path, "litert_qualcomm", int_trunk, "source.tflite", made, {}, ())
    lines = TARGET.check(path)
    assert any("operators are not the NPU's: " in line and "CONV_2D" in line for line in lines)
    assert any("its binary is for HTP none, expected v75" in line for line in lines)


def test_a_report_that_tells_of_other_files_is_caught(artefact: Path, tmp_path: Path) -> None:
    path = tmp_path / "changed"
    path.mkdir()
    for file in artefact.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    with (path / "SM8650.tflite").open("ab") as stream:
        stream.write(b"\0")
    (path / "extra").touch()
    report = json.loads((path / "report.json").read_text())
    report["compiled"][0]["operators"]["cpu"] = 1
    (path / "report.json").write_text(json.dumps(report))
    lines = TARGET.check(path)
    assert [line.partition(":")[0] for line in lines] == [
        "SM8650.tflite is not the file that report.json tells of",
        "SM8650.tflite",
        "extra",
    ]


def test_what_is_kept_in_float_is_refused(int_trunk: Trunk, tmp_path: Path) -> None:
    assert int_trunk.grid is not None
    kept = dataclasses.replace(int_trunk, grid=dataclasses.replace(int_trunk.grid, kept=frozenset({"head"})))
    with pytest.raises(UnsupportedOpError, match=r"litert_qualcomm: 1 nodes are kept in float.*: head"):
        _write.convert(kept, "int8", tmp_path / "a", ONE)


def test_a_compiler_that_refuses_is_an_error(int_trunk: Trunk, tmp_path: Path) -> None:
    with pytest.raises(EdgematError, match=r"LiteRT did not compile it for SM0000(.|\n)*last words"):
        _write.convert(int_trunk, "int8", tmp_path / "a", ("SM0000",))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["friendly", "bottleneck", "mobile"])
def test_every_architecture(arch: str, images: Images, tmp_path: Path) -> None:
    made = npu.student(arch, tmp_path, images)
    _write.convert(made, "int8", tmp_path / "a", ONE)
    assert TARGET.check(tmp_path / "a") == ()
    with TARGET.load(tmp_path / "a") as runner:
        assert npu.checked(made, runner, images[0])


@pytest.mark.slow
def test_the_shipped_student_on_five_chips(tmp_path: Path) -> None:
    made, images = npu.shipped(tmp_path)
    path = tmp_path / "student"
    TARGET.convert(made, "int8", path)
    assert TARGET.check(path) == ()
    report = json.loads((path / "report.json").read_text())
    assert {entry["chip"] for entry in report["compiled"]} == set(_npu.QUALCOMM)
    assert all(entry["fully_compiled"] for entry in report["compiled"])
    with TARGET.load(path) as runner:
        assert npu.checked(made, runner, images[0])
        assert npu.agreement(made, runner, images[:4]).within_one >= 0.99
