"""The IR: what it computes, what it states, how large it is, and that OpenVINO stays out of our process."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

if importlib.util.find_spec("openvino") is None:  # never imported here: it runs in processes of its own
    pytest.skip("needs openvino", allow_module_level=True)
pytest.importorskip("onnx")

from onnx import helper

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export import _compare, _isolated
from edgemat.export._target import Trunk
from edgemat.export.openvino import TARGET, _adapt, _ir, _readback, _write
from edgemat.quantize.grid import QParams

from .. import manyops

Images = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def artefact(int_trunk: Trunk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artefact") / "student.openvino"
    TARGET.convert(int_trunk, "int8", path)
    return path


@pytest.mark.parametrize("kept", [(), ("deep", "opened")])
def test_a_network_of_many_operators_is_the_reference_code_for_code(kept: tuple[str, ...], tmp_path: Path) -> None:
    trunk = manyops.trunk_of(manyops.many(), TARGET.scheme, tmp_path / "trunk.onnx", frozenset(kept))
    path, pictures = tmp_path / "many.openvino", manyops.pictures()
    TARGET.convert(trunk, "int8", path)
    assert TARGET.check(path) == ()
    with TARGET.load(path) as runner:
        verdict = _compare.judge(
            TARGET, "int8", trunk, path, runner, runner.run(pictures), _compare.References(pictures, tmp_path)
        )
    assert verdict.wrong == ()
    assert verdict.on_grid is not None
    assert verdict.on_grid.identical > 0.999
    inspection = TARGET.inspect(path)
    assert {op.name for op in inspection.islands} <= set(kept)
    assert any("kept in float: deep, opened" in note for note in inspection.notes) == bool(kept)


def test_showing_the_codes_changes_none(artefact: Path, images: Images) -> None:
    with TARGET.load(artefact) as runner:
        alphas = runner.run(images)
        for alpha, image in zip(alphas, images, strict=True):
            np.testing.assert_array_equal(runner.codes(image)["alpha"][0, 0], np.rint(alpha * 255))


def test_every_convolution_runs_in_int8(artefact: Path) -> None:
    found = TARGET.inspect(artefact)
    convolutions = [op for op in found.ops if op.kind == "Convolution"]
    assert len(convolutions) > 5
    assert {op.arithmetic for op in convolutions} == {"int8"}
    assert all(op.weights["int8"] > 0 for op in convolutions)


def test_the_interpolation_is_on_codes(artefact: Path) -> None:
    ir = _ir.read(artefact)
    kinds = {layer.output[1] for layer in ir.layers.values() if layer.kind == "Interpolate" and layer.output}
    assert kinds == {"U8"}


def test_the_file_states_what_it_is(artefact: Path, int_trunk: Trunk) -> None:
    facts = _ir.read(artefact).facts
    assert facts["license"] == "Apache-2.0"
    assert facts["scheme"] == "static_w8c_a8"
    assert int_trunk.grid is not None
    for name, (scale, zero) in facts["scales"].items():
        params = int_trunk.grid.activations[name]
        assert (float(np.float32(scale)), zero) == (params.scale, params.zero_point)


@pytest.mark.parametrize("scale", [0.1, 0.0039215689, 1.9999999, 1.2345678e-5])
@pytest.mark.parametrize("zero", [0, 1, 127, 255])
def test_a_scale_is_read_back_to_its_last_bit(scale: float, zero: int) -> None:
    params = QParams(scale, zero)
    low, high = _adapt.ends_of(params)
    stated = [float(str(np.float32(params.scale))), zero]
    assert _readback._of_bounds(low, high, stated) == (params.scale, zero)
    for factor in (np.float32(1.01), np.nextafter(np.float32(1), np.float32(2), dtype=np.float32)):
        read, found = _readback._of_bounds(low * factor, high * factor, stated)
        assert found == zero
        assert read == pytest.approx(params.scale * float(factor), rel=1e-6)


def test_an_average_that_counts_the_padding_is_not_on_codes() -> None:
    def pool(**attributes: Any) -> bool:
        return _adapt.on_codes(helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], **attributes))

    assert pool()
    assert pool(pads=[1, 1, 1, 1])
    assert pool(count_include_pad=1)
    assert not pool(pads=[1, 1, 1, 1], count_include_pad=1)
    assert not pool(auto_pad="SAME_UPPER", count_include_pad=1)


def test_an_operator_that_openvino_does_not_know_is_unsupported(trunk: Trunk, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(trunk.path)
    model.graph.node[-1].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    content = np.frombuffer(model.SerializeToString(), np.uint8)
    arguments = {"path": str(tmp_path / "a.xml"), "facts": "{}", "origin": "trunk.onnx"}
    with pytest.raises(UnsupportedOpError, match=r"trunk\.onnx: OpenVINO cannot read its graph"):
        _isolated.call(f"{_write.BACKEND}:to_ir", arguments, {"model": content})


def test_numbers_that_end_early_are_an_input_error(artefact: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.openvino"
    path.mkdir()
    for name, end in ((_write.GRAPH, None), (_write.NUMBERS, -8)):
        (path / name).write_bytes((artefact / name).read_bytes()[:end])
    with pytest.raises(InputError, match=r"short\.openvino: not a whole OpenVINO IR"):
        TARGET.load(path)


def test_openvino_stays_out_of_our_process(artefact: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; import numpy as np; from edgemat.export.openvino import TARGET\n"
        f"path = Path({str(artefact)!r})\n"
        "with TARGET.load(path) as runner: runner.run(np.zeros((1, 64, 64, 3), np.uint8))\n"
        "assert TARGET.check(path) == () and 'openvino' not in sys.modules\n"
        "child = os.fork()\n"
        "if child == 0: sys.exit(0)\n"
        "print(os.waitpid(child, 0)[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr


@pytest.mark.slow
def test_the_shipped_student_is_small_and_near(tmp_path: Path) -> None:
    trunk, pictures = manyops.shipped(TARGET.scheme, tmp_path)
    sizes = {}
    for precision in ("fp32", "int8"):
        path = tmp_path / f"student-{precision}.openvino"
        TARGET.convert(trunk, precision, path)
        sizes[precision] = sum(file.stat().st_size for file in path.iterdir())
    assert sizes["int8"] / sizes["fp32"] <= 0.30
    assert sizes["int8"] / trunk.path.stat().st_size <= 0.30
    with TARGET.load(path) as runner:
        verdict = _compare.judge(
            TARGET, "int8", trunk, path, runner, runner.run(pictures), _compare.References(pictures, tmp_path)
        )
    assert verdict.wrong == ()
