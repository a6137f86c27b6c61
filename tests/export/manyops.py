"""A float network of most operators that the grid knows, and small trunks on a grid, for integer targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgemat.export._target import ModelInfo, Trunk
from edgemat.quantize.calibrate import calibrate
from edgemat.quantize.scheme import Scheme

SIZE = 32
INFO = ModelInfo("net", "1.0", "the tests", "Apache-2.0", "A net.", {"weights_sha256": "0" * 64})
Array = npt.NDArray[Any]


def many() -> onnx.ModelProto:
    """Return a network with a padded stem, depthwise and transposed convolutions, pools, joins and a Sigmoid gate."""
    rng = np.random.default_rng(3)

    def normal(*shape: int) -> Array:
        return (rng.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    constants: dict[str, Array] = {
        "stem.weight": normal(8, 3, 3, 3), "stem.bias": normal(8) * np.float32(0.1),
        "deep.weight": normal(8, 1, 3, 3), "deep.bias": np.ones(8, np.float32),
        "side.weight": normal(8, 8, 1, 1), "gate.weight": normal(8, 8, 1, 1), "gate.bias": normal(8),
        "up.weight": normal(16, 8, 2, 2), "up.bias": normal(8) * np.float32(0.1),
        "head.weight": normal(1, 8, 1, 1) * np.float32(0.5), "head.bias": np.array([0.4], np.float32),
        "zero": np.float32(0), "six": np.float32(6), "one": np.float32(1),
        "doubled": np.array([1, 1, 2, 2], np.float32),
    }  # fmt: skip
    make, square = helper.make_node, [2, 2]
    nodes = [
        make("Conv", ["image", "stem.weight", "stem.bias"], ["stem"], "stem", pads=[1] * 4, strides=square),
        make("Clip", ["stem", "zero", "six"], ["stem.six"], "stem.six"),
        make("Conv", ["stem.six", "deep.weight", "deep.bias"], ["deep"], "deep", pads=[1] * 4, group=8),
        make("Relu", ["deep"], ["deep.relu"], "deep.relu"),
        make("MaxPool", ["deep.relu"], ["most"], "most", kernel_shape=square, strides=square),
        make("AveragePool", ["deep.relu"], ["mean"], "mean", kernel_shape=square, strides=square),
        make("Sub", ["most", "mean"], ["spread"], "spread"),
        make("Conv", ["spread", "side.weight"], ["side"], "side"),
        make("GlobalAveragePool", ["side"], ["whole"], "whole"),
        make("Conv", ["whole", "gate.weight", "gate.bias"], ["gate"], "gate"),
        make("Sigmoid", ["gate"], ["opened"], "opened"),
        make("Mul", ["side", "opened"], ["gated"], "gated"),
        make("Concat", ["gated", "most"], ["both"], "both", axis=1),
        make("Relu", ["both"], ["both.relu"], "both.relu"),
        make("ConvTranspose", ["both.relu", "up.weight", "up.bias"], ["up"], "up", kernel_shape=square, strides=square),
        make("Add", ["up", "deep.relu"], ["sum"], "sum"),
        make("Relu", ["sum"], ["sum.relu"], "sum.relu"),
        make("Resize", ["sum.relu", "", "doubled"], ["large"], "large", mode="linear"),
        make("Conv", ["large", "head.weight", "head.bias"], ["head"], "head"),
        make("Clip", ["head", "zero", "one"], ["alpha"], "alpha"),
    ]
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, SIZE, SIZE))
    alpha = helper.make_tensor_value_info("alpha", TensorProto.FLOAT, (1, 1, SIZE, SIZE))
    graph = helper.make_graph(nodes, "many", [image], [alpha], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def pictures(count: int = 4) -> npt.NDArray[np.uint8]:
    """Return smooth random images, uint8, (count, 32, 32, 3)."""
    coarse = np.random.default_rng(5).integers(0, 256, (count, 8, 8, 3))
    return np.repeat(np.repeat(coarse, SIZE // 8, 1), SIZE // 8, 2).astype(np.uint8)


def trunk_of(model: onnx.ModelProto, scheme: str, path: Path, kept: frozenset[str] = frozenset()) -> Trunk:
    """Write a model and return it as a trunk, calibrated on `pictures`."""
    onnx.save(model, path)
    grid = calibrate(model, pictures(), Scheme.parse(scheme), "minmax", kept=kept)
    return Trunk(path, SIZE, SIZE, INFO, grid)


def shipped(scheme: str, folder: Path) -> tuple[Trunk, npt.NDArray[np.uint8]]:
    """Return the shipped student's trunk at 256x256 on a grid, and the images that it was calibrated on."""
    import dataclasses

    from edgemat import calib_data
    from edgemat.export import _trunk
    from edgemat.model import weights

    images = calib_data.load().resized(256, 256)[:12]
    trunk = _trunk.from_student(weights.shipped(), 256, 256, folder / "shipped.onnx", images[:2])
    grid = calibrate(onnx.load(trunk.path), images, Scheme.parse(scheme), "minmax")
    return dataclasses.replace(trunk, grid=grid), images
