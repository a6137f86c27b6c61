"""Every integer operator: the package's codes are the reference's, on the grid's scales; what cannot be is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export._target import IntegerGate, Trunk, Trunks
from edgemat.export.coreml import TARGET, _codes, _package
from edgemat.quantize import graph as graphs
from edgemat.quantize import rules
from edgemat.quantize.grid import QParams, weight_codes
from edgemat.quantize.reference import Reference

Build = Callable[..., Trunk]
F = np.float32
IMAGE = np.random.default_rng(6).integers(0, 256, (16, 16, 3)).astype(np.uint8)


def random(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(","), [output], name=f"the {output}", **attributes)


WIDE = node("Conv", "image,mix,shift", "wide")
OTHER = node("Conv", "image,mix2", "other")
RELU = node("Relu", "joined", "it")
C: dict[str, Any] = {"mix": random(8, 3, 1, 1), "shift": random(8), "mix2": -random(8, 3, 1, 1)}
HALF = {"coordinate_transformation_mode": "half_pixel"}
CASES: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    "conv": (
        [node("Conv", "wide,w,b", "it", pads=[1, 1, 1, 1], strides=[2, 2])],
        {"w": random(4, 8, 3, 3), "b": random(4)},
    ),
    "depthwise": ([node("Conv", "wide,w,b", "it", group=8)], {"w": random(8, 1, 3, 3), "b": random(8)}),
    "shared bias": (
        [node("Conv", "wide,w,shift", "next"), node("Conv", "next,w,shift", "it")],
        {"w": random(8, 8, 1, 1)},
    ),
    "transposed": (
        [node("ConvTranspose", "wide,w,b", "joined", strides=[2, 2], pads=[1, 1, 1, 1]), RELU],
        {"w": random(8, 4, 4, 4), "b": random(4)},
    ),
    "relu6": (
        [node("Conv", "wide,w", "six"), node("Clip", "six,lo,hi", "it")],
        {"w": random(4, 8, 1, 1), "lo": F(0), "hi": F(6)},
    ),
    "add": ([OTHER, node("Add", "wide,other", "joined"), RELU], {}),
    "sub": ([OTHER, node("Sub", "wide,other", "it")], {}),
    "mul": ([OTHER, node("Mul", "wide,other", "it")], {}),
    "concat": ([OTHER, node("Concat", "wide,other,image", "it", axis=1)], {}),
    "relu apart": ([node("Relu", "wide", "a"), node("Add", "a,wide", "it")], {}),
    "clip apart": (
        [node("Clip", "wide,lo,hi", "a"), node("Add", "a,wide", "it")],
        {"lo": F(-0.5), "hi": F(0.4)},
    ),
    "sigmoid": ([node("Sigmoid", "wide", "it")], {}),
    "linear": ([node("Resize", "wide,,s", "it", mode="linear", **HALF)], {"s": np.array([1, 1, 2, 4], F)}),
    "linear sizes": ([node("Resize", "wide,,,s", "it", mode="linear", **HALF)], {"s": np.array([1, 8, 23, 11])}),
    "nearest": (
        [
            node(
                "Resize",
                "wide,,s",
                "it",
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        ],
        {"s": np.array([1, 1, 2, 3], F)},
    ),
    "shuffle": ([node("DepthToSpace", "wide", "it", blocksize=2, mode="CRD")], {}),
    "depth to space": ([node("DepthToSpace", "wide", "it", blocksize=2)], {}),
    "space to depth": ([node("SpaceToDepth", "wide", "it", blocksize=2)], {}),
    "max pool": ([node("MaxPool", "wide", "it", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {}),
    "average pool": ([node("AveragePool", "wide", "it", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], {}),
    "global pool": ([node("GlobalAveragePool", "wide", "it")], {}),
    "pad": ([node("Pad", "wide,p", "it")], {"p": np.array([0, 0, 1, 2, 0, 0, 3, 4])}),
    "without effect": ([node("Identity", "wide", "a"), node("Identity", "a", "b"), node("Relu", "b", "it")], {}),
}


def made(
    build: Build, nodes: list[onnx.NodeProto], constants: dict[str, Any], kept: frozenset[str] = frozenset()
) -> Trunk:
    """Return a trunk of a convolution to ``wide``, the nodes from it to ``it``, and one to a single channel."""
    nodes = [WIDE, *nodes, node("Conv", "it,last", "alpha")]
    known = C | constants
    weights = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in known.items()]
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, (1, 3, 16, 16))
    graph = helper.make_graph(nodes[:-1], "net", [image], [helper.make_empty_tensor_value_info("it")], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    shapes = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output[0].type.tensor_type.shape
    known["last"] = random(1, shapes.dim[1].dim_value, 1, 1)
    read = {name for one in nodes for name in one.input}
    return build(nodes, {name: value for name, value in known.items() if name in read}, kept)


def compare(trunk: Trunk, package: Path, image: npt.NDArray[np.uint8] = IMAGE) -> dict[str, tuple[int, float]]:
    """Return for each tensor the largest difference from what the reference makes of the same codes, and its share."""
    assert trunk.grid is not None
    reference = Reference(graphs.of(onnx.load(trunk.path)), trunk.grid, "float16")
    with TARGET.load(package) as runner:
        assert runner.rounding == "float16"
        codes = runner.codes(image)
    assert set(codes) == set(rules.tensors(reference.graph))
    found = {}
    for unit in reference.units:
        difference = np.abs(reference.step(unit, codes) - codes[unit.output])
        found[unit.output] = int(difference.max()), float((difference > 0).mean())
    return found


@pytest.mark.parametrize("case", CASES)
def test_codes_are_the_references(case: str, calibrated: Build, tmp_path: Path) -> None:
    trunk = made(calibrated, *CASES[case])
    TARGET.convert(trunk, "w8a8", tmp_path / "net.mlpackage")
    assert not [line for line in TARGET.check(tmp_path / "net.mlpackage") if "output [" not in line]  # its size
    assert TARGET.inspect(tmp_path / "net.mlpackage").is_integer
    for tensor, (largest, share) in compare(trunk, tmp_path / "net.mlpackage").items():
        assert largest <= 1, tensor
        # the reference rounds sums alone, or samples in float32
        assert share <= (0.02 if case in ("global pool", "linear sizes") else 0.0), tensor


def test_scales_are_the_grids_in_float16(calibrated: Build, tmp_path: Path) -> None:
    trunk = made(calibrated, *CASES["add"])
    assert trunk.grid is not None
    TARGET.convert(trunk, "w8a8", tmp_path / "net.mlpackage")
    found = TARGET.scales(tmp_path / "net.mlpackage") if TARGET.scales else None
    assert found is not None
    assert found.activations == {
        name: (float(np.float16(params.scale)), params.zero_point) for name, params in trunk.grid.activations.items()
    }
    assert set(found.weights) == set(trunk.grid.weights)
    for name, scales in trunk.grid.weights.items():
        np.testing.assert_array_equal(found.weights[name], scales.astype(np.float16))


@pytest.mark.parametrize("precision", ["w8", "w8a8"])
def test_weights_are_the_grids_codes(precision: str, packages: dict[str, Path], int_trunk: Trunk) -> None:
    assert int_trunk.grid is not None
    package = _package.read(packages[precision])
    graph, seen = graphs.of(onnx.load(int_trunk.path)), set()
    axes = {unit.weight: rules.WEIGHTED[unit.node.op] for unit in rules.units(graph) if unit.weight}
    for op in package.operations:
        if op.kind == _codes.CONSTANT:
            name = _codes.trunk_name(package, op.output.name)
            scales = int_trunk.grid.weights[name]
            expected = weight_codes(graph.constants[name], scales, axes[name], int_trunk.grid.scheme)
            np.testing.assert_array_equal(np.asarray(op.inputs["quantized_data"][0]), expected)
            seen.add(name)
    assert seen == set(int_trunk.grid.weights)


def test_zero_point_of_the_middle(calibrated: Build, tmp_path: Path) -> None:
    """Coremltools turns uint8 with zero point 128 into int8 with none; codes and zero point come back as the grid's."""
    trunk = made(calibrated, *CASES["sub"])
    assert trunk.grid is not None
    moved = {"wide": QParams(0.03, 128), "it": QParams(0.06, 128)}
    trunk = dataclasses.replace(
        trunk, grid=dataclasses.replace(trunk.grid, activations={**trunk.grid.activations, **moved})
    )
    TARGET.convert(trunk, "w8a8", tmp_path / "net.mlpackage")
    kinds = {step.kind for step in _codes.quantized(_package.read(tmp_path / "net.mlpackage")).values()}
    assert kinds == {"int8", "uint8"}
    assert set(compare(trunk, tmp_path / "net.mlpackage").values()) == {(0, 0.0)}
    assert _codes.scales(tmp_path / "net.mlpackage").activations["wide"][1] == 128


