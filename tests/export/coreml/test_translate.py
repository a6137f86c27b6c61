"""Every operator means in the package what it means in ONNX; what cannot be said exactly is refused, all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export._target import ModelInfo, Trunk
from edgemat.export.coreml import TARGET, _translate

SIZE = 12
INFO = ModelInfo("net", "0", "the tests", "Apache-2.0", "One operator.")
Reference = Callable[[Path, npt.NDArray[np.uint8]], dict[str, npt.NDArray[np.float32]]]


def random(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def trunk(folder: Path, nodes: Sequence[onnx.NodeProto], constants: dict[str, Any], channels: int = 3) -> Trunk:
    """Write a network from ``image`` to ``alpha``; a Conv to ``wide`` with more channels may come first."""
    weights = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    if channels != 3:
        mix = onnx.numpy_helper.from_array(random(channels, 3, 1, 1), "mix")
        nodes = [helper.make_node("Conv", ["image", "mix"], ["wide"]), *nodes]
        weights.append(mix)
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, (1, 3, SIZE, SIZE))
    alpha = helper.make_tensor_value_info("alpha", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "net", [image], [alpha], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    onnx.save(model, folder / "net.onnx")
    return Trunk(folder / "net.onnx", SIZE, SIZE, INFO)


def one(kind: str, inputs: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, ["alpha"], name="it", **attributes)


F = np.float32
CASES: dict[str, tuple[onnx.NodeProto, dict[str, Any], int]] = {
    "conv": (
        one("Conv", ["image", "w", "b"], pads=[0, 1, 2, 3], strides=[2, 1]),
        {"w": random(4, 3, 3, 3), "b": random(4)},
        3,
    ),
    "conv-dilated": (one("Conv", ["image", "w"], dilations=[2, 3], pads=[2, 3, 2, 3]), {"w": random(4, 3, 3, 3)}, 3),
    "conv-grouped": (one("Conv", ["wide", "w"], group=2), {"w": random(4, 4, 3, 3)}, 8),
    "conv-depthwise": (one("Conv", ["wide", "w"], group=8, pads=[1, 1, 1, 1]), {"w": random(16, 1, 3, 3)}, 8),
    "conv-valid": (one("Conv", ["image", "w"], auto_pad="VALID"), {"w": random(4, 3, 3, 3)}, 3),
    "transposed": (
        one("ConvTranspose", ["image", "w", "b"], strides=[2, 2], pads=[1, 0, 1, 1]),
        {"w": random(3, 4, 4, 3), "b": random(4)},
        3,
    ),
    "transposed-grouped": (
        one("ConvTranspose", ["wide", "w"], strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1], group=2),
        {"w": random(8, 3, 3, 3)},
        8,
    ),
    "relu": (one("Relu", ["wide"]), {}, 4),
    "sigmoid": (one("Sigmoid", ["wide"]), {}, 4),
    "identity": (one("Identity", ["wide"]), {}, 4),
    "clip": (one("Clip", ["wide", "lo", "hi"]), {"lo": F(-0.2), "hi": F(0.3)}, 4),
    "relu6": (one("Clip", ["wide", "lo", "hi"]), {"lo": F(0), "hi": F(6)}, 4),
    "add": (one("Add", ["wide", "c"]), {"c": random(1, 4, 1, 1)}, 4),
    "sub": (one("Sub", ["c", "wide"]), {"c": random(1, 4, 1, 1)}, 4),
    "mul": (one("Mul", ["wide", "wide"]), {}, 4),
    "div": (one("Div", ["wide", "c"]), {"c": F(0.37)}, 4),
    "concat": (one("Concat", ["wide", "image"], axis=1), {}, 4),
    "linear": (
        one("Resize", ["wide", "", "s"], mode="linear", coordinate_transformation_mode="half_pixel"),
        {"s": np.array([1, 1, 2, 4], F)},
        4,
    ),
    "linear-corners": (
        one("Resize", ["wide", "", "s"], mode="linear", coordinate_transformation_mode="align_corners"),
        {"s": np.array([1, 1, 2, 3], F)},
        4,
    ),
    "linear-sizes": (
        one("Resize", ["wide", "", "", "s"], mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
        {"s": np.array([1, 4, 19, 7])},
        4,
    ),
    "linear-corners-sizes": (
        one("Resize", ["wide", "", "", "s"], mode="linear", coordinate_transformation_mode="align_corners"),
        {"s": np.array([1, 4, 19, 7])},
        4,
    ),
    "nearest": (
        one(
            "Resize",
            ["wide", "", "s"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        {"s": np.array([1, 1, 2, 3], F)},
        4,
    ),
    "nearest-exact": (one("Resize", ["wide", "", "s"], mode="nearest"), {"s": np.array([1, 1, 2, 3], F)}, 4),
    "shuffle": (one("DepthToSpace", ["wide"], blocksize=2, mode="CRD"), {}, 8),
    "depth-to-space": (one("DepthToSpace", ["wide"], blocksize=2), {}, 8),
    "space-to-depth": (one("SpaceToDepth", ["wide"], blocksize=2), {}, 4),
    "max-pool": (one("MaxPool", ["wide"], kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 0, 1]), {}, 4),
    "average-pool": (one("AveragePool", ["wide"], kernel_shape=[3, 3], pads=[1, 1, 0, 1]), {}, 4),
    "average-pool-padded": (
        one("AveragePool", ["wide"], kernel_shape=[3, 3], strides=[3, 3], pads=[1, 1, 2, 2], count_include_pad=1),
        {},
        4,
    ),
    "ceil-without-overhang": (
        one("AveragePool", ["wide"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        {},
        4,
    ),
    "global-pool": (one("GlobalAveragePool", ["wide"]), {}, 4),
    "pad": (one("Pad", ["wide", "p"]), {"p": np.array([0, 0, 1, 2, 0, 0, 3, 4])}, 4),
    "pad-value": (one("Pad", ["wide", "p", "v"]), {"p": np.array([0, 0, 1, 2, 0, 0, 3, 4]), "v": F(0.5)}, 4),
}


@pytest.mark.parametrize("case", CASES)
def test_operator_means_the_same(case: str, tmp_path: Path, reference: Reference) -> None:
    node, constants, channels = CASES[case]
    network = trunk(tmp_path, [node], constants, channels)
    TARGET.convert(network, "fp32", tmp_path / "net.mlpackage")
    image = np.random.default_rng(5).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    expected = reference(network.path, image)["alpha"]
    with TARGET.load(tmp_path / "net.mlpackage") as runner:
        found = runner.trace(image)["alpha"]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5


def test_every_supported_operator_has_a_case() -> None:
    assert {node.op_type for node, _, _ in CASES.values()} | {"Constant"} == set(_translate.supported_ops())


REFUSED: dict[str, tuple[onnx.NodeProto, dict[str, Any], str]] = {
    "auto_pad": (
        one("Conv", ["image", "w"], auto_pad="SAME_UPPER"),
        {"w": random(4, 3, 3, 3)},
        "auto_pad='SAME_UPPER'",
    ),
    "computed weight": (one("Conv", ["image", "image"]), {}, "weight is computed"),
    "output_padding": (
        one("ConvTranspose", ["image", "w"], strides=[2, 2], output_padding=[1, 1]),
        {"w": random(3, 4, 3, 3)},
        "output_padding",
    ),
    "asymmetric": (
        one("Resize", ["image", "", "s"], mode="linear", coordinate_transformation_mode="asymmetric"),
        {"s": np.array([1, 1, 2, 2], F)},
        "coordinate_transformation_mode='asymmetric'",
    ),
    "cubic": (one("Resize", ["image", "", "s"], mode="cubic"), {"s": np.array([1, 1, 2, 2], F)}, "mode='cubic'"),
    "antialias": (
        one("Resize", ["image", "", "", "s"], mode="linear", antialias=1),
        {"s": np.array([1, 3, 6, 6])},
        "antialias=1",
    ),
    "inexact scale": (
        one("Resize", ["image", "", "s"], mode="linear"),
        {"s": np.array([1, 1, 1.55, 1.55], F)},
        "exactly",
    ),
    "shifted nearest": (
        one("Resize", ["image", "", "s"], mode="nearest", nearest_mode="floor"),
        {"s": np.array([1, 1, 2, 2], F)},
        "half_pixel/floor",
    ),
    "overhanging ceil": (
        one("MaxPool", ["image"], kernel_shape=[5, 5], strides=[2, 2], ceil_mode=1),
        {},
        "ceil_mode=1",
    ),
    "dilated pool": (one("MaxPool", ["image"], kernel_shape=[2, 2], dilations=[2, 2]), {}, "dilations"),
    "one-sided clip": (one("Clip", ["image", "lo"]), {"lo": F(0)}, "only one end"),
    "reflection": (
        one("Pad", ["image", "p"], mode="reflect"),
        {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
        "mode='reflect'",
    ),
    "channel padding": (one("Pad", ["image", "p"]), {"p": np.array([0, 1, 0, 0, 0, 0, 0, 0])}, "height and width"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_said_exactly_is_refused(case: str, tmp_path: Path) -> None:
    node, constants, why = REFUSED[case]
    network = trunk(tmp_path, [node], constants)
    with pytest.raises(UnsupportedOpError, match=rf"net\.onnx: 1 node cannot(.|\n)*it \({node.op_type}\): .*{why}"):
        TARGET.convert(network, "fp32", tmp_path / "net.mlpackage")
    assert not (tmp_path / "net.mlpackage").exists()


def test_all_refusals_come_at_once(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("HardSwish", ["image"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="fine"),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[5, 5], strides=[2, 2], ceil_mode=1, name="second"),
        helper.make_node("Erf", ["c"], ["alpha"], name="third"),
    ]
    with pytest.raises(UnsupportedOpError) as caught:
        TARGET.convert(trunk(tmp_path, nodes, {}), "fp16", tmp_path / "net.mlpackage")
    message = str(caught.value)
    assert "3 nodes" in message
    assert [name in message for name in ("first (HardSwish)", "second (MaxPool)", "third (Erf)")] == [True] * 3
    assert "fine" not in message
    assert f"Supported: {', '.join(_translate.supported_ops())}" in message


def test_a_shape_that_depends_on_the_image_stops_nothing_else(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Compress", ["image", "some"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="fed by it"),
        helper.make_node("Elu", ["image"], ["c"], name="second"),
        helper.make_node("Mul", ["b", "c"], ["alpha"], name="fed by both"),
    ]
    with pytest.raises(UnsupportedOpError) as caught:
        TARGET.convert(trunk(tmp_path, nodes, {"some": np.array([True])}), "fp32", tmp_path / "net.mlpackage")
    assert "2 nodes" in str(caught.value)
    assert "fed by" not in str(caught.value)


def test_names_that_mil_cannot_hold_come_back(tmp_path: Path, reference: Reference) -> None:
    nodes = [
        helper.make_node("Relu", ["image"], ["/a.b:0"]),
        helper.make_node("Sigmoid", ["/a.b:0"], ["_a_b_0"]),
        helper.make_node("Conv", ["_a_b_0", "w"], ["alpha"]),
    ]
    network = trunk(tmp_path, nodes, {"w": random(1, 3, 1, 1)})
    TARGET.convert(network, "fp16", tmp_path / "net.mlpackage")
    image = np.random.default_rng(5).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    expected = reference(network.path, image)
    with TARGET.load(tmp_path / "net.mlpackage") as runner:
        found = runner.trace(image)
    assert {name for name in expected if np.abs(found[name] - expected[name]).max() <= 2e-3} == set(expected)


def test_dynamic_shape_is_refused(tmp_path: Path) -> None:
    network = trunk(tmp_path, [one("Relu", ["image"])], {})
    model = onnx.load(network.path)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, network.path)
    with pytest.raises(InputError, match="input 'image' has no fixed shape"):
        TARGET.convert(network, "fp32", tmp_path / "net.mlpackage")
