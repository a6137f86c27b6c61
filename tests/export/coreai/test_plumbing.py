"""Target coreai without Core AI: what it writes down, what it refuses, what becomes of a process that goes wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from edgemat.errors import InputError
from edgemat.export import _isolated
from edgemat.export import onnx as plain
from edgemat.export._isolated import IsolatedRunner
from edgemat.export._target import Target, Trunk, Trunks
from edgemat.export.coreai import TARGET, _read, _write
from edgemat.export.onnx import OnnxRunner
from edgemat.quantize import qdq

from ..exporting import export_

Images = npt.NDArray[np.uint8]


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(_write, "CHILD", "coreai_child")


@pytest.fixture
def asset(trunk: Trunk, tmp_path: Path) -> Path:
    path = tmp_path / "student.aimodel"
    _write.convert(trunk, "fp32", path)
    return path


def operation(kind: str, tensor: str, reads: list[int], element: str = "float32", **constants: int) -> dict[str, Any]:
    return {"kind": kind, "tensor": tensor, "type": element, "reads": reads, "constants": constants}


def facts(operations: list[dict[str, Any]], scales: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return what the child reads from a program."""
    ends = {"inputs": {"image": ["float32", 1, 3, 64, 64]}, "outputs": {"alpha": ["float32", 1, 1, 64, 64]}}
    return {"functions": ["main"], **ends, "operations": operations, "scales": scales or []}


def step(kind: str, tensor: str, scales: list[float], stored: bool = False) -> dict[str, Any]:
    return {
        "kind": kind, "tensor": tensor, "stored": stored, "scales": scales, "zero_points": [3] * len(scales),
    }  # fmt: skip


FLOAT = [
    operation("conv2d", "a", [-1], float32=432, uint32=20),
    operation("broadcasting_add", "a", [0], float32=64),
    operation("output", "", [1], ""),
]
INTEGER = [
    operation("quantize", "image#codes", [-1], "uint8", float32=8, uint8=1),
    operation("dequantize", "image#real", [0], float32=8),
    operation("dequantize", "a.weight", [], int8=108, float32=32),
    operation("conv2d", "a#float", [1, 2], uint32=20),
    operation("broadcasting_add", "a#float", [3], float32=64),
    operation("relu", "a#float", [4]),
    operation("quantize", "a#codes", [5], "uint8", float32=8),
    operation("dequantize", "a", [6], float32=8),
    operation("output", "", [7], ""),
]
SCALES = [
    step("quantize", "image#codes", [1 / 255]),
    step("dequantize", "image#real", [1 / 255]),
    step("dequantize", "a.weight", [0.5, 0.25], stored=True),
    step("quantize", "a#codes", [0.125]),
    step("dequantize", "a", [0.125]),
]


@pytest.fixture
def holding(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def hold(*found: Any) -> None:
        monkeypatch.setattr(_read, "_facts", lambda path: facts(*found))

    return hold


def test_two_conversions_are_the_same_bytes(trunk: Trunk, asset: Path, tmp_path: Path) -> None:
    _write.convert(trunk, "fp32", tmp_path / "again" / "student.aimodel")
    for file in asset.iterdir():
        assert (tmp_path / "again" / "student.aimodel" / file.name).read_bytes() == file.read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"student.aimodel", "again"}
    stated = (asset / "metadata.json").read_text()
    assert "creationDate" not in stated
    assert json.loads(stated)["author"] == trunk.info.author


def test_integers_state_the_grid_and_float_biases(int_trunk: Trunk) -> None:
    assert int_trunk.grid is not None
    model, stated = _write._on_grid(int_trunk), qdq.insert(onnx.load(int_trunk.path), int_trunk.grid)
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.INT32 in {tensor.data_type for tensor in stated.graph.initializer}
    assert onnx.TensorProto.INT32 not in kinds
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in stated.graph.initializer}
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    biases = [n for n in stated.graph.node if n.op_type == "DequantizeLinear" and values[n.input[1]].ndim == 1]
    biases = [node for node in biases if values[node.input[0]].dtype == np.int32]
    assert len(biases) > 5
    for node in biases:
        np.testing.assert_array_equal(
            held[node.output[0]], values[node.input[0]].astype(np.float32) * values[node.input[1]]
        )


