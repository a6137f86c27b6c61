"""Each promise of the file has a planted fault that the check complains of by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgemat.export._target import Trunk
from edgemat.export.tflite import TARGET, _convert, _flatbuffer, _reading

Edit = Callable[[Path, Callable[[Any], None]], tuple[str, ...]]


@pytest.fixture(scope="session")
def half(trunk: Trunk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("half") / "student.tflite"
    TARGET.convert(trunk, "fp16", path)
    return path


@pytest.fixture
def edited(tmp_path: Path) -> Edit:
    """Return a function that checks a file after an edit of its object form."""

    def check(path: Path, edit: Callable[[Any], None]) -> tuple[str, ...]:
        model = _reading.read_model(path.read_bytes())
        edit(model)
        changed = tmp_path / "changed.tflite"
        changed.write_bytes(_flatbuffer.write(model))
        return TARGET.check(changed)

    return check


def test_reading_and_writing_changes_nothing(half: Path, edited: Edit) -> None:
    assert edited(half, lambda model: None) == ()


def test_a_second_signature(half: Path, edited: Edit) -> None:
    def edit(model: Any) -> None:
        signature = model.signatureDefs[0]
        twin = _flatbuffer.schema.SignatureDefT(
            inputs=signature.inputs, outputs=signature.outputs, signatureKey=b"other", subgraphIndex=0
        )
        model.signatureDefs.append(twin)

    assert edited(half, edit) == (
        "1 subgraphs, signatures ['serving_default', 'other']; expected one, serving_default",
    )


def test_another_input_name(half: Path, edited: Edit) -> None:
    def edit(model: Any) -> None:
        model.signatureDefs[0].inputs[0].name = b"input_1"

    assert edited(half, edit) == ("signature serving_default names ['input_1'], expected ['image']",)


def test_metadata_that_is_missing(half: Path, edited: Edit) -> None:
    def edit(model: Any) -> None:
        model.metadata = [entry for entry in model.metadata if entry.name == b"EDGEMAT_METADATA"]

    runtime, metadata = edited(half, edit)
    assert runtime == "metadata min_runtime_version is missing"
    assert "no TFLITE_METADATA" in metadata


def test_an_empty_field(half: Path, edited: Edit, trunk: Trunk) -> None:
    def edit(model: Any) -> None:
        entry = next(e for e in model.metadata if e.name == b"TFLITE_METADATA")
        data = bytes(model.buffers[entry.buffer].data)
        licence = len(b"Apache-2.0").to_bytes(4, "little") + b"Apache-2.0"
        model.buffers[entry.buffer].data = np.frombuffer(data.replace(licence, bytes(len(licence))), np.uint8)

    assert edited(half, edit) == ("metadata license is empty",)


def test_a_weight_of_the_wrong_type(half: Path, edited: Edit, trunk: Trunk) -> None:
    """One convolution reads float32 weights in a file that promises float16."""

    def edit(model: Any) -> None:
        graph = model.subgraphs[0]
        names = [tensor.name.decode() for tensor in graph.tensors]
        goal = next(i for i, name in enumerate(names) if name.endswith(".weight#fp32"))
        source = names.index(names[goal].replace("#fp32", "#fp16"))
        value = np.frombuffer(bytes(model.buffers[graph.tensors[source].buffer].data), np.float16).astype(np.float32)
        model.buffers.append(_flatbuffer.schema.BufferT(np.frombuffer(value.tobytes(), np.uint8)))
        graph.tensors[goal].buffer = len(model.buffers) - 1
        graph.operators = [op for op in graph.operators if goal not in op.outputs]

    (complaint,) = edited(half, edit)
    assert re.fullmatch(r"weight \S+\.weight#fp32 is FLOAT32, expected FLOAT16 at fp16", complaint)


def test_an_operator_that_xnnpack_does_not_take(make: Callable[..., Trunk]) -> None:
    """RESIZE_NEAREST_NEIGHBOR in the middle of a graph splits it in two."""
    weight = np.ones((3, 3, 1, 1), np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["before"], "before"),
        helper.make_node(
            "Resize",
            ["before", "", "s"],
            ["larger"],
            "larger",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Conv", ["larger", "v"], ["alpha"], "alpha"),
    ]
    constants = {"w": weight, "v": weight[:1], "s": np.array([1, 1, 2, 2], np.float32)}
    trunk = make(nodes, constants, (1, 3, 4, 6))
    path = trunk.path.with_suffix(".tflite")
    _convert.convert(trunk, "fp32", path)
    complaints = TARGET.check(path)
    assert "XNNPACK leaves 1 of 3 operators out: RESIZE_NEAREST_NEIGHBOR (writes larger)" in complaints
    assert "2 XNNPACK partitions, expected 1" in complaints


def test_an_operator_that_xnnpack_leaves_to_the_end(make: Callable[..., Trunk]) -> None:
    """One partition is not enough: it must reach from the image to alpha."""
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["before"], "before"),
        helper.make_node(
            "Resize",
            ["before", "", "s"],
            ["alpha"],
            "alpha",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
    ]
    constants = {"w": np.ones((1, 3, 1, 1), np.float32), "s": np.array([1, 1, 2, 2], np.float32)}
    trunk = make(nodes, constants, (1, 3, 4, 6))
    path = trunk.path.with_suffix(".tflite")
    _convert.convert(trunk, "fp32", path)
    (complaint,) = (c for c in TARGET.check(path) if "XNNPACK" in c)
    assert complaint == "XNNPACK leaves 1 of 2 operators out: RESIZE_NEAREST_NEIGHBOR (writes alpha)"
