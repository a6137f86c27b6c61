"""Plant one fault in an ONNX graph, in place, as a wrong converter would; nodes are found by what they do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgemat.export._target import Trunk


def last_resize(model: ModelProto) -> NodeProto:
    """Return the resize nearest to the output."""
    return [node for node in model.graph.node if node.op_type == "Resize"][-1]


def inner_conv(model: ModelProto) -> NodeProto:
    """Return the convolution that feeds the last resize."""
    return next(node for node in model.graph.node if node.output[0] == last_resize(model).input[0])


def _weight(model: ModelProto, name: str) -> TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def scale(model: ModelProto, name: str, factor: float) -> None:
    """Multiply one weight tensor."""
    tensor = _weight(model, name)
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((array * factor).astype(array.dtype), name))


def _first_convs(model: ModelProto) -> list[NodeProto]:
    return [n for n in model.graph.node if n.op_type == "Conv" and n.input[0] in ("image", "image.half")]


def align_corners(model: ModelProto) -> None:
    """Resize as if the corners' centres were aligned."""
    attributes = last_resize(model).attribute
    next(a for a in attributes if a.name == "coordinate_transformation_mode").s = b"align_corners"


def mean_shifted(model: ModelProto, by: float = 0.1) -> None:
    """Add a constant to the image before the first convolutions: exact, as they have no padding."""
    for node in _first_convs(model):
        weight = numpy_helper.to_array(_weight(model, node.input[1])).astype(np.float64)
        bias = _weight(model, node.input[2])
        array = numpy_helper.to_array(bias)
        moved = (array + by * weight.sum((1, 2, 3))).astype(array.dtype)
        bias.CopyFrom(numpy_helper.from_array(moved, bias.name))


def channels_swapped(model: ModelProto) -> None:
    """Read BGR where RGB is given."""
    for node in _first_convs(model):
        weight = _weight(model, node.input[1])
        swapped = np.ascontiguousarray(numpy_helper.to_array(weight)[:, ::-1])
        weight.CopyFrom(numpy_helper.from_array(swapped, weight.name))


def bias_dropped(model: ModelProto) -> None:
    """Forget one convolution's bias."""
    scale(model, inner_conv(model).input[2], 0.0)


FAULTS = {f.__name__: f for f in (align_corners, mean_shifted, channels_swapped, bias_dropped)}


def overflowing(trunk: Trunk, path: Path) -> Trunk:
    """Return a trunk with a tensor ``large`` that is fine in float32 and beyond float16; its function stays."""
    model = onnx.load(trunk.path)
    conv = inner_conv(model)
    name = conv.output[0]
    for weight in conv.input[1:]:
        scale(model, weight, 2.0**10)  # the weights themselves stay within float16
    for constant, value in (("up", 2.0**7), ("down", 2.0**-17)):
        model.graph.initializer.append(numpy_helper.from_array(np.float32(value), constant))
    known = next(v for v in model.graph.value_info if v.name == name)
    dims = [dim.dim_value for dim in known.type.tensor_type.shape.dim]
    for tensor in ("small", "large"):
        model.graph.value_info.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, dims))
    conv.output[0] = "small"
    i = list(model.graph.node).index(conv)
    model.graph.node.insert(i + 1, helper.make_node("Mul", ["small", "up"], ["large"], "scale_up"))
    model.graph.node.insert(i + 2, helper.make_node("Mul", ["large", "down"], [name], "scale_down"))
    onnx.save(model, path)
    return Trunk(path, trunk.height, trunk.width, trunk.info)
