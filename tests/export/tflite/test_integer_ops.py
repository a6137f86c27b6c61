"""Each operator on an integer grid: what XNNPACK and TFLite's own kernels make of it, against the reference."""

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
from edgemat.export._compare import scale_differences
from edgemat.export._target import Trunk
from edgemat.export.tflite import TARGET, _convert, _runner
from edgemat.quantize import graph, rules
from edgemat.quantize.calibrate import calibrate
from edgemat.quantize.grid import QParams
from edgemat.quantize.reference import Reference
from edgemat.quantize.scheme import Scheme
from edgemat.verify import layers

Make = Callable[..., Trunk]
Images = npt.NDArray[np.uint8]
RNG = np.random.default_rng(5)
SIZE = (8, 12)


def normal(*shape: int) -> npt.NDArray[np.float32]:
    return RNG.normal(0, 0.3, shape).astype(np.float32)


def node(op: str, inputs: str, output: str = "alpha", **attributes: Any) -> Any:
    """Return a node; inputs are names with blanks between, ``-`` for one that is not given."""
    names = [name.replace("-", "") for name in inputs.split()]
    return helper.make_node(op, names, [output], name=f"node_{output}", **attributes)


def conv(output: str = "x", w: str = "w", inputs: str = "image", **attributes: Any) -> Any:
    return node("Conv", f"{inputs} {w} b", output, **{"pads": [1, 1, 1, 1], **attributes})


def case(*nodes: Any, w: tuple[int, ...] = (8, 3, 3, 3), **constants: Any) -> Any:
    """Return nodes and constants: ``w`` and ``b`` for a convolution of the image to 8 channels."""
    given = {k: np.asarray(v) for k, v in constants.items()}
    return nodes, {"w": normal(*w), "b": normal(w[0]), **given}


def resize(**attributes: Any) -> Any:
    scales = np.array([1, 1, 2, 2], np.float32)
    return case(conv(), node("Resize", "x - scales", **attributes), scales=scales)


def deconv(kernel: int, follower: str = "", **attributes: Any) -> Any:
    nodes = [conv(), node("ConvTranspose", "x v c", "y" if follower else "alpha", strides=[2, 2], **attributes)]
    nodes += [node(follower, "y")] if follower else []
    return case(*nodes, v=normal(8, 5, kernel, kernel), c=normal(5))


def pair(op: str, *after: Any, constants: Any = None, **attributes: Any) -> Any:
    """Return two convolutions, what joins them, and what follows."""
    last = node(op, "x y", "z" if after else "alpha", **attributes)
    return case(conv(), conv("y", "v"), last, *after, v=normal(8, 3, 3, 3) * 3, **(constants or {}))


