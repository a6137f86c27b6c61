"""Plant one fault in an ONNX graph, in place: what a wrong converter would do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

from edgemat.export._target import Trunk


def _weight(model: ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def _scale(model: ModelProto, name: str, factor: float) -> None:
    tensor = _weight(model, name)
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((array * factor).astype(array.dtype), name))


def align_corners(model: ModelProto, node: str = "laterals.1.resize") -> None:
    """Resize as if the corners' centres were aligned."""
    resize = next(n for n in model.graph.node if n.name == node)
    next(a for a in resize.attribute if a.name == "coordinate_transformation_mode").s = b"align_corners"


def mean_shifted(model: ModelProto, by: float = 0.1) -> None:
    """Add a constant to the image before the first convolution: exact, as it has no padding."""
    weight = numpy_helper.to_array(_weight(model, "downs.0.weight")).astype(np.float64)
    bias = _weight(model, "downs.0.bias")
    array = numpy_helper.to_array(bias)
    moved = (array + by * weight.sum((1, 2, 3))).astype(array.dtype)
    bias.CopyFrom(numpy_helper.from_array(moved, bias.name))


def channels_swapped(model: ModelProto) -> None:
    """Read BGR where RGB is given."""
    weight = _weight(model, "downs.0.weight")
    swapped = np.ascontiguousarray(numpy_helper.to_array(weight)[:, ::-1])
    weight.CopyFrom(numpy_helper.from_array(swapped, weight.name))


def bias_dropped(model: ModelProto, node: str = "downs.2") -> None:
    """Forget one convolution's bias."""
    _scale(model, f"{node}.bias", 0.0)


FAULTS = {f.__name__: f for f in (align_corners, mean_shifted, channels_swapped, bias_dropped)}


def overflowing(trunk: Trunk, path: Path) -> Trunk:
    """Return a trunk whose tensor ``downs.2`` is fine in float32 and too large for float16."""
    model = onnx.load(trunk.path)
    up, down = np.float32(2.0**17), np.float32(2.0**-17)
    for name in ("downs.2.weight", "downs.2.bias"):
        _scale(model, name, 2.0**10)  # the weights themselves stay within float16
    i = next(i for i, n in enumerate(model.graph.node) if n.name == "downs.2")
    model.graph.initializer.append(numpy_helper.from_array(up / np.float32(2.0**10), "up"))
    model.graph.initializer.append(numpy_helper.from_array(down, "down"))
    shape = next(v for v in model.graph.value_info if v.name == "downs.2").type.tensor_type.shape.dim
    dims = [d.dim_value for d in shape]
    for name in ("downs.2.small", "downs.2.large"):
        model.graph.value_info.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims))
    conv = model.graph.node[i]
    conv.output[0] = "downs.2.small"
    model.graph.node.insert(i + 1, helper.make_node("Mul", ["downs.2.small", "up"], ["downs.2.large"], "downs.2.up"))
    model.graph.node.insert(i + 2, helper.make_node("Mul", ["downs.2.large", "down"], ["downs.2"], "downs.2.down"))
    onnx.save(model, path)
    return Trunk(path, trunk.height, trunk.width, trunk.info)
