"""QNN: the compiled contexts run in the HTP library, code for code as the reference says; faults are caught."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

if importlib.util.find_spec("onnxruntime_qnn") is None:  # never imported here: it runs in processes of its own
    pytest.skip("needs onnxruntime_qnn", allow_module_level=True)

from edgemat.errors import EdgematError, UnsupportedOpError
from edgemat.export import _isolated, _npu
from edgemat.export._target import Trunk
from edgemat.export.qnn import TARGET, _read, _write
from edgemat.quantize import qdq

from .. import npu
from ..manyops import many, pictures, trunk_of

Images = npt.NDArray[np.uint8]
ONE = {"SM8650": 57}


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory, int_trunk: Trunk) -> Path:
    path = tmp_path_factory.mktemp("qnn") / "student.qnn"
    _write.convert(int_trunk, "int8", path, ONE)
    return path


def test_the_folder_is_as_promised(artefact: Path) -> None:
    assert {p.name for p in artefact.iterdir()} == {"source.onnx", "SM8650.onnx", "report.json"}
    assert TARGET.check(artefact) == ()
    report = json.loads((artefact / "report.json").read_text())
    assert report["schema_version"] == 1
    (entry,) = report["compiled"]
    assert entry["fully_compiled"]
    assert entry["operators"]["cpu"] == 0
    # more than the file has: a DequantizeLinear that two read is one for each
    assert entry["operators"]["npu"] >= len(onnx.load(artefact / "source.onnx").graph.node)


def test_every_code_is_the_references(artefact: Path, int_trunk: Trunk, images: Images) -> None:
    with TARGET.load(artefact) as runner:
        found = npu.checked(int_trunk, runner, images[0])
        assert npu.agreement(int_trunk, runner, images) == (1.0, 1.0)
    assert found.worst is not None
    assert (found.missing, found.worst.lsb) == ((), 0)


def test_it_states_the_grid_and_computes_in_int8(artefact: Path, int_trunk: Trunk) -> None:
    assert int_trunk.grid is not None
    assert npu.differences(TARGET, TARGET.scales(artefact), int_trunk.grid) == []
    found = TARGET.inspect(artefact)
    assert found.is_integer
    assert any("SM8650" in note for note in found.notes)


@pytest.mark.parametrize("fault", ["scale", "zero point", "weights"])
def test_a_wrong_grid_is_read_back(fault: str, int_trunk: Trunk, tmp_path: Path) -> None:
    assert int_trunk.grid is not None
    wrong, tensor = npu.faulty(int_trunk, fault)
    path = tmp_path / "wrong.qnn"
    path.mkdir()
    (path / "source.onnx").write_bytes(_write.with_codes(wrong).SerializeToString())
    _npu.write_report(path, "qnn", wrong, "source.onnx", [_npu.Compiled("SM8650", "source.onnx", 1, 0)], {}, ())
    (line,) = npu.differences(TARGET, TARGET.scales(path), int_trunk.grid)
    assert line.startswith(tensor)


def test_a_dropped_bias_is_located(int_trunk: Trunk, images: Images, tmp_path: Path) -> None:
    wrong, tensor = npu.without_bias(int_trunk, tmp_path / "wrong.onnx")
    _write.convert(wrong, "int8", tmp_path / "wrong.qnn", ONE)
    with TARGET.load(tmp_path / "wrong.qnn") as runner:
        found = npu.checked(int_trunk, runner, images[0])
    assert [layer.tensor for layer in found.failed] == [tensor]


def test_a_float_island_is_named(artefact: Path) -> None:
    model = onnx.load(artefact / "source.onnx")
    assert list(_read.islands(model)) == []
    tensor = "laterals.1"
    pair = {n.op_type: n for n in model.graph.node if n.name in (f"{tensor}#quantize", f"{tensor}#dequantize")}
    for node in model.graph.node:
        node.input[:] = [f"{tensor}{qdq.FLOAT}" if name == tensor else name for name in node.input]
    for node in pair.values():
        model.graph.node.remove(node)
    lines = list(_read.islands(model))
    assert any(line.startswith(f"{tensor}{qdq.FLOAT}: ") for line in lines)
    path = artefact.parent / "island.onnx"
    path.write_bytes(model.SerializeToString())
    arguments = {"source": str(path), "folder": str(artefact.parent), "chips": ONE}
    with pytest.raises(UnsupportedOpError, match=r"nodes are not for Qualcomm's HTP\n(.|\n)*laterals\.1"):
        _isolated.call("edgemat.export.qnn._child:compile_contexts", arguments)


def test_a_float_network_is_no_int8_one(trunk: Trunk) -> None:
    """The accelerator takes all of it all the same: a full assignment alone proves nothing."""
    lines = list(_read.islands(onnx.load(trunk.path)))
    assert len(lines) == sum(n.op_type not in ("Relu", "Clip") for n in onnx.load(trunk.path).graph.node)


def test_a_context_for_another_chip_is_caught(artefact: Path, int_trunk: Trunk, tmp_path: Path) -> None:
    path = tmp_path / "other.qnn"
    path.mkdir()
    for name, goal in (("source.onnx", "source.onnx"), ("SM8650.onnx", "SM8750.onnx")):
        (path / goal).write_bytes((artefact / name).read_bytes())
    count = json.loads((artefact / "report.json").read_text())["compiled"][0]["operators"]["npu"]
    made = [_npu.Compiled("SM8750", "SM8750.onnx", count, 0)]
    _npu.write_report(path, "qnn", int_trunk, "source.onnx", made, {}, ())
    assert TARGET.check(path) == ("SM8750.onnx: its binary is for HTP v75, expected v79 of SM8750",)


def test_a_context_of_other_weights_is_caught(artefact: Path, int_trunk: Trunk, tmp_path: Path) -> None:
    wrong, _ = npu.without_bias(int_trunk, tmp_path / "wrong.onnx")
    path = tmp_path / "other.qnn"
    _write.convert(wrong, "int8", path, ONE)
    (path / "source.onnx").write_bytes((artefact / "source.onnx").read_bytes())
    count = json.loads((artefact / "report.json").read_text())["compiled"][0]["operators"]["npu"]
    made = [_npu.Compiled("SM8650", "SM8650.onnx", count, 0)]
    _npu.write_report(path, "qnn", int_trunk, "source.onnx", made, {}, ())
    (line,) = TARGET.check(path)
    assert "pixels of alpha differ from the source's on the HTP" in line


def test_what_is_kept_in_float_is_refused(int_trunk: Trunk, tmp_path: Path) -> None:
    assert int_trunk.grid is not None
    kept = dataclasses.replace(int_trunk, grid=dataclasses.replace(int_trunk.grid, kept=frozenset({"head", "a"})))
    with pytest.raises(UnsupportedOpError, match=r"2 nodes are kept in float.*: a, head"):
        _write.convert(kept, "int8", tmp_path / "a.qnn", ONE)
    assert list(tmp_path.iterdir()) == []


def test_a_hanging_compiler_is_an_error(int_trunk: Trunk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_npu, "TIMEOUT", 0.01)
    with pytest.raises(EdgematError, match=r"gave no answer within 0\.01 s"):
        _write.convert(int_trunk, "int8", tmp_path / "a.qnn", ONE)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_platform_is_told() -> None:
    elsewhere = dataclasses.replace(TARGET, platforms=("darwin-arm64",))
    missing = elsewhere.unavailable()
    assert missing is not None
    assert "its back end exists for darwin-arm64, found" in missing.reason


@pytest.mark.parametrize("chip", ["SM8450", "SM8850"])
def test_most_operators_are_the_references(chip: str, tmp_path: Path) -> None:
    made = trunk_of(many(), "static_w8c_a8", tmp_path / "many.onnx")
    _write.convert(made, "int8", tmp_path / "many.qnn", {chip: _npu.QUALCOMM[chip]})
    with TARGET.load(tmp_path / "many.qnn") as runner:
        found = npu.checked(made, runner, pictures(1)[0])
    assert found, str(found)
    known = {"both", "gated", "whole"}
    """Known to one code alone: Concat, Mul, the mean of everything."""
    assert {layer.tensor for layer in found.layers if layer.lsb} <= known


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["friendly", "bottleneck", "mobile"])
def test_every_architecture(arch: str, images: Images, tmp_path: Path) -> None:
    made = npu.student(arch, tmp_path, images)
    _write.convert(made, "int8", tmp_path / "a.qnn", ONE)
    assert TARGET.check(tmp_path / "a.qnn") == ()
    with TARGET.load(tmp_path / "a.qnn") as runner:
        assert npu.checked(made, runner, images[0])
        assert npu.agreement(made, runner, images).within_one >= 0.99


@pytest.mark.slow
def test_the_shipped_student_on_five_chips(tmp_path: Path) -> None:
    made, images = npu.shipped(tmp_path)
    path = tmp_path / "student.qnn"
    TARGET.convert(made, "int8", path)
    assert TARGET.check(path) == ()
    report = json.loads((path / "report.json").read_text())
    assert {entry["chip"] for entry in report["compiled"]} == set(_npu.QUALCOMM)
    assert all(entry["fully_compiled"] for entry in report["compiled"])
    for chip in ("SM8450", "SM8650"):
        with _read._runner(path, report, chip) as runner:
            assert npu.checked(made, runner, images[0])
            assert npu.agreement(made, runner, images[:4]).within_one >= 0.99
