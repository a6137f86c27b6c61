"""The onnx target: float32 is the trunk, float16 and int8 are really so, in the file and in what executes it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto

from edgemat.errors import InputError
from edgemat.export._target import Trunk
from edgemat.export.onnx import TARGET, OnnxRunner
from edgemat.quantize.extract import extract

from .faults import inner_conv, scale

Images = npt.NDArray[np.uint8]


@pytest.fixture(params=["fp32", "fp16"])
def artefact(request: pytest.FixtureRequest, trunk: Trunk, tmp_path: Path) -> Path:
    path = tmp_path / f"student-{request.param}.onnx"
    TARGET.convert(trunk, request.param, path)
    return path


def rescaled(trunk: Trunk, factor: float, path: Path) -> tuple[Trunk, str]:
    """Return a trunk with one convolution's weights multiplied, and that convolution's name."""
    model = onnx.load(trunk.path)
    conv = inner_conv(model)
    scale(model, conv.input[1], factor)
    onnx.save(model, path)
    return Trunk(path, trunk.height, trunk.width, trunk.info), conv.name


def test_check_is_content(artefact: Path) -> None:
    assert TARGET.check(artefact) == ()


def test_every_tensor_is_traced(artefact: Path, trunk: Trunk, images: Images) -> None:
    with OnnxRunner(trunk.path) as reference, TARGET.load(artefact) as runner:
        expected, found = reference.trace(images[0]), runner.trace(images[0])
    assert set(expected) <= set(found)
    for name, tensor in expected.items():
        assert found[name].shape == tensor.shape
        np.testing.assert_allclose(found[name], tensor, atol=1e-2 * np.abs(tensor).max())
    np.testing.assert_allclose(expected["alpha"][0, 0], reference.run(images[:1])[0], atol=1e-6)


def test_half_is_half(trunk: Trunk, tmp_path: Path) -> None:
    TARGET.convert(trunk, "fp16", tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    scales = {name for name in types if name.endswith(".scales")}
    assert scales
    assert {types[name] for name in scales} == {TensorProto.FLOAT}
    assert {kind for name, kind in types.items() if name not in scales} == {TensorProto.FLOAT16}
    assert (tmp_path / "a.onnx").stat().st_size < 0.7 * trunk.path.stat().st_size


def test_half_rounds_between_operators(trunk: Trunk, tmp_path: Path, images: Images) -> None:
    TARGET.convert(trunk, "fp16", tmp_path / "a.onnx")
    with TARGET.load(tmp_path / "a.onnx") as runner:
        tensors = runner.trace(images[0])
    assert all(np.array_equal(t, t.astype(np.float16).astype(np.float32)) for t in tensors.values())


def test_half_overflow_is_seen(trunk: Trunk, tmp_path: Path, images: Images) -> None:
    large, conv = rescaled(trunk, 5e4, tmp_path / "large.onnx")
    TARGET.convert(large, "fp16", tmp_path / "a.onnx")
    with TARGET.load(tmp_path / "a.onnx") as runner:
        assert not np.isfinite(runner.trace(images[0])[conv]).all()


@pytest.mark.parametrize(("factor", "reason"), [(1e8, "65504"), (1e-6, "loses bits")])
def test_weights_beyond_half(trunk: Trunk, tmp_path: Path, factor: float, reason: str) -> None:
    bad, conv = rescaled(trunk, factor, tmp_path / "bad.onnx")
    with pytest.raises(InputError, match=rf"{re.escape(conv)}\.weight: peak .*{reason}"):
        TARGET.convert(bad, "fp16", tmp_path / "a.onnx")


def test_check_complains(artefact: Path, tmp_path: Path) -> None:
    model = onnx.load(artefact)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "head.weight")
    precision = next(entry for entry in model.metadata_props if entry.key == "edgemat.precision")
    precision.value = "fp32" if precision.value == "fp16" else "fp16"
    author = next(entry for entry in model.metadata_props if entry.key == "author")
    author.value = ""
    model.opset_import[0].version = 19
    onnx.save(model, tmp_path / "bad.onnx")
    complaints = "\n".join(TARGET.check(tmp_path / "bad.onnx"))
    assert f"{weight.name}: not {precision.value}" in complaints
    assert "author is missing" in complaints
    assert "opset 19, expected 18" in complaints


def test_check_reads_the_interface(artefact: Path, tmp_path: Path) -> None:
    model = onnx.load(artefact)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, tmp_path / "bad.onnx")
    complaints = TARGET.check(tmp_path / "bad.onnx")
    assert any("expected one FLOAT tensor named alpha" in line for line in complaints)


def test_threads_change_nothing(trunk: Trunk, images: Images) -> None:
    with OnnxRunner(trunk.path) as one, OnnxRunner(trunk.path, threads=2) as two:
        np.testing.assert_allclose(one.run(images), two.run(images), atol=1e-6)


def kept(int_trunk: Trunk, *names: str) -> Trunk:
    assert int_trunk.grid is not None
    weights = {w: scales for w, scales in int_trunk.grid.weights.items() if w.removesuffix(".weight") not in names}
    grid = dataclasses.replace(int_trunk.grid, weights=weights, kept=frozenset(names))
    return dataclasses.replace(int_trunk, grid=grid)


@pytest.mark.parametrize("precision", ["int8", "int8_byte_io"])
def test_a_kept_node_computes_in_float(int_trunk: Trunk, precision: str, tmp_path: Path) -> None:
    trunk = kept(int_trunk, "downs.0", "laterals.0.add")
    TARGET.convert(trunk, precision, tmp_path / "kept.onnx")
    assert TARGET.check(tmp_path / "kept.onnx") == ()
    found = TARGET.inspect(tmp_path / "kept.onnx")
    assert {op.name for op in found.islands} == {"downs.0", "laterals.0.add"}
    assert found.activations["float32"] == 2


def test_a_kept_node_that_the_runtime_quantizes_is_found(int_trunk: Trunk, tmp_path: Path) -> None:
    trunk = kept(int_trunk, "downs.1", "laterals.0.add")
    TARGET.convert(trunk, "int8", tmp_path / "kept.onnx")
    model = onnx.load(tmp_path / "kept.onnx")
    idle = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Clip" and len(n.input) == 1}
    assert idle
    for node in list(model.graph.node):
        if node.output[0] in idle:
            model.graph.node.remove(node)
        node.input[:] = [idle.get(name, name) for name in node.input]
    onnx.save(model, tmp_path / "bad.onnx")
    complaints = TARGET.check(tmp_path / "bad.onnx")
    assert any(line.startswith("laterals.0.add: kept in float, but ONNX Runtime") for line in complaints)


def test_what_holds_a_kept_node_is_not_read_as_an_operator(int_trunk: Trunk, tmp_path: Path) -> None:
    trunk = kept(int_trunk, "downs.1")
    TARGET.convert(trunk, "int8", tmp_path / "kept.onnx")
    found = extract(onnx.load(tmp_path / "kept.onnx"))
    assert found.kept == {"downs.1"}
    assert trunk.grid is not None
    assert set(found.activations) == set(trunk.grid.activations)


def test_bytes_in_and_out(int_trunk: Trunk, images: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    for precision in ("int8", "int8_byte_io"):
        TARGET.convert(int_trunk, precision, tmp_path / f"{precision}.onnx")
    model = onnx.load(tmp_path / "int8_byte_io.onnx")
    ends = [v.type.tensor_type.elem_type for v in (model.graph.input[0], model.graph.output[0])]
    assert ends == [onnx.TensorProto.UINT8] * 2
    with TARGET.load(tmp_path / "int8.onnx") as floats, TARGET.load(tmp_path / "int8_byte_io.onnx") as bytes_:
        np.testing.assert_allclose(bytes_.run(images), floats.run(images), atol=1e-7)