def test_whole_student(int_trunk: Trunk, packages: dict[str, Path], images: npt.NDArray[np.uint8]) -> None:
    gate = TARGET.gates["w8a8"]
    assert isinstance(gate, IntegerGate)
    assert int_trunk.grid is not None
    assert set(compare(int_trunk, packages["w8a8"], images[0]).values()) == {(0, 0.0)}
    reference = Reference(graphs.of(onnx.load(int_trunk.path)), int_trunk.grid, "float16")
    with TARGET.load(packages["w8a8"]) as runner:
        assert np.abs(runner.run(images) - reference.run(images)).max() < 1e-3


def test_a_node_that_a_budget_keeps_computes_in_float(calibrated: Build, tmp_path: Path) -> None:
    trunk = made(
        calibrated, [node("Conv", "wide,w", "joined"), RELU], {"w": random(4, 8, 1, 1)}, frozenset({"the joined"})
    )
    TARGET.convert(trunk, "w8a8", tmp_path / "net.mlpackage")
    assert TARGET.check(tmp_path / "net.mlpackage") == ()
    assert "kept in float: the joined" in TARGET.inspect(tmp_path / "net.mlpackage").notes
    assert max(largest for largest, _ in compare(trunk, tmp_path / "net.mlpackage").values()) <= 1
    assert "w" not in _codes.scales(tmp_path / "net.mlpackage").weights