BOUNDS = {"low": np.float32(-0.2), "high": np.float32(0.3)}
SHUFFLE = node("DepthToSpace", "x", blocksize=2, mode="CRD")
CASES: dict[str, Any] = {
    "dense": case(conv("alpha")),
    "dense, relu": case(conv(), node("Relu", "x")),
    "dense, relu6": case(conv(), node("Clip", "x low high"), low=np.float32(0), high=np.float32(6)),
    "dense, clipped to alpha": case(conv(), node("Clip", "x low high"), low=np.float32(0), high=np.float32(1)),
    "dense without bias": case(node("Conv", "image w", pads=[1, 1, 1, 1])),
    "patches": case(conv("alpha", pads=[0, 0, 0, 0], strides=[4, 4]), w=(8, 3, 4, 4)),
    "strided, padded on both sides": case(conv("alpha", strides=[2, 2])),
    "depthwise": case(conv(), node("Conv", "x v", pads=[1, 1, 1, 1], group=8), v=normal(8, 1, 3, 3)),
    "depthwise, strided": case(
        conv(), node("Conv", "x v", pads=[1, 1, 1, 1], group=8, strides=[2, 2]), v=normal(8, 1, 3, 3)
    ),
    "depthwise, dilated": case(
        conv(), node("Conv", "x v", pads=[2, 2, 2, 2], group=8, dilations=[2, 2]), v=normal(8, 1, 3, 3)
    ),
    "depthwise of two filters": case(conv(), node("Conv", "x v", pads=[1, 1, 1, 1], group=8), v=normal(16, 1, 3, 3)),
    "transposed": deconv(2),
    "transposed, relu": deconv(2, "Relu"),
    "transposed 4, 2, 1": deconv(4, pads=[1, 1, 1, 1]),
    "add": pair("Add"),
    "add, relu": pair("Add", node("Relu", "z")),
    "sub": pair("Sub"),
    "mul": pair("Mul"),
    "mul by a small factor": case(
        conv(), conv("y", "v"), node("Sigmoid", "y", "s"), node("Mul", "x s"), v=normal(8, 3, 3, 3)
    ),
    "mul by a mean": case(conv(), node("GlobalAveragePool", "x", "y"), node("Mul", "x y")),
    "concat": pair("Concat", axis=1),
    "concat of one scale": case(conv(), node("MaxPool", "x", "y", kernel_shape=[1, 1]), node("Concat", "x y", axis=1)),
    "bilinear": resize(mode="linear", coordinate_transformation_mode="half_pixel"),
    "bilinear, corners aligned": resize(mode="linear", coordinate_transformation_mode="align_corners"),
    "bilinear, asymmetric": resize(mode="linear", coordinate_transformation_mode="asymmetric"),
    "nearest": resize(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "shuffle CRD": case(conv(), SHUFFLE),
    "shuffle CRD after relu": case(conv("y"), node("Relu", "y", "x"), SHUFFLE),
    "shuffle CRD after transposed": case(
        conv("y"), node("ConvTranspose", "y v c", "x", strides=[2, 2]), SHUFFLE, v=normal(8, 12, 2, 2), c=normal(12)
    ),
    "shuffle DCR": case(conv(), node("DepthToSpace", "x", blocksize=2, mode="DCR")),
    "space to depth": case(conv(), node("SpaceToDepth", "x", blocksize=2)),
    "max pool": case(conv(), node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2])),
    "average pool": case(conv(), node("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2])),
    "average pool same": case(conv(), node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])),
    "average pool, zeros count": case(
        conv(), node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    ),
    "global average pool": case(conv(), node("GlobalAveragePool", "x")),
    "sigmoid": case(conv(), node("Sigmoid", "x")),
    "pad": case(conv(), node("Pad", "x p"), p=np.array([0, 0, 2, 1, 0, 0, 1, 3])),
    "identity": case(conv(), node("Identity", "x", "y"), node("MaxPool", "y", kernel_shape=[2, 2])),
    "identity at the end": case(conv(), node("Identity", "x")),
    "relu alone": pair("Concat", node("Relu", "z"), axis=1),
    "clip alone": pair("Concat", node("Clip", "z low high"), axis=1, constants=BOUNDS),
    "one weight, two scales": case(
        conv(),
        node("Relu", "x", "y"),
        node("Conv", "y v", "z"),
        node("Conv", "x v", "u"),
        node("Add", "z u"),
        v=normal(4, 8, 1, 1),
    ),
}


LEFT_OUT = {
    "average pool same": "AVERAGE_POOL_2D",
    "nearest": "RESIZE_NEAREST_NEIGHBOR",
}
"""What XNNPACK does not take."""


def on_grid(trunk: Trunk, images: Images, scheme: str = "static_w8c_a8", kept: tuple[str, ...] = ()) -> Trunk:
    grid = calibrate(onnx.load(trunk.path), images, Scheme.parse(scheme), "minmax", frozenset(kept))
    return dataclasses.replace(trunk, grid=grid)


def compared(trunk: Trunk, image: Images, delegate: bool = True, precision: str = "int8") -> layers.LayerCheck:
    """Return each tensor's codes in LiteRT against what the reference makes of the same inputs; none may be missing."""
    path = trunk.path.with_suffix(".tflite")
    _convert.convert(trunk, precision, path)
    runner, shown = _runner.LiteRTRunner(path), _runner.Shown(path.read_bytes(), path, delegate)
    runner.feed(shown.interpreter, image)
    net = graph.of(onnx.load(trunk.path))
    assert trunk.grid is not None
    reference = Reference(net, trunk.grid, "xnnpack" if delegate else "tflite")
    found = layers.check(reference, shown.codes(), image)
    assert not found.missing
    assert {layer.tensor for layer in found.layers} == set(rules.tensors(net))
    return found


def about_xnnpack(path: Path) -> list[str]:
    """Return the check's complaints but those of the interface: these graphs make no matte."""
    return [line for line in TARGET.check(path) if not line.startswith(("alpha is", "image and alpha"))]


