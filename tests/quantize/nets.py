"""A small float network as ONNX: two convolutions with ReLU6 and Relu, an Add, a Resize, a head with Clip to [0, 1]."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 16
Array = npt.NDArray[Any]


def constants(seed: int = 0) -> dict[str, Array]:
    """Return the network's constants."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return rng.normal(0, 0.4, shape).astype(np.float32)

    return {
        "first.weight": normal(8, 3, 3, 3) * np.float32(4),  # reaches 6
        "first.bias": normal(8),
        "second.weight": normal(8, 8, 3, 3),
        "second.bias": normal(8),
        "head.weight": normal(1, 8, 1, 1) * np.float32(0.1),
        "head.bias": np.array([0.4], np.float32),
        "zero": np.float32(0.0),
        "one": np.float32(1.0),
        "six": np.float32(6.0),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }


def net(changes: dict[str, Array] | None = None, extra: str = "Identity") -> onnx.ModelProto:
    """Return the network.

    Args:
        changes: Constants other than `constants`.
        extra: An operator of one input between the Resize and the head.
    """
    nodes = [
        helper.make_node(
            "Conv", ["image", "first.weight", "first.bias"], ["first"], "first", pads=[1] * 4, strides=[2, 2]
        ),
        helper.make_node("Clip", ["first", "zero", "six"], ["first.relu"], "first.relu"),
        helper.make_node("Conv", ["first.relu", "second.weight", "second.bias"], ["second"], "second", pads=[1] * 4),
        helper.make_node("Add", ["second", "first.relu"], ["sum"], "sum"),
        helper.make_node("Relu", ["sum"], ["sum.relu"], "sum.relu"),
        helper.make_node("Resize", ["sum.relu", "", "scales"], ["large"], "large", mode="nearest"),
        helper.make_node(extra, ["large"], ["same"], "same"),
        helper.make_node("Conv", ["same", "head.weight", "head.bias"], ["head"], "head"),
        helper.make_node("Clip", ["head", "zero", "one"], ["alpha"], "alpha"),
    ]
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in {**constants(), **(changes or {})}.items()]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, SIZE, SIZE))
    alpha = helper.make_tensor_value_info("alpha", TensorProto.FLOAT, (1, 1, SIZE, SIZE))
    graph = helper.make_graph(nodes, "net", [image], [alpha], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def images(count: int = 10) -> npt.NDArray[np.uint8]:
    """Return random images from dark to bright, uint8, (count, 16, 16, 3)."""
    rng = np.random.default_rng(5)
    light = np.linspace(0.2, 1.0, count)[:, None, None, None]
    return (rng.integers(0, 256, (count, SIZE, SIZE, 3)) * light).astype(np.uint8)
