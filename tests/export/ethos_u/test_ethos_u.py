"""Ethos-U: nothing is left to a CPU, the source that Vela compiles makes the grid's codes, estimates are called so."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

pytest.importorskip("ai_edge_litert")
if importlib.util.find_spec("ethosu") is None:  # never imported here: it runs in processes of its own
    pytest.skip("needs ethosu", allow_module_level=True)

from edgemat.errors import UnsupportedOpError
from edgemat.export import _isolated, _npu, tflite
from edgemat.export._target import Trunk
from edgemat.export.ethos_u import TARGET, _adapt, _vela, _write
from edgemat.export.tflite import _reading, _runner

from .. import manyops, npu

Images = npt.NDArray[np.uint8]
ONE = ("ethos-u55-128",)


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory, int_trunk: Trunk) -> Path:
    path = tmp_path_factory.mktemp("ethos") / "student.ethos_u"
    _write.convert(int_trunk, "int8", path, ONE)
    return path


def kinds(path: Path) -> list[str]:
    model = _reading.verified(path)
    return [_reading.kind_of(model, op) for op in model.subgraphs[0].operators]


def test_the_folder_is_as_promised(artefact: Path) -> None:
    assert {p.name for p in artefact.iterdir()} == {"source.tflite", "ethos-u55-128.tflite", "report.json"}
    assert TARGET.check(artefact) == ()
    assert kinds(artefact / "ethos-u55-128.tflite") == ["ethos-u"]
    (entry,) = json.loads((artefact / "report.json").read_text())["compiled"]
    assert entry["fully_compiled"]
    assert entry["operators"]["cpu"] == 0 < entry["operators"]["npu"]
    estimates = entry["estimates"]
    assert "not measured" in estimates["by"]
    assert estimates["inference_ms"] == pytest.approx(1e3 * estimates["cycles"] / estimates["clock_hz"], rel=1e-3)
    assert estimates["sram_kib"] > 0


def test_the_source_is_the_grids(artefact: Path, int_trunk: Trunk, images: Images) -> None:
    assert int_trunk.grid is not None
    assert npu.differences(TARGET, TARGET.scales(artefact), int_trunk.grid) == []
    assert TARGET.inspect(artefact).is_integer
    assert any("not measured" in note for note in TARGET.inspect(artefact).notes)
    with TARGET.load(artefact) as runner:
        assert npu.checked(int_trunk, runner, images[0])
        assert npu.agreement(int_trunk, runner, images).within_one >= 0.99


def test_other_operators_make_the_same_codes(artefact: Path, int_trunk: Trunk, images: Images, tmp_path: Path) -> None:
    tflite.TARGET.convert(int_trunk, "int8", tmp_path / "plain.tflite")
    assert not {"DEPTH_TO_SPACE", "SPACE_TO_DEPTH"} & set(kinds(artefact / "source.tflite"))
    stems = [
        op.builtinOptions.strideH
        for path in (tmp_path / "plain.tflite", artefact / "source.tflite")
        for op in _reading.verified(path).subgraphs[0].operators[:10]
        if hasattr(op.builtinOptions, "strideH")
    ]
    assert (stems[0], max(stems[1:])) == (4, 2)
    plain, adapted = (_runner.LiteRTRunner(p) for p in (tmp_path / "plain.tflite", artefact / "source.tflite"))
    for image in images:
        expected, found = plain.codes(image), adapted.codes(image)
        assert set(expected) == set(found)
        assert all(np.array_equal(expected[name], found[name]) for name in expected)


def shuffling(mode: str, path: Path) -> Trunk:
    """Return a network that turns space into depth, computes, and turns depth of several channels into space."""
    rng = np.random.default_rng(1)
    constants = {
        "a.weight": rng.normal(0, 0.1, (12, 12, 3, 3)), "a.bias": rng.normal(0, 0.1, 12),
        "b.weight": rng.normal(0, 0.5, (1, 3, 1, 1)), "b.bias": np.array([0.5]),
        "zero": np.array(0.0), "one": np.array(1.0),
    }  # fmt: skip
    nodes = [
        helper.make_node("SpaceToDepth", ["image"], ["deep"], "deep", blocksize=2),
        helper.make_node("Conv", ["deep", "a.weight", "a.bias"], ["a"], "a", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["a.relu"], "a.relu"),
        helper.make_node("DepthToSpace", ["a.relu"], ["wide"], "wide", blocksize=2, mode=mode),
        helper.make_node("Conv", ["wide", "b.weight", "b.bias"], ["b"], "b"),
        helper.make_node("Clip", ["b", "zero", "one"], ["alpha"], "alpha"),
    ]
    tensors = [onnx.numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in constants.items()]
    takes = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, manyops.SIZE, manyops.SIZE))
    gives = helper.make_tensor_value_info("alpha", TensorProto.FLOAT, (1, 1, manyops.SIZE, manyops.SIZE))
    graph = helper.make_graph(nodes, "shuffling", [takes], [gives], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return manyops.trunk_of(model, "static_w8c_a8", path)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_space_and_depth_change_places(mode: str, tmp_path: Path) -> None:
    made = shuffling(mode, tmp_path / "net.onnx")
    _write.convert(made, "int8", tmp_path / "net", ("ethos-u85-1024",))
    assert TARGET.check(tmp_path / "net") == ()
    with TARGET.load(tmp_path / "net") as runner:
        assert npu.checked(made, runner, manyops.pictures(1)[0])


@pytest.mark.parametrize("fault", ["scale", "zero point", "weights"])
def test_a_wrong_grid_is_read_back(fault: str, int_trunk: Trunk, tmp_path: Path) -> None:
    assert int_trunk.grid is not None
    wrong, tensor = npu.faulty(int_trunk, fault)
    tflite.TARGET.convert(wrong, "int8", tmp_path / "source.tflite")
    (tmp_path / "source.tflite").write_bytes(_adapt.adapt((tmp_path / "source.tflite").read_bytes()))
    made = [_npu.Compiled(ONE[0], "source.tflite", 1, 0)]
    _npu.write_report(tmp_path, "ethos_u", wrong, "source.tflite", made, {}, ())
    (line,) = npu.differences(TARGET, TARGET.scales(tmp_path), int_trunk.grid)
    assert line.startswith(tensor)


def test_a_dropped_bias_is_located(int_trunk: Trunk, images: Images, tmp_path: Path) -> None:
    wrong, tensor = npu.without_bias(int_trunk, tmp_path / "wrong.onnx")
    _write.convert(wrong, "int8", tmp_path / "wrong", ONE)
    with TARGET.load(tmp_path / "wrong") as runner:
        assert [layer.tensor for layer in npu.checked(int_trunk, runner, images[0]).failed] == [tensor]


def test_a_float_network_stays_on_the_cpu_and_is_refused(trunk: Trunk, tmp_path: Path) -> None:
    """Vela itself ends with success."""
    tflite.TARGET.convert(trunk, "fp32", tmp_path / "source.tflite")
    with pytest.raises(UnsupportedOpError, match=r"operators are not for ethos-u55-128(.|\n)*CONV_2D"):
        _vela.compile_for(ONE[0], tmp_path / "source.tflite", tmp_path / "goal.tflite", "a float network")
    assert not (tmp_path / "goal.tflite").exists()


def test_an_operator_for_the_cpu_is_named(int_trunk: Trunk, tmp_path: Path) -> None:
    tflite.TARGET.convert(int_trunk, "int8", tmp_path / "source.tflite")
    with pytest.raises(
        UnsupportedOpError, match=r"1 operators are not for ethos-u55-128.*\n  alpha \(DEPTH_TO_SPACE\)"
    ):
        _vela.compile_for(ONE[0], tmp_path / "source.tflite", tmp_path / "goal.tflite", "the student")


def test_a_file_that_was_not_compiled_is_caught(artefact: Path, int_trunk: Trunk, tmp_path: Path) -> None:
    for name in ("source.tflite", "ethos-u55-128.tflite"):
        (tmp_path / name).write_bytes((artefact / "source.tflite").read_bytes())
    made = [_npu.Compiled(ONE[0], "ethos-u55-128.tflite", 22, 0)]
    _npu.write_report(tmp_path, "ethos_u", int_trunk, "source.tflite", made, {}, ())
    (line,) = TARGET.check(tmp_path)
    assert "operators are not the NPU's: " in line
    assert "RESHAPE" in line


def test_a_compiler_that_crashes_is_an_error(artefact: Path, tmp_path: Path) -> None:
    content = (artefact / "source.tflite").read_bytes()
    (tmp_path / "source.tflite").write_bytes(content[: len(content) // 2])
    with pytest.raises(_isolated.IsolatedError, match="crashed with SIG"):
        _vela.compile_for(ONE[0], tmp_path / "source.tflite", tmp_path / "goal.tflite", "half a file")


def test_a_compiler_that_hangs_is_stopped() -> None:
    with pytest.raises(_isolated.IsolatedError, match=r"it: python.* gave no answer within 0\.2 s and was stopped"):
        _npu.run_tool([sys.executable, "-c", "import time; time.sleep(60)"], "it", timeout=0.2)


def test_what_is_kept_in_float_is_refused(int_trunk: Trunk, tmp_path: Path) -> None:
    assert int_trunk.grid is not None
    kept = dataclasses.replace(int_trunk, grid=dataclasses.replace(int_trunk.grid, kept=frozenset({"head"})))
    with pytest.raises(UnsupportedOpError, match=r"ethos_u: 1 nodes are kept in float.*: head"):
        _write.convert(kept, "int8", tmp_path / "a", ONE)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["friendly", "bottleneck", "mobile"])
def test_every_architecture(arch: str, images: Images, tmp_path: Path) -> None:
    made = npu.student(arch, tmp_path, images)
    _write.convert(made, "int8", tmp_path / "a", ONE)
    assert TARGET.check(tmp_path / "a") == ()
    with TARGET.load(tmp_path / "a") as runner:
        assert npu.checked(made, runner, images[0])


@pytest.mark.slow
def test_the_shipped_student_on_every_core(tmp_path: Path) -> None:
    made, images = npu.shipped(tmp_path)
    path = tmp_path / "student"
    TARGET.convert(made, "int8", path)
    assert TARGET.check(path) == ()
    report = json.loads((path / "report.json").read_text())
    assert {entry["chip"] for entry in report["compiled"]} == set(_vela.CORES)
    assert all(entry["fully_compiled"] and entry["of_float_onnx"] <= 0.30 for entry in report["compiled"])
    with TARGET.load(path) as runner:
        assert npu.checked(made, runner, images[0])
        assert npu.agreement(made, runner, images[:4]).within_one >= 0.99