@pytest.mark.parametrize("damage", ["program", "hash", "metadata", "no program", "no folder"])
def test_an_asset_that_is_not_whole_is_refused(damage: str, asset: Path) -> None:
    program, digest, stated = (asset / name for name in ("main.mlirb", "main.hash", "metadata.json"))
    if damage == "program":
        program.write_bytes(program.read_bytes()[:-1])
    elif damage == "hash":
        digest.write_bytes(bytes(32))
    elif damage == "metadata":
        stated.write_text("[")
    elif damage == "no program":
        program.unlink()
    path = asset.with_name("other.aimodel") if damage == "no folder" else asset
    for function in (TARGET.load, TARGET.check, TARGET.inspect, TARGET.scales):
        with pytest.raises(InputError, match=path.name):
            function(path)


def test_a_float_asset_is_as_promised(asset: Path, holding: Any) -> None:
    holding(FLOAT)
    assert TARGET.check(asset) == ()
    found = TARGET.inspect(asset)
    assert [(op.kind, op.arithmetic, dict(op.weights)) for op in found.ops] == [
        ("conv2d", "float32", {"float32": 432}),
        ("broadcasting_add", "float32", {"float32": 64}),
    ]
    assert not found.is_integer
    assert TARGET.scales is not None
    assert TARGET.scales(asset).weights == {}


@pytest.mark.parametrize(
    ("operations", "complaint"),
    [
        ([operation("conv2d", "a", [-1], "float16", float16=216), FLOAT[2]], "convolutions read float16"),
        (INTEGER, "convolutions read no weights, 5 scales; expected float32, none"),
        ([operation("conv2d", "a", [-1], int8=108), FLOAT[2]], "convolutions read int8, 0 scales"),
    ],
)
def test_another_precision_is_a_complaint(operations: Any, complaint: str, asset: Path, holding: Any) -> None:
    holding(operations, SCALES if operations is INTEGER else [])
    (found,) = TARGET.check(asset)
    assert complaint in found


@pytest.mark.parametrize(
    ("side", "ends", "complaint"),
    [
        ("inputs", {"image": ["float32", 1, 3, 32, 64]}, "image is [32, 64], alpha [64, 64]"),
        ("inputs", {"pixels": ["float32", 1, 3, 64, 64]}, "expected one, image: float32, (1, 3, H, W)"),
        ("inputs", {"image": ["uint8", 1, 3, 64, 64]}, "expected one, image: float32"),
        ("outputs", {"alpha": ["float32", 1, 3, 64, 64]}, "expected one, alpha: float32, (1, 1, H, W)"),
        ("outputs", {}, "expected one, alpha"),
    ],
)
def test_another_interface_is_a_complaint(
    side: str, ends: Any, complaint: str, asset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_read, "_facts", lambda path: {**facts(FLOAT), side: ends})
    assert any(complaint in line for line in TARGET.check(asset))


def test_missing_metadata_is_a_complaint(asset: Path, holding: Any) -> None:
    holding(FLOAT)
    place = asset / "metadata.json"
    stated = json.loads(place.read_text())
    for name, emptied in (("license", {**stated, "license": ""}), (plain.PRECISION, {**stated})):
        if name == plain.PRECISION:
            emptied["creatorDefinedMetadata"] = {**stated["creatorDefinedMetadata"], name: "fp8"}
        place.write_text(json.dumps(emptied))
        assert any(name in line for line in TARGET.check(asset))


