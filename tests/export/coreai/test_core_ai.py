"""Target coreai in Apple's runtime: what only that can show. The contract tests run it too, where it is installed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from edgemat.errors import InputError
from edgemat.export import _compare, _isolated, _trunk
from edgemat.export._target import IntegerGate, Trunk, Trunks
from edgemat.export.coreai import TARGET
from edgemat.quantize.calibrate import calibrate
from edgemat.quantize.scheme import Scheme

pytestmark = pytest.mark.slow
if (missing := TARGET.unavailable()) is not None:
    pytest.skip(f"Core AI: {missing.reason}", allow_module_level=True)

Images = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory, trunks: Trunks) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("coreai")
    for precision in TARGET.gates:
        TARGET.convert(trunks.get(TARGET, precision), precision, folder / f"student-{precision}.aimodel")
    return {precision: folder / f"student-{precision}.aimodel" for precision in TARGET.gates}


def verdict(trunk: Trunk, precision: str, path: Path, images: Images, folder: Path) -> _compare.Verdict:
    """Return what the frame says of an artefact."""
    references = _compare.References(images, folder)
    with TARGET.load(path) as runner:
        alpha = runner.run(images)
        return _compare.judge(TARGET, precision, trunk, path, runner, alpha, references)


def damaged(path: Path, old: bytes, new: bytes, folder: Path) -> Path:
    """Return a copy whose program holds other bytes, and says so in its hash: a converter's fault, not a copy's."""
    copy = folder / path.name
    copy.mkdir()
    for file in path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    program = (copy / "main.mlirb").read_bytes()
    assert program.count(old) == 1
    program = program.replace(old, new)
    (copy / "main.mlirb").write_bytes(program)
    (copy / "main.hash").write_bytes(hashlib.sha256(program).digest())
    return copy


@pytest.mark.parametrize("precision", TARGET.gates)
def test_every_tensor_is_shown(precision: str, assets: dict[str, Path], trunks: Trunks, images: Images) -> None:
    trunk = trunks.get(TARGET, precision)
    names = {node.output[0] for node in onnx.load(trunk.path).graph.node}
    with TARGET.load(assets[precision]) as runner:
        if isinstance(TARGET.gates[precision], IntegerGate):
            assert trunk.grid is not None
            assert set(runner.codes(images[0])) == set(trunk.grid.activations)
        else:
            found = runner.trace(images[0])
            assert names - set(found) <= {"alpha"}
            np.testing.assert_array_equal(found["alpha"][0, 0], runner.run(images[:1])[0])


def test_a_changed_weight_is_found_where_it_is(
    assets: dict[str, Path], trunk: Trunk, images: Images, tmp_path: Path
) -> None:
    assert verdict(trunk, "fp32", assets["fp32"], images, tmp_path).wrong == ()
    graph = onnx.load(trunk.path).graph
    node = [node for node in graph.node if node.op_type == "Conv"][4]
    weight = next(numpy_helper.to_array(t) for t in graph.initializer if t.name == node.input[1])
    bad = damaged(assets["fp32"], weight.tobytes(), (weight * np.float32(1.02)).tobytes(), tmp_path)
    wrong = verdict(trunk, "fp32", bad, images, tmp_path).wrong
    assert "alpha differs" in wrong[0]
    assert any(node.output[0] in line for line in wrong[1:]), wrong


def test_a_changed_scale_and_a_changed_code_are_found(
    assets: dict[str, Path], int_trunk: Trunk, images: Images, tmp_path: Path
) -> None:
    assert int_trunk.grid is not None
    assert verdict(int_trunk, "int8", assets["int8"], images, tmp_path).wrong == ()
    name, scales = next((n, s) for n, s in int_trunk.grid.weights.items() if len(s) > 4)
    (tmp_path / "scale").mkdir()
    bad = damaged(assets["int8"], scales.tobytes(), (scales * np.float32(1.01)).tobytes(), tmp_path / "scale")
    lines, _ = _compare.scale_differences(TARGET, int_trunk.grid, bad, 0.0)
    assert any(line.startswith(name) for line in lines)
    assert any(name in line for line in verdict(int_trunk, "int8", bad, images, tmp_path).wrong)


def test_kept_nodes_compute_in_float(trunk: Trunk, images: Images, tmp_path: Path) -> None:
    model = onnx.load(trunk.path)
    kept = frozenset({[node.name for node in model.graph.node if node.op_type == "Conv"][-2]})
    mixed = dataclasses.replace(trunk, grid=calibrate(model, images, Scheme(), "minmax", kept))
    path = tmp_path / "student.aimodel"
    TARGET.convert(mixed, "int8", path)
    assert TARGET.check(path) == ()
    assert {op.name.removesuffix("#float") for op in TARGET.inspect(path).islands} <= kept | {
        node.output[0] for node in model.graph.node if node.name in kept
    }
    assert verdict(mixed, "int8", path, images, tmp_path).wrong == ()


def test_it_leaves_no_files(
    assets: dict[str, Path], images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with TARGET.load(assets["fp32"]) as runner:
        runner.run(images)
        runner.trace(images[0])
        runner.run(images)
    TARGET.inspect(assets["fp32"])
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_is_none_is_an_error_of_the_process(
    assets: dict[str, Path], images: Images, tmp_path: Path
) -> None:
    program = (assets["fp32"] / "main.mlirb").read_bytes()
    bad = damaged(assets["fp32"], program, program[: len(program) // 2], tmp_path)
    with pytest.raises((_isolated.IsolatedError, InputError)), TARGET.load(bad) as runner:
        runner.run(images)


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (128, 64), (256, 256)])
def test_sizes_again_and_again(size: tuple[int, int], weights: Path, tmp_path: Path) -> None:
    """Convert and run five times: the same bytes, the same matte, within the gate."""
    height, width = size
    trunk = _trunk.from_student(weights, height, width, tmp_path / "trunk.onnx")
    images = np.random.default_rng(3).integers(0, 256, (2, height, width, 3)).astype(np.uint8)
    seen = set()
    for number in range(5):
        path = tmp_path / str(number) / "student.aimodel"
        TARGET.convert(trunk, "fp32", path)
        with TARGET.load(path) as runner:
            alpha = runner.run(images)
        seen.add((alpha.tobytes(), *(file.read_bytes() for file in sorted(path.iterdir()))))
    assert len(seen) == 1
    assert verdict(trunk, "fp32", path, images, tmp_path).wrong == ()
    assert json.loads((path / "metadata.json").read_text())["producer"].startswith("coreai-core")
