"""Another team's ONNX file becomes a trunk, or is refused with the reason and the way out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export import _trunk
from edgemat.export._target import Trunk
from edgemat.export.onnx import OnnxRunner

Change = Callable[[ModelProto], None]


def network(opset: int = 18, size: tuple[int | str, int | str] = (32, 48), batch: int | str = 1) -> ModelProto:
    """Return a small matting network as another exporter would write it: own names, a Constant, a sigmoid."""
    rng = np.random.default_rng(3)
    first = rng.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32)
    last = rng.normal(0, 0.3, (1, 4, 1, 1)).astype(np.float32)
    half = numpy_helper.from_array(np.array([0.5], np.float32))
    nodes = [
        helper.make_node("Constant", [], ["half"], value=half),
        helper.make_node("Sub", ["input.1", "half"], ["alpha"]),
        helper.make_node("Conv", ["alpha", "w1"], ["c1"], "/conv/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "/head/Conv"),
        helper.make_node("Sigmoid", ["c2"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [batch, 3, *size])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, 1, *size])],
        [numpy_helper.from_array(first, "w1"), numpy_helper.from_array(last, "w2")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def written(tmp_path: Path, model: ModelProto) -> Path:
    path = tmp_path / "their net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("opset", [13, 16, 18, 20])
def test_accepted(opset: int, tmp_path: Path) -> None:
    path = written(tmp_path, network(opset))
    trunk = _trunk.from_onnx(path, tmp_path / "trunk.onnx")
    assert (trunk.height, trunk.width, trunk.info.name) == (32, 48, "their_net")
    assert trunk.info.license == "not stated"
    model = onnx.load(trunk.path)
    assert model.opset_import[0].version == 18
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["image", "alpha"]
    assert "/conv/Conv" in {node.name for node in model.graph.node}
    assert all(node.name for node in model.graph.node)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)
    with OnnxRunner(trunk.path) as runner:
        found = runner.run(images)
    theirs = ReferenceEvaluator(str(path))
    for image, alpha in zip(images, found, strict=True):
        (expected,) = theirs.run(None, {"input.1": image.transpose(2, 0, 1)[None].astype(np.float32) / 255})
        np.testing.assert_allclose(alpha, expected[0, 0], atol=1e-5)


def test_a_trunk_is_a_fixed_point(trunk: Trunk, tmp_path: Path, images: npt.NDArray[np.uint8]) -> None:
    again = _trunk.from_onnx(trunk.path, tmp_path / "again.onnx")
    assert [n.name for n in onnx.load(again.path).graph.node] == [n.name for n in onnx.load(trunk.path).graph.node]
    with OnnxRunner(trunk.path) as one, OnnxRunner(again.path) as two:
        np.testing.assert_allclose(one.run(images), two.run(images), atol=1e-6)


@pytest.mark.parametrize("end", [0, 1, 40, 400, -1, -300])
def test_truncated(end: int, tmp_path: Path) -> None:
    path = written(tmp_path, network())
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(InputError, match=r"their net\.onnx: not a whole ONNX model \(\d+ bytes"):
        _trunk.from_onnx(path, tmp_path / "trunk.onnx")
    assert not (tmp_path / "trunk.onnx").exists()


def test_not_onnx(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text("PNG or whatever")
    with pytest.raises(InputError, match="not a whole ONNX model"):
        _trunk.from_onnx(tmp_path / "a.onnx", tmp_path / "trunk.onnx")
    with pytest.raises(InputError, match="no such file"):
        _trunk.from_onnx(tmp_path / "b.onnx", tmp_path / "trunk.onnx")


@pytest.mark.parametrize(
    ("batch", "size", "advice"),
    [(1, ("h", "w"), "HxW, such as"), ("n", ("h", "w"), "HxW, such as"), ("n", (32, 48), "32x48")],
)
def test_open_shapes(batch: int | str, size: tuple[int | str, int | str], advice: str, tmp_path: Path) -> None:
    path = written(tmp_path, network(batch=batch, size=size))
    with pytest.raises(InputError, match=rf"input input\.1 has open shape \(.*3.*--size {advice}"):
        _trunk.from_onnx(path, tmp_path / "trunk.onnx")
    trunk = _trunk.from_onnx(path, tmp_path / "trunk.onnx", (32, 48))
    assert (trunk.height, trunk.width) == (32, 48)


def test_size_contradicts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is fixed at 32x48; drop --size"):
        _trunk.from_onnx(written(tmp_path, network()), tmp_path / "trunk.onnx", (64, 64))
    with pytest.raises(InputError, match=r"which --size 64x64 contradicts"):
        _trunk.from_onnx(written(tmp_path, network(size=("h", 48))), tmp_path / "trunk.onnx", (64, 64))


def external(path: Path, location: str) -> None:
    model = onnx.load(path)
    onnx.external_data_helper.convert_model_to_external_data(model, location="w.bin", size_threshold=0)
    onnx.save(model, path)
    stored = onnx.load(path, load_external_data=False)
    for tensor in stored.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(stored.SerializeToString())


def test_external_data_beside_the_file_is_inlined(tmp_path: Path) -> None:
    path = written(tmp_path, network())
    external(path, "w.bin")
    trunk = _trunk.from_onnx(path, tmp_path / "out" / "trunk.onnx")
    os.remove(tmp_path / "w.bin")
    with OnnxRunner(trunk.path) as runner:
        assert runner.run(np.zeros((1, 32, 48, 3), np.uint8)).shape == (1, 32, 48)


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "sub/../../w.bin", "link.bin"])
def test_external_data_elsewhere_is_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(10_000))
    (tmp_path / "in" / "link.bin").symlink_to(tmp_path / "w.bin")
    path = written(tmp_path / "in", network())
    external(path, location)
    with pytest.raises(InputError, match=r"tensor w1 keeps its data in .*outside the model's folder"):
        _trunk.from_onnx(path, tmp_path / "trunk.onnx")


def test_external_data_missing(tmp_path: Path) -> None:
    path = written(tmp_path, network())
    external(path, "w.bin")
    (tmp_path / "w.bin").write_bytes(b"short")
    with pytest.raises(InputError, match="external data cannot be read"):
        _trunk.from_onnx(path, tmp_path / "trunk.onnx")
    os.remove(tmp_path / "w.bin")
    with pytest.raises(InputError, match="which is not there"):
        _trunk.from_onnx(path, tmp_path / "trunk.onnx")


def nan(model: ModelProto) -> None:
    array = numpy_helper.to_array(model.graph.initializer[1]).copy()
    array[0, 2] = np.nan
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(array, "w2"))


def gray(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1


def two_inputs(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("trimap", TensorProto.FLOAT, [1, 1, 32, 48]))


def two_outputs(model: ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("r1", TensorProto.FLOAT, [1, 4, 32, 48]))


def small_output(model: ModelProto) -> None:
    model.graph.node[4].attribute.append(helper.make_attribute("strides", [2, 2]))
    del model.graph.output[0].type.tensor_type.shape.dim[:]


def half(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def logits(model: ModelProto) -> None:
    model.graph.node[5].op_type = "Identity"


def batch(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (nan, r"w2: 1 of 4 values NaN or infinite"),
        (gray, r"inputs: input\.1 FLOAT \(1, 1, 32, 48\); expected one RGB image"),
        (two_inputs, r"inputs: input\.1 FLOAT .*trimap FLOAT"),
        (two_outputs, r"outputs: out FLOAT .*r1 FLOAT"),
        (small_output, r"output has shape \(1, 1, 16, 24\), expected a matte as large as the image, \(1, 1, 32, 48\)"),
        (half, r"inputs: input\.1 FLOAT16"),
        (logits, r"alpha is in \[.*expected \[0, 1\]; end the network in a clamp or sigmoid"),
        (batch, r"a batch of 4"),
    ],
)
def test_refused(change: Change, reason: str, tmp_path: Path) -> None:
    model = network()
    change(model)
    path = written(tmp_path, model)
    with pytest.raises(InputError, match=reason) as caught:
        _trunk.from_onnx(path, tmp_path / "trunk.onnx")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "trunk.onnx").exists()


def test_unknown_operators_are_listed_at_once(tmp_path: Path) -> None:
    model = network()
    model.graph.node[3].op_type = "Gelurelu"
    model.graph.node[5].domain = "com.acme"
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    with pytest.raises(UnsupportedOpError) as caught:
        _trunk.from_onnx(written(tmp_path, model), tmp_path / "trunk.onnx")
    assert "2 operators outside the ONNX standard" in str(caught.value)
    assert "node r1: Gelurelu" in str(caught.value)
    assert "node out: com.acme::Sigmoid" in str(caught.value)


def test_an_opset_that_cannot_be_converted(tmp_path: Path) -> None:
    model = network(opset=13)
    model.graph.node[3].op_type = "Upsample"  # removed from the standard at opset 10
    with pytest.raises(InputError, match=r"Upsample|opset"):
        _trunk.from_onnx(written(tmp_path, model), tmp_path / "trunk.onnx")


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    model = network()
    body = [helper.make_node("Relu", ["x"], ["y"])]
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("local", "Activation", ["x"], ["y"], body, opsets))
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.graph.node[3].op_type, model.graph.node[3].domain = "Activation", "local"
    trunk = _trunk.from_onnx(written(tmp_path, model), tmp_path / "trunk.onnx")
    assert "Relu" in {node.op_type for node in onnx.load(trunk.path).graph.node}