def test_what_cannot_be_quantized_is_refused_by_name(calibrated: Build, tmp_path: Path) -> None:
    trunk = made(calibrated, *CASES["sub"])
    model = onnx.load(trunk.path)
    model.graph.node[-2].op_type = "Div"
    onnx.save(model, trunk.path)
    with pytest.raises(UnsupportedOpError, match=r"the it \(Div\)"):
        TARGET.convert(trunk, "w8a8", tmp_path / "net.mlpackage")
    assert not (tmp_path / "net.mlpackage").exists()


def test_a_grid_that_breaks_a_rule_is_refused(calibrated: Build, tmp_path: Path) -> None:
    trunk = made(calibrated, *CASES["sub"])
    assert trunk.grid is not None
    grid = dataclasses.replace(trunk.grid, activations={"image": trunk.grid.activations["image"]})
    with pytest.raises(InputError, match="wide: no scale"):
        TARGET.convert(dataclasses.replace(trunk, grid=grid), "w8a8", tmp_path / "net.mlpackage")


@pytest.mark.parametrize("precision", ["w8", "w8a8"])
def test_a_scale_that_float16_would_flush_is_refused(precision: str, calibrated: Build, tmp_path: Path) -> None:
    trunk = made(calibrated, *CASES["sub"])
    assert trunk.grid is not None
    scales = trunk.grid.weights["mix"].copy()
    scales[2] = 1e-6
    grid = dataclasses.replace(trunk.grid, weights={**trunk.grid.weights, "mix": scales})
    with pytest.raises(InputError, match=r"(?s)net\.onnx: float16 holds scales.*--precision fp16.*mix: 1 of 8 scales"):
        TARGET.convert(dataclasses.replace(trunk, grid=grid), precision, tmp_path / "net.mlpackage")


def test_sizes_are_a_quarter(trunks: Trunks, packages: dict[str, Path]) -> None:
    """The small student's weights alone: its graph is as large as a big one's."""
    size = {
        precision: (path / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size
        for precision, path in packages.items()
    }
    assert size["w8"] <= 0.30 * size["fp32"]
    assert size["w8a8"] <= 0.30 * size["fp32"]
