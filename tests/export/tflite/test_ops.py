"""Each translator against ONNX Runtime, one operator a graph; what would be mistranslated is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from onnx import helper

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export._target import Trunk
from edgemat.export.tflite import _convert, _emit, _runner
from edgemat.export.tflite._ops import OPS
from edgemat.export.tflite._source import Graph, Node

Floats = npt.NDArray[np.float32]
Make = Callable[..., Trunk]
Constants = dict[str, npt.NDArray[Any]]

RNG = np.random.default_rng(5)


def normal(*shape: int) -> Floats:
    return RNG.normal(0, 1, shape).astype(np.float32)


def node(op: str, inputs: str = "image", outputs: str = "alpha", **attributes: Any) -> Any:
    """Return a node; inputs and outputs are names with blanks between, ``-`` for one that is not given."""
    names = [[name.replace("-", "") for name in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, *names, name=f"node_{names[1][0]}", **attributes)


def both(trunk: Trunk, delegate: bool) -> tuple[Floats, Floats]:
    """Return what ONNX Runtime and LiteRT make of the same random input, both NCHW."""
    path = trunk.path.with_suffix(".tflite")
    _convert.convert(trunk, "fp32", path)
    session = onnxruntime.InferenceSession(trunk.path, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(3).normal(0, 3, session.get_inputs()[0].shape).astype(np.float32)
    reference = session.run(None, {"image": image})[0]
    interpreter = _runner.open_interpreter(path.read_bytes(), path, delegate=delegate)
    runner = interpreter.get_signature_runner("serving_default")
    return reference, runner(image=image.transpose(0, 2, 3, 1))["alpha"].transpose(0, 3, 1, 2)


def conv(inputs: str = "image w b", *, w: tuple[int, ...], shape: tuple[int, ...], **attributes: Any) -> Any:
    constants: Constants = {"w": normal(*w) / 4, "b": normal(w[0])}
    return [node("Conv", inputs, **attributes)], constants, shape


def deconv(*, w: tuple[int, ...], shape: tuple[int, ...], **attributes: Any) -> Any:
    constants: Constants = {"w": normal(*w) / 4, "b": normal(w[1])}
    return [node("ConvTranspose", "image w b", **attributes)], constants, shape


def clip(low: float | None, high: float | None) -> Any:
    bounds = {"low": low, "high": high}
    names = " ".join(name if value is not None else "-" for name, value in bounds.items())
    constants: Constants = {k: np.float32(v) for k, v in bounds.items() if v is not None}  # type: ignore[misc]
    return [node("Clip", f"image {names}")], constants, (1, 3, 4, 6)


def resize(size: tuple[int, int], shape: tuple[int, ...] = (1, 3, 4, 6), **attributes: Any) -> Any:
    sizes = np.array([*shape[:2], *size], np.int64)
    return [node("Resize", "image - - sizes", **attributes)], {"sizes": sizes}, shape


def scaled(scale: float, **attributes: Any) -> Any:
    scales = np.array([1, 1, scale, scale], np.float32)
    return [node("Resize", "image - scales", **attributes)], {"scales": scales}, (1, 3, 4, 6)


def binary(op: str, constant: npt.NDArray[Any], order: str = "image c") -> Any:
    return [node(op, order)], {"c": constant}, (1, 3, 4, 6)


def chain(*nodes: Any, shape: tuple[int, ...] = (1, 3, 4, 6), **constants: Any) -> Any:
    return list(nodes), constants, shape


W3 = normal(8, 3, 3, 3) / 4

AGREE: dict[str, Any] = {
    "conv same": conv(w=(5, 3, 3, 3), shape=(1, 3, 8, 6), pads=[1, 1, 1, 1]),
    "conv without bias": conv("image w", w=(5, 3, 3, 3), shape=(1, 3, 8, 6), pads=[1, 1, 1, 1]),
    "conv valid": conv(w=(5, 3, 3, 3), shape=(1, 3, 8, 6)),
    "conv patch": conv(w=(5, 3, 4, 4), shape=(1, 3, 8, 12), strides=[4, 4]),
    "conv stride 2, even size, torch's padding": conv(
        w=(5, 3, 3, 3), shape=(1, 3, 8, 6), pads=[1, 1, 1, 1], strides=[2, 2]
    ),
    "conv stride 2, odd size": conv(w=(5, 3, 3, 3), shape=(1, 3, 7, 9), pads=[1, 1, 1, 1], strides=[2, 2]),
    "conv stride 2, padded after": conv(w=(5, 3, 3, 3), shape=(1, 3, 8, 6), pads=[0, 0, 1, 1], strides=[2, 2]),
    "conv rectangular": conv(w=(5, 3, 1, 5), shape=(1, 3, 8, 6), pads=[0, 2, 0, 2], strides=[2, 1]),
    "conv lop-sided": conv(w=(5, 3, 3, 3), shape=(1, 3, 8, 6), pads=[2, 0, 1, 3]),
    "conv dilated": conv(w=(5, 3, 3, 3), shape=(1, 3, 8, 6), pads=[2, 2, 2, 2], dilations=[2, 2]),
    "conv auto_pad upper": conv(w=(5, 3, 3, 3), shape=(1, 3, 8, 6), auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv auto_pad valid": conv(w=(5, 3, 3, 3), shape=(1, 3, 8, 6), auto_pad="VALID"),
    "depthwise": conv(w=(3, 1, 3, 3), shape=(1, 3, 8, 6), pads=[1, 1, 1, 1], group=3),
    "depthwise stride 2": conv(w=(3, 1, 3, 3), shape=(1, 3, 8, 6), pads=[1, 1, 1, 1], group=3, strides=[2, 2]),
    "depthwise dilated": conv(w=(3, 1, 3, 3), shape=(1, 3, 8, 6), pads=[2, 2, 2, 2], group=3, dilations=[2, 2]),
    "depthwise of 2 filters": conv(w=(6, 1, 3, 3), shape=(1, 3, 8, 6), pads=[1, 1, 1, 1], group=3),
    "transposed patch": deconv(w=(3, 5, 2, 2), shape=(1, 3, 4, 6), strides=[2, 2]),
    "transposed patch of 4": deconv(w=(3, 1, 4, 4), shape=(1, 3, 4, 6), strides=[4, 4]),
    "transposed 4, 2, 1": deconv(w=(3, 5, 4, 4), shape=(1, 3, 4, 6), strides=[2, 2], pads=[1, 1, 1, 1]),
    "transposed 3, 2, 0": deconv(w=(3, 5, 3, 3), shape=(1, 3, 4, 6), strides=[2, 2]),
    "relu": chain(node("Relu")),
    "relu6": clip(0, 6),
    "clip to alpha": clip(0, 1),
    "clip -1 to 1": clip(-1, 1),
    "clip odd bounds": clip(-0.3, 2.5),
    "clip below": clip(0, None),
    "clip above": clip(None, 2),
    "sigmoid": chain(node("Sigmoid")),
    "identity": chain(node("Identity", "image", "same"), node("Relu", "same")),
    "add per channel": binary("Add", normal(1, 3, 1, 1)),
    "add of low rank": binary("Add", normal(3, 1, 1)),
    "sub scalar": binary("Sub", np.float32(0.7)),
    "sub from a constant": binary("Sub", normal(1, 3, 1, 1), "c image"),
    "mul map": binary("Mul", normal(1, 1, 4, 6)),
    "div per channel": binary("Div", np.array([2, 3, 4], np.float32).reshape(1, 3, 1, 1)),
    "add of itself": chain(node("Add", "image image")),
    "mul of a pooled tensor": chain(node("GlobalAveragePool", outputs="mean"), node("Mul", "image mean")),
    "concat channels": chain(node("Relu", outputs="r"), node("Concat", "image r image", axis=1)),
    "concat rows": chain(node("Relu", outputs="r"), node("Concat", "image r", axis=-2)),
    "concat columns with a constant": chain(node("Concat", "image c", axis=3), c=normal(1, 3, 4, 2)),
    "bilinear": scaled(2, mode="linear"),
    "bilinear by torch": resize((7, 9), mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
    "bilinear down": resize((2, 3), mode="linear"),
    "bilinear aligned": resize((8, 12), mode="linear", coordinate_transformation_mode="align_corners"),
    "bilinear asymmetric": resize((8, 12), mode="linear", coordinate_transformation_mode="asymmetric"),
    "nearest by torch": scaled(2, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "nearest by torch, odd": resize((7, 9), coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "nearest half pixel": scaled(3, mode="nearest"),
    "nearest half pixel down": resize((2, 3), mode="nearest", nearest_mode="round_prefer_ceil"),
    "shuffle CRD to one channel": chain(node("DepthToSpace", blocksize=2, mode="CRD"), shape=(1, 4, 3, 5)),
    "shuffle CRD after conv": chain(
        node("Conv", "image w", "y", pads=[1, 1, 1, 1]),
        node("DepthToSpace", "y", blocksize=2, mode="CRD"),
        w=W3,
    ),
    "shuffle CRD after conv and relu": chain(
        node("Conv", "image w b", "y", pads=[1, 1, 1, 1]),
        node("Relu", "y", "z"),
        node("DepthToSpace", "z", blocksize=2, mode="CRD"),
        w=W3,
        b=normal(8),
    ),
    "shuffle CRD after conv and clip": chain(
        node("Conv", "image w", "y", pads=[1, 1, 1, 1]),
        node("Clip", "y low high", "z"),
        node("DepthToSpace", "z", blocksize=2, mode="CRD"),
        w=W3,
        low=np.float32(0),
        high=np.float32(1),
    ),
    "shuffle CRD after transposed conv": chain(
        node("ConvTranspose", "image w b", "y", strides=[2, 2]),
        node("DepthToSpace", "y", blocksize=2, mode="CRD"),
        w=normal(3, 8, 2, 2),
        b=normal(8),
    ),
    "shuffle DCR": chain(node("DepthToSpace", blocksize=2, mode="DCR"), shape=(1, 8, 3, 5)),
    "space to depth": chain(node("SpaceToDepth", blocksize=2)),
    "max pool": chain(node("MaxPool", kernel_shape=[2, 2], strides=[2, 2])),
    "max pool same": chain(node("MaxPool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])),
    "average pool": chain(node("AveragePool", kernel_shape=[2, 3], strides=[2, 3])),
    "average pool same": chain(node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])),
    "average pool, zeros count": chain(
        node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], count_include_pad=1)
    ),
    "global average pool": chain(node("GlobalAveragePool")),
    "pad": chain(node("Pad", "image p"), p=np.array([0, 1, 2, 0, 0, 0, 1, 3])),
    "one weight, two layouts": chain(
        node("Conv", "image w", "y", pads=[1, 1, 1, 1]),
        node("Conv", "y w", "z", pads=[1, 1, 1, 1], group=3),
        node("Add", "y z"),
        shape=(1, 1, 4, 6),
        w=normal(3, 1, 3, 3),
    ),
    "fused once only": chain(
        node("Conv", "image w", "y", pads=[1, 1, 1, 1]), node("Relu", "y", "z"), node("Add", "y z"), w=W3
    ),
}


@pytest.mark.parametrize("delegate", [True, False], ids=["xnnpack", "reference"])
@pytest.mark.parametrize("case", AGREE)
def test_each_operator_agrees_with_onnx_runtime(make: Make, case: str, delegate: bool) -> None:
    reference, found = both(make(*AGREE[case]), delegate)
    assert found.shape == reference.shape
    assert np.ptp(reference) > 0.1
    assert np.abs(found - reference).max() <= 1e-6 * np.abs(reference).max()


def test_every_operator_of_the_table_is_tested() -> None:
    assert {n.op_type for nodes, _, _ in AGREE.values() for n in nodes} == set(OPS)


REFUSED: dict[str, tuple[str, Any]] = {
    "operator of another domain": (
        r"node_alpha.*com\.example::Relu",
        chain(node("Relu", domain="com.example")),
    ),
    "unknown operator": ("operator not supported", chain(node("Erf"))),
    "grouped conv": ("group 2 of 4 channels", conv(w=(4, 2, 3, 3), shape=(1, 4, 6, 6), group=2)),
    "conv of computed weights": (
        "weight w is not a constant",
        chain(node("Mul", "k k", "w"), node("Conv", "image w"), k=normal(5, 3, 3, 3)),
    ),
    "conv auto_pad lower": ("SAME_LOWER", conv(w=(5, 3, 3, 3), shape=(1, 3, 8, 6), auto_pad="SAME_LOWER")),
    "transposed, cropped": (
        "kernel",
        deconv(w=(3, 5, 3, 3), shape=(1, 3, 4, 6), strides=[2, 2], pads=[1, 1, 1, 1]),
    ),
    "transposed, grouped": ("group", deconv(w=(3, 5, 2, 2), shape=(1, 3, 4, 6), group=3, strides=[2, 2])),
    "cubic": ("mode cubic", resize((8, 12), mode="cubic")),
    "antialiased": ("antialias 1", resize((2, 3), mode="linear", antialias=1)),
    "resize of some axes": (
        r"axes \[2, 3\]",
        chain(node("Resize", "image - s", axes=[2, 3], mode="linear"), s=np.array([2, 2], np.float32)),
    ),
    "nearest, half-way down": ("round_prefer_floor", resize((2, 3), mode="nearest")),
    "resize to a fraction": ("whole pixels", scaled(1.3, mode="linear")),
    "shuffle CRD without conv": (
        "mode CRD",
        chain(node("DepthToSpace", blocksize=2, mode="CRD"), shape=(1, 8, 2, 2)),
    ),
    "shuffle CRD of a shared conv": (
        "mode CRD",
        chain(
            node("Conv", "image w", "y"),
            node("DepthToSpace", "y", "s", blocksize=2, mode="CRD"),
            node("DepthToSpace", "y", "t", blocksize=2, mode="DCR"),
            node("Add", "s t"),
            w=W3,
        ),
    ),
    "max pool of torch": (
        "pads",
        chain(node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])),
    ),
    "ceil_mode": ("ceil_mode 1", chain(node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1))),
    "max pool dilated": ("dilations", chain(node("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]))),
    "pad by reflection": (
        "mode reflect",
        chain(node("Pad", "image p", mode="reflect"), p=np.array([0, 0, 1, 1] * 2)),
    ),
    "pad with ones": (
        "value 1",
        chain(node("Pad", "image p v"), p=np.array([0, 0, 1, 1] * 2), v=np.float32(1)),
    ),
    "crop": ("none below 0", chain(node("Pad", "image p"), p=np.array([0, 0, -1, 0] * 2))),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_mistranslated_is_refused(make: Make, case: str) -> None:
    why, graph = REFUSED[case]
    trunk = make(*graph)
    goal = trunk.path.with_suffix(".tflite")
    with pytest.raises(UnsupportedOpError, match=why):
        _convert.convert(trunk, "fp32", goal)
    assert not goal.exists()


def test_all_refusals_come_at_once_with_what_is_supported(make: Make) -> None:
    trunk = make(
        *chain(
            node("Erf", outputs="a"),
            node("Relu", "a", "b"),
            node("Resize", "b - s", mode="cubic"),
            s=np.array([1, 1, 2, 2], np.float32),
        )
    )
    with pytest.raises(UnsupportedOpError) as caught:
        _convert.convert(trunk, "fp32", trunk.path.with_suffix(".tflite"))
    message = str(caught.value)
    assert "2 of 3 nodes" in message
    assert "node_a (Erf): operator not supported" in message
    assert "node_alpha (Resize): mode cubic" in message
    assert "Conv, ConvTranspose" in message


def test_an_attribute_that_no_translator_reads_is_refused() -> None:
    relu = Node("node_alpha", "Relu", ("image",), ("alpha",), {"slope": 0.1})
    shapes = dict.fromkeys(("image", "alpha"), (1, 3, 4, 6))
    graph = Graph((relu,), {}, shapes, ("image",), ("alpha",), {"image": 1, "alpha": 1})
    with pytest.raises(UnsupportedOpError, match=r"node_alpha \(Relu\): attribute slope is not translated"):
        _convert.translate(graph, _emit.Emitter(graph, half=False))


def test_weights_that_are_not_finite_are_named(make: Make) -> None:
    nodes, constants, shape = conv(w=(5, 3, 3, 3), shape=(1, 3, 8, 6))
    constants["w"][0, 0, 0, 0] = np.nan
    trunk = make(nodes, constants, shape)
    with pytest.raises(InputError, match="tensor w: 1 of 135 values are NaN"):
        _convert.convert(trunk, "fp32", trunk.path.with_suffix(".tflite"))


def test_a_weight_beyond_float16_is_named(make: Make) -> None:
    nodes, constants, shape = conv(w=(5, 3, 3, 3), shape=(1, 3, 8, 6))
    constants["w"][0, 0, 0, 0] = 7e4
    trunk = make(nodes, constants, shape)
    with pytest.raises(InputError, match=r"tensor w: largest value 70000.*--precision fp32"):
        _convert.convert(trunk, "fp16", trunk.path.with_suffix(".tflite"))
    _convert.convert(trunk, "fp32", trunk.path.with_suffix(".tflite"))


def test_a_shape_that_is_not_fixed_is_named(make: Make) -> None:
    trunk = make([node("Relu")], {}, ("N", 3, 4, 6))
    with pytest.raises(InputError, match=r"tensor image has shape \(N, 3, 4, 6\)"):
        _convert.convert(trunk, "fp32", trunk.path.with_suffix(".tflite"))