def test_an_integer_asset_is_as_promised(int_trunk: Trunk, tmp_path: Path, holding: Any) -> None:
    path = tmp_path / "student.aimodel"
    _write.convert(int_trunk, "int8", path)
    holding(INTEGER, SCALES)
    assert TARGET.check(path) == ()
    found = TARGET.inspect(path)
    assert [(op.kind, op.arithmetic) for op in found.ops] == [
        ("conv2d", "int8"), ("broadcasting_add", "int8"), ("relu", "moves"),
    ]  # fmt: skip
    assert found.ops[0].weights == {"int8": 108, "float32": 32}
    assert found.is_integer
    assert dict(found.activations) == {"int8": 2}
    assert TARGET.scales is not None
    stated = TARGET.scales(path)
    assert stated.activations == {"image": (1 / 255, 3), "a": (0.125, 3)}
    np.testing.assert_array_equal(stated.weights["a.weight"], np.array([0.5, 0.25], np.float32))


def test_an_operator_outside_the_grid_is_a_complaint(int_trunk: Trunk, tmp_path: Path, holding: Any) -> None:
    path = tmp_path / "student.aimodel"
    _write.convert(int_trunk, "int8", path)
    outside = [*INTEGER[:8], operation("conv2d", "b", [7], float32=64), operation("output", "", [8], "")]
    holding(outside, SCALES)
    assert TARGET.check(path) == ("b: this conv2d is computed in float32, not between codes",)
    assert [op.name for op in TARGET.inspect(path).islands] == ["b"]
    holding(INTEGER, [entry for entry in SCALES if not entry["stored"]])
    assert TARGET.check(path) == ("no weight is stored as int8",)
    holding(INTEGER, [step("quantize", "a#codes", [0.1, 0.2])])
    with pytest.raises(InputError, match="a#codes: 2 scales, expected one"):
        _read.scales(path)


def stood_in(model: str, monkeypatch: pytest.MonkeyPatch, timeout: float = 60.0) -> Target:
    """Return the target whose runner is a stand-in."""
    monkeypatch.setattr(_read, "_facts", lambda path: facts(FLOAT))

    def load(path: Path) -> Any:
        return IsolatedRunner(f"coreai_child:{model}", path, rounding="coreai", timeout=timeout)

    return dataclasses.replace(TARGET, load=load, requires=(), platforms=())


@pytest.mark.parametrize(
    ("model", "state", "said"),
    [
        ("Model", "passed", ""),
        ("Off", "gate", "alpha differs by max 0.0001"),
        ("Narrow", "gate", "(4, 64, 63), expected float32 (4, 64, 64)"),
        ("Nan", "gate", "NaN or infinite"),
        ("Crashing", "error", "crashed with SIGSEGV"),
        ("Hanging", "error", "gave no answer within 5 s"),
    ],
)
def test_a_process_that_goes_wrong_is_no_pass(
    model: str, state: str, said: str, trunks: Trunks, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = export_(
        trunks, [stood_in(model, monkeypatch, 5.0 if model == "Hanging" else 60.0)], "fp32", tmp_path, images
    )
    (result,) = report.results
    assert result.state == state, result.message
    assert said in result.message
    assert (tmp_path / f"{trunks.any().info.name}-fp32.aimodel").exists() == (state == "passed")


def test_a_crash_while_converting_leaves_nothing(trunk: Trunk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_write, "CHILD", "no_such_child")
    with pytest.raises(_isolated.IsolatedError, match="no_such_child"):
        _write.convert(trunk, "fp32", tmp_path / "student.aimodel")
    assert list(tmp_path.iterdir()) == []


def test_what_stands_in_is_the_graph_that_core_ai_would_get(asset: Path, trunk: Trunk, images: Images) -> None:
    (asset.parent / "program.onnx").write_bytes((asset / "main.mlirb").read_bytes())
    with OnnxRunner(asset.parent / "program.onnx") as found, OnnxRunner(trunk.path) as expected:
        np.testing.assert_array_equal(found.run(images), expected.run(images))
    assert (asset / "main.hash").read_bytes() == hashlib.sha256((asset / "main.mlirb").read_bytes()).digest()
