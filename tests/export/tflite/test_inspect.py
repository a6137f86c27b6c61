"""What a file says that it computes in, for every precision, and with a node that the grid keeps in float."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat.errors import InputError
from edgemat.export._target import Trunk
from edgemat.export.tflite import TARGET
from edgemat.quantize.calibrate import calibrate
from edgemat.quantize.scheme import Scheme

Images = npt.NDArray[np.uint8]


@pytest.mark.parametrize(
    ("precision", "arithmetic", "kind", "activations"),
    [
        ("fp32", "float32", "float32", {"float32"}),
        ("fp16", "float32", "float16", {"float32"}),
        ("int8", "int8", "int8", {"int8"}),
        ("int8_float_io", "int8", "int8", {"int8", "float32"}),
    ],
)
def test_each_precision_is_what_it_says(
    int_trunk: Trunk, tmp_path: Path, precision: str, arithmetic: str, kind: str, activations: set[str]
) -> None:
    path = tmp_path / "student.tflite"
    TARGET.convert(int_trunk, precision, path)
    facts = TARGET.inspect(path)
    assert set(facts.arithmetic()) == {arithmetic, "moves"}
    assert set(facts.activations) == activations
    assert facts.is_integer is (arithmetic == "int8")
    assert facts.islands == ()
    stored = {t.name: t for t in onnx.load(int_trunk.path).graph.initializer if t.name.endswith(".weight")}
    size = sum(np.prod(tensor.dims) for tensor in stored.values())
    assert facts.weight_bytes()[kind] >= size * np.dtype(kind).itemsize
    assert all(op.weights[kind] for op in facts.ops if op.kind == "CONV_2D")
    if kind == "float16":
        assert any("widened" in note for note in facts.notes)


def test_a_kept_node_is_an_island(int_trunk: Trunk, images: Images, tmp_path: Path) -> None:
    model = onnx.load(int_trunk.path)
    conv = [node for node in model.graph.node if node.op_type == "Conv"][2]
    grid = calibrate(model, images, Scheme(), "minmax", frozenset({conv.name}))
    path = tmp_path / "student.tflite"
    TARGET.convert(dataclasses.replace(int_trunk, grid=grid), "int8", path)
    assert TARGET.check(path) == ()
    facts = TARGET.inspect(path)
    (island,) = facts.islands
    assert island.name.endswith("#float")
    assert set(island.weights) == {"float32"}


def test_only_integer_files_have_scales(int_trunk: Trunk, tmp_path: Path) -> None:
    assert TARGET.scales is not None
    assert int_trunk.grid is not None
    path = tmp_path / "student.tflite"
    TARGET.convert(int_trunk, "fp32", path)
    found = TARGET.scales(path)
    assert not found.activations
    assert not found.weights
    with TARGET.load(path) as runner:
        assert runner.codes(np.zeros((64, 64, 3), np.uint8)) == {}
    TARGET.convert(int_trunk, "int8", path)
    found = TARGET.scales(path)
    assert found.activations == {n: (p.scale, p.zero_point) for n, p in int_trunk.grid.activations.items()}
    assert {name: scales.tolist() for name, scales in found.weights.items()} == {
        name: scales.tolist() for name, scales in int_trunk.grid.weights.items()
    }


@pytest.mark.parametrize("content", [b"", b"\x1c\0\0\0TFL3" + bytes(range(256)) * 20])
def test_a_damaged_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.tflite"
    path.write_bytes(content)
    assert TARGET.scales is not None
    for read in (TARGET.inspect, TARGET.scales):
        with pytest.raises(InputError, match=r"damaged\.tflite"):
            read(path)
