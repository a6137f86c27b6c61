"""The file for TensorRT: the shifted ends are exact, faults are caught, and nothing is refused without a name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export import _compare
from edgemat.export._target import Trunk
from edgemat.export.tensorrt import TARGET, _readback
from edgemat.export.tensorrt._runner import GraphRunner

from .. import manyops

Images = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def whole(sym_trunk: Trunk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "student.tensorrt.onnx"
    TARGET.convert(sym_trunk, "int8", path)
    return path


@pytest.fixture(scope="module")
def references(images: Images, tmp_path_factory: pytest.TempPathFactory) -> _compare.References:
    """Return the references, computed once for all faults."""
    return _compare.References(images[:2], tmp_path_factory.mktemp("references"))


def judged(trunk: Trunk, path: Path, references: _compare.References) -> _compare.Verdict:
    with GraphRunner(path) as runner:
        alpha = runner.run(references.images)
        return _compare.judge(TARGET, "int8", trunk, path, runner, alpha, references)


@pytest.mark.parametrize("kept", [(), ("deep", "opened")])
def test_a_network_of_many_operators_is_the_reference_code_for_code(kept: tuple[str, ...], tmp_path: Path) -> None:
    trunk = manyops.trunk_of(manyops.many(), TARGET.scheme, tmp_path / "trunk.onnx", frozenset(kept))
    path = tmp_path / "many.tensorrt.onnx"
    TARGET.convert(trunk, "int8", path)
    verdict = judged(trunk, path, _compare.References(manyops.pictures(), tmp_path))
    assert verdict.wrong == ()
    assert verdict.on_grid is not None
    assert verdict.on_grid.identical > 0.999


def test_all_is_int8_and_the_notes_say_how_to_build(whole: Path) -> None:
    found = TARGET.inspect(whole)
    assert found.is_integer
    assert any("trtexec --onnx=student.tensorrt.onnx --stronglyTyped" in note for note in found.notes)


def test_the_zero_points_are_all_zero_and_read_back_as_the_grids(whole: Path, sym_trunk: Trunk) -> None:
    zeros = [values for name, values in _zero_points(onnx.load(whole))]
    assert zeros
    assert all(value.dtype == np.int8 and not value.any() for value in zeros)
    assert sym_trunk.grid is not None
    found = TARGET.scales(whole).activations if TARGET.scales else {}
    assert {name: zero for name, (_, zero) in found.items()} == {
        name: params.zero_point for name, params in sym_trunk.grid.activations.items()
    }


def _zero_points(model: ModelProto) -> list[tuple[str, npt.NDArray[np.int8]]]:
    return [(t.name, numpy_helper.to_array(t)) for t in model.graph.initializer if t.name.endswith("#zero_point")]


def stretched(values: dict[str, npt.NDArray[np.generic]]) -> tuple[str, str]:
    """One scale is 1.01 of the grid's."""
    values["downs.1.relu#scale"] = values["downs.1.relu#scale"] * np.float32(1.01)
    return "downs.1.relu", "the file states scale"


def shifted(values: dict[str, npt.NDArray[np.generic]]) -> tuple[str, str]:
    """One zero point is off by one."""
    values["downs.1.relu#zero_point"] = values["downs.1.relu#zero_point"] + np.int8(1)
    return "downs.1.relu", "the file states zero point"


def rolled(values: dict[str, npt.NDArray[np.generic]]) -> tuple[str, str]:
    """Each channel of a weight has its neighbour's scale."""
    values["downs.1.weight#scale"] = np.roll(values["downs.1.weight#scale"], 1)
    return "downs.1.weight", "channels' scales differ"


def bias_dropped(values: dict[str, npt.NDArray[np.generic]]) -> tuple[str, str]:
    """One convolution adds zeros."""
    values["downs.1.relu#bias"] = np.zeros_like(values["downs.1.relu#bias"])
    return "downs.1.relu", "LSB"


def shift_forgotten(values: dict[str, npt.NDArray[np.generic]]) -> tuple[str, str]:
    """The bias of the first convolution knows nothing of the image's shift."""
    weight = values["downs.0.weight#codes"].astype(np.float32) * values["downs.0.weight#scale"][:, None, None, None]
    values["downs.0.relu#bias"] = values["downs.0.relu#bias"] - weight.sum((1, 2, 3)) * np.float32(128 / 255)
    return "downs.0.relu", "LSB"


@pytest.mark.parametrize("fault", [stretched, shifted, rolled, bias_dropped, shift_forgotten])
def test_a_fault_is_caught_and_its_tensor_named(
    whole: Path,
    sym_trunk: Trunk,
    references: _compare.References,
    tmp_path: Path,
    fault: Callable[[dict[str, npt.NDArray[np.generic]]], tuple[str, str]],
) -> None:
    model = onnx.load(whole)
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    tensor, what = fault(values)
    for stored in model.graph.initializer:
        stored.CopyFrom(numpy_helper.from_array(np.asarray(values[stored.name]), stored.name))
    path = tmp_path / "faulty.tensorrt.onnx"
    onnx.save(model, path)
    lines = judged(sym_trunk, path, references).wrong
    assert any(tensor in line and what in line for line in lines), lines


def test_an_untouched_file_is_right(whole: Path, sym_trunk: Trunk, references: _compare.References) -> None:
    assert judged(sym_trunk, whole, references).wrong == ()


def test_what_cannot_make_the_shift_good_is_refused_by_name(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.full((1, 12, 3, 3), 0.01, np.float32), "weight")
    ends = [numpy_helper.from_array(np.float32(v), name) for v, name in ((0, "zero"), (1, "one"))]
    nodes = [
        helper.make_node("SpaceToDepth", ["image"], ["packed"], "packed", blocksize=2),
        helper.make_node("Conv", ["packed", "weight"], ["head"], "head", pads=[1] * 4),
        helper.make_node("Clip", ["head", "zero", "one"], ["alpha"], "alpha"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 32, 32))
    alpha = helper.make_tensor_value_info("alpha", TensorProto.FLOAT, (1, 1, 16, 16))
    graph = helper.make_graph(nodes, "padded", [image], [alpha], [weight, *ends])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    trunk = manyops.trunk_of(model, TARGET.scheme, tmp_path / "trunk.onnx")
    with pytest.raises(UnsupportedOpError, match=r"head \(Conv\): it pads a shifted tensor with zeros"):
        TARGET.convert(trunk, "int8", tmp_path / "a.tensorrt.onnx")
    assert not (tmp_path / "a.tensorrt.onnx").exists()


def test_a_file_of_another_tool_is_an_input_error(trunk: Trunk) -> None:
    with pytest.raises(InputError, match=r"its metadata lack edgemat\.shifts"):
        _readback.scales(trunk.path)
    assert any("metadata" in line for line in TARGET.check(trunk.path))


@pytest.mark.slow
def test_the_shipped_student_is_small_and_near(tmp_path: Path) -> None:
    trunk, pictures = manyops.shipped(TARGET.scheme, tmp_path)
    path = tmp_path / "student.tensorrt.onnx"
    TARGET.convert(trunk, "int8", path)
    assert path.stat().st_size / trunk.path.stat().st_size <= 0.30
    assert judged(trunk, path, _compare.References(pictures, tmp_path)).wrong == ()