@pytest.fixture(scope="module")
def pixels() -> Images:
    return np.random.default_rng(3).integers(0, 256, (2, *SIZE, 3)).astype(np.uint8)


@pytest.mark.parametrize("delegate", [True, False], ids=["xnnpack", "tflite"])
@pytest.mark.parametrize("name", CASES)
def test_each_operator_makes_the_reference_s_codes(make: Make, pixels: Images, name: str, delegate: bool) -> None:
    nodes, constants = CASES[name]
    trunk = on_grid(make(nodes, constants, (1, 3, *SIZE)), pixels)
    found = compared(trunk, pixels[0], delegate)
    assert found, str(found)


@pytest.mark.parametrize("name", CASES)
def test_the_file_carries_the_grid_and_xnnpack_takes_it_whole(make: Make, pixels: Images, name: str) -> None:
    nodes, constants = CASES[name]
    trunk = on_grid(make(nodes, constants, (1, 3, *SIZE)), pixels)
    path = trunk.path.with_suffix(".tflite")
    _convert.convert(trunk, "int8", path)
    complaints = about_xnnpack(path)
    if name in LEFT_OUT:
        assert LEFT_OUT[name] in complaints[0]
    else:
        assert complaints == []
    assert trunk.grid is not None
    assert scale_differences(TARGET, trunk.grid, path, 0.0) == ([], 0.0)
    assert TARGET.inspect(path).is_integer


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_old_runtime_knows_each_operator_s_version(
    make: Make, pixels: Images, name: str, old_runtime: Callable[[Path, Images], Any]
) -> None:
    nodes, constants = CASES[name]
    trunk = on_grid(make(nodes, constants, (1, 3, *SIZE)), pixels)
    path = trunk.path.with_suffix(".tflite")
    _convert.convert(trunk, "int8", path)
    shown = _runner.Shown(path.read_bytes(), path)
    path.write_bytes(shown.copy)
    made = {int(index): found[0] for index, found in old_runtime(path, pixels[:1]).items()}
    fed = (pixels[:1].astype(np.int16) - 128).astype(np.int8)
    assert trunk.grid is not None
    reference = Reference(graph.of(onnx.load(trunk.path)), trunk.grid, "tflite")
    found = layers.check(reference, shown.read(lambda index: made.get(index, fed)), pixels[0])
    assert found, str(found)


@pytest.mark.parametrize("name", ["dense, relu", "dense, relu6", "add, relu", "bilinear", "shuffle CRD after relu"])
def test_a_symmetric_grid_has_its_relus_fused(make: Make, pixels: Images, name: str) -> None:
    nodes, constants = CASES[name]
    trunk = on_grid(make(nodes, constants, (1, 3, *SIZE)), pixels, "static_w8c_a8s")
    for delegate in (True, False):
        found = compared(trunk, pixels[0], delegate)
        assert found, str(found)
    path = trunk.path.with_suffix(".tflite")
    assert trunk.grid is not None
    assert about_xnnpack(path) == []
    assert scale_differences(TARGET, trunk.grid, path, 0.0) == ([], 0.0)


def test_a_symmetric_grid_with_a_relu_that_tflite_cannot_fuse_is_refused(make: Make, pixels: Images) -> None:
    nodes, constants = CASES["transposed, relu"]
    trunk = on_grid(make(nodes, constants, (1, 3, *SIZE)), pixels, "static_w8c_a8s")
    with pytest.raises(UnsupportedOpError, match=r"node_y \(ConvTranspose\): an activation .*static_w8c_a8s"):
        _convert.convert(trunk, "int8", trunk.path.with_suffix(".tflite"))


KEPT = {
    "dense, relu": ["node_x"],
    "dense, clipped to alpha": ["node_x"],
    "transposed, relu": ["node_y"],
    "add, relu": ["node_z"],
    "concat": ["node_alpha"],
    "shuffle CRD after relu": ["node_y", "node_alpha"],
    "mul by a mean": ["node_y", "node_alpha"],
    "average pool": ["node_alpha"],
    "clip alone": ["node_alpha"],
    "pad": ["node_alpha"],
}


