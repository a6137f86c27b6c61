"""The trunk is what every target expects, and a bad one never gets through."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgemat.errors import InputError
from edgemat.export import _trunk
from edgemat.export._target import Trunk
from edgemat.export._trunk import TrunkError
from edgemat.model import weights as files
from edgemat.model.student import Student, StudentConfig

Images = npt.NDArray[np.uint8]


def test_names_are_the_modules(trunk: Trunk) -> None:
    model = onnx.load(trunk.path)
    names = [node.name for node in model.graph.node]
    assert names == sorted(set(names), key=names.index)
    assert {"downs.0", "laterals.0.resize", "head"} <= set(names)
    assert all(list(node.output) == [node.name] for node in model.graph.node[:-1])
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert all(node.input[1] == f"{node.name}.weight" for node in convolutions)


def test_normalisation_and_batch_norm_are_folded(trunk: Trunk) -> None:
    operators = {node.op_type for node in onnx.load(trunk.path).graph.node}
    assert not operators & {"BatchNormalization", "Sub", "Div", "Mul", "Constant", "CastLike", "Cast"}


def test_the_file_speaks_of_nothing_else(trunk: Trunk) -> None:
    content = trunk.path.read_bytes()
    assert b".py" not in content
    model = onnx.load(trunk.path)
    assert model.producer_name == "edgemat"
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)


def test_info_is_the_card(trunk: Trunk) -> None:
    assert (trunk.info.name, trunk.info.author, trunk.info.license) == ("student", "the tests", "Apache-2.0")
    assert len(trunk.info.extra["weights_sha256"]) == 64


def test_silent_and_reproducible(
    trunk: Trunk,
    weights: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    again = _trunk.from_student(weights, trunk.height, trunk.width, tmp_path / "again.onnx")
    assert again.path.read_bytes() == trunk.path.read_bytes()
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_other_architecture_and_a_rectangle(tmp_path: Path) -> None:
    torch.manual_seed(2)
    card = {"version": "0", "license": "x", "author": "x", "description": "x"}
    files.save(Student(StudentConfig("mobile", (8, 8, 16), (1, 1, 1))), tmp_path / "m.safetensors", card)
    trunk = _trunk.from_student(tmp_path / "m.safetensors", 32, 48, tmp_path / "m.onnx")
    assert (trunk.height, trunk.width) == (32, 48)
    assert "Clip" in {node.op_type for node in onnx.load(trunk.path).graph.node}


@pytest.mark.parametrize(("size", "near"), [((250, 256), "256x256"), ((64, 8), "64x16"), ((0, 64), "16x64")])
def test_sizes_that_do_not_fit(size: tuple[int, int], near: str, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"multiples of 16; try --size {near}"):
        _trunk.from_student(weights, *size, tmp_path / "a.onnx")


def test_a_difference_from_the_source_is_found(trunk: Trunk, weights: Path, images: Images) -> None:
    net = files.load(weights).net
    serialised = trunk.path.read_bytes()

    def torch_alpha(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            alpha: npt.NDArray[np.float32] = net(torch.from_numpy(image)).numpy()
        return alpha

    def wrong_on_image_2(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        same = np.array_equal(image[0], images[2].transpose(2, 0, 1) / np.float32(255))
        return torch_alpha(image) * np.float32(0.9 if same else 1.0)

    _trunk._parity(weights, serialised, torch_alpha, trunk, images)
    with pytest.raises(TrunkError, match="on calibration image 2 the trunk's alpha differs by 0"):
        _trunk._parity(weights, serialised, wrong_on_image_2, trunk, images)
    net.head.bias.data += 1e-3
    with pytest.raises(TrunkError, match=r"on random pixels the trunk's alpha differs by 0\.001"):
        _trunk._parity(weights, serialised, torch_alpha, trunk, None)


def opset(model: ModelProto) -> None:
    model.opset_import[0].version = 17


def second_output(model: ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("head", TensorProto.FLOAT, [1, 1, 1, 1]))


def input_name(model: ModelProto) -> None:
    model.graph.input[0].name = "x"


def half_output(model: ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def open_shape(model: ModelProto) -> None:
    model.graph.value_info[0].type.tensor_type.shape.dim[2].dim_param = "h"


def unknown_shape(model: ModelProto) -> None:
    del model.graph.value_info[0]


def nan(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    array = numpy_helper.to_array(tensor).copy()
    array.flat[3] = np.inf
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (opset, "opset 17, expected 18"),
        (second_output, "expected one float32 alpha (1, 1, 64, 64)"),
        (input_name, "expected one float32 image (1, 3, 64, 64)"),
        (half_output, "expected one float32 alpha (1, 1, 64, 64)"),
        (open_shape, "'h'"),
        (unknown_shape, "shape unknown, expected a fixed one"),
        (nan, "values NaN or infinite"),
    ],
)
def test_postconditions(change: Any, complaint: str, trunk: Trunk) -> None:
    model = onnx.load(trunk.path)
    assert _trunk._complaints(model, 64, 64) == []
    change(model)
    assert any(complaint in line for line in _trunk._complaints(model, 64, 64))