@pytest.mark.parametrize("name", KEPT)
def test_kept_nodes_compute_in_float_between_codes(make: Make, pixels: Images, name: str) -> None:
    nodes, constants = CASES[name]
    trunk = on_grid(make(nodes, constants, (1, 3, *SIZE)), pixels, kept=tuple(KEPT[name]))
    for delegate in (True, False):
        found = compared(trunk, pixels[0], delegate)
        assert found, str(found)
    path = trunk.path.with_suffix(".tflite")
    assert about_xnnpack(path) == []
    facts = TARGET.inspect(path)
    assert len([op for op in facts.ops if op.arithmetic == "float32" or op.kind == "DEQUANTIZE"]) >= len(KEPT[name])
    assert trunk.grid is not None
    assert scale_differences(TARGET, trunk.grid, path, 0.0) == ([], 0.0)


def test_float_ends_change_no_code(make: Make, pixels: Images) -> None:
    nodes, constants = CASES["dense, clipped to alpha"]
    trunk = on_grid(make(nodes, constants, (1, 3, *SIZE)), pixels)
    path = trunk.path.with_suffix(".tflite")
    shown = []
    for precision in ("int8", "int8_float_io"):
        assert compared(trunk, pixels[0], precision=precision)
        shown.append(TARGET.load(path).codes(pixels[0]))
        assert about_xnnpack(path) == []
    assert all(np.array_equal(shown[0][name], shown[1][name]) for name in shown[0])


def test_a_clip_tighter_than_its_codes_is_computed(make: Make, pixels: Images) -> None:
    nodes, constants = CASES["clip alone"]
    trunk = on_grid(make(nodes, constants, (1, 3, *SIZE)), pixels)
    assert trunk.grid is not None
    wide = {**trunk.grid.activations, "alpha": QParams(0.01, 100)}
    trunk = dataclasses.replace(trunk, grid=dataclasses.replace(trunk.grid, activations=wide))
    found = compared(trunk, pixels[0])
    assert found, str(found)
    codes = TARGET.load(trunk.path.with_suffix(".tflite")).codes(pixels[0])["alpha"]
    assert (codes.min(), codes.max()) == (80, 130)


def test_a_constant_joined_to_codes_lies_on_their_grid(make: Make, pixels: Images) -> None:
    constant = normal(1, 8, 2, SIZE[1])
    nodes, constants = case(conv(), node("Concat", "x c", axis=2), c=constant)
    trunk = on_grid(make(nodes, constants, (1, 3, *SIZE)), pixels)
    path = trunk.path.with_suffix(".tflite")
    _convert.convert(trunk, "int8", path)
    assert trunk.grid is not None
    codes = TARGET.load(path).codes(pixels[0])["alpha"]
    assert np.array_equal(codes[:, :, -2:], trunk.grid.activations["alpha"].codes(constant))


def test_what_cannot_be_quantized_is_refused_with_every_node(make: Make, pixels: Images) -> None:
    nodes, constants = case(conv(), node("Mul", "x k", "y"), node("Div", "y k"), k=np.float32(2))
    trunk = on_grid(make(nodes, constants, (1, 3, *SIZE)), pixels, kept=("node_y", "node_alpha"))
    found = compared(trunk, pixels[0])
    assert found, str(found)
    assert trunk.grid is not None
    strict = dataclasses.replace(trunk, grid=dataclasses.replace(trunk.grid, kept=frozenset()))
    with pytest.raises(UnsupportedOpError, match=r"2 nodes cannot be quantized.*\n.*node_y.*\n.*node_alpha"):
        _convert.convert(strict, "int8", trunk.path.with_suffix(".tflite"))


def test_a_grid_that_breaks_a_rule_is_refused(make: Make, pixels: Images) -> None:
    nodes, constants = CASES["bilinear"]
    trunk = on_grid(make(nodes, constants, (1, 3, *SIZE)), pixels)
    assert trunk.grid is not None
    other = {**trunk.grid.activations, "alpha": QParams(0.5, 3)}
    trunk = dataclasses.replace(trunk, grid=dataclasses.replace(trunk.grid, activations=other))
    with pytest.raises(InputError, match=r"breaks 1 rules.*\n.*x, alpha: 2 scales"):
        _convert.convert(trunk, "int8", trunk.path.with_suffix(".tflite"))


def test_every_operator_that_the_grid_knows_is_tested() -> None:
    made = {n.op_type for nodes, _ in CASES.values() for n in nodes}
    assert made == {*rules.WEIGHTED, *rules.JOINING, *rules.SAME_SCALE, *rules.FREE}
