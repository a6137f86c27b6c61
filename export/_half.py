"""Half precision for an ONNX graph: convert to float16, and imitate its rounding in float32 where no kernel has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgemat.errors import InputError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

LARGEST = 65504.0
"""The largest finite float16."""
SMALLEST_NORMAL = 2.0**-14
"""Below it float16 loses bits, down to 2^-24, the smallest number that is not zero."""
_FLOAT_SLOTS = {"Resize": (1, 2)}
"""Inputs that the operator wants in float32 whatever the type of its data: roi and scales."""


def to_half(model: ModelProto) -> ModelProto:
    """Return the graph with weights and computation in float16; input and output stay float32 behind a Cast.

    Args:
        model: A trunk: float32, one input, one output.

    Raises:
        InputError: A weight is beyond float16: above 65504, or a whole weight tensor below its smallest normal number.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    del graph.value_info[:]
    keep = {node.input[i] for node in graph.node for i in _float_slots(node)}
    _refuse_beyond_half(half, keep)
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in keep:
            narrow = numpy_helper.to_array(tensor).astype("float16")
            tensor.CopyFrom(numpy_helper.from_array(narrow, tensor.name))
    source, goal = graph.input[0].name, graph.output[0].name
    names = {name: f"{name}.half" for name in (source, goal)}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    first = helper.make_node("Cast", [source], [names[source]], names[source], to=TensorProto.FLOAT16)
    last = helper.make_node("Cast", [names[goal]], [goal], f"{goal}.float", to=TensorProto.FLOAT)
    nodes = [first, *graph.node, last]
    del graph.node[:]
    graph.node.extend(nodes)
    return onnx.shape_inference.infer_shapes(half, check_type=True, strict_mode=True, data_prop=True)


def _float_slots(node: NodeProto) -> list[int]:
    return [i for i in _FLOAT_SLOTS.get(node.op_type, ()) if i < len(node.input)]


def _refuse_beyond_half(model: ModelProto, keep: set[str]) -> None:
    import numpy as np

    from edgemat.export import _graph

    lines = []
    for name, array in _graph.initializers(model):
        if array.dtype != np.float32 or name in keep or not array.size:
            continue
        peak = float(np.abs(array).max())
        if peak > LARGEST:
            lines.append(f"{name}: peak {peak:.3g}, float16 ends at {LARGEST:.0f}")
        elif 0.0 < peak < SMALLEST_NORMAL and array.ndim > 1:
            lines.append(f"{name}: peak {peak:.3g}, float16 loses bits below {SMALLEST_NORMAL:.2g}")
    if lines:
        raise InputError("\n  ".join(["weights beyond float16; use --precision fp32, or rescale:", *lines[:10]]))


def imitate(model: ModelProto) -> ModelProto:
    """Return a float32 graph that gives what a float16 graph gives on hardware that rounds after every operator.

    ONNX Runtime's CPU provider has no float16 kernels on most machines: it computes such a graph in float32 and drops
    the rounding between two operators, so that even an overflow goes unseen. Here every tensor is cast to float16 and
    back, explicitly; sums inside an operator are float32, as accelerators have them.

    Args:
        model: What `to_half` returned.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    graph = wide.graph
    del graph.value_info[:]
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            array = numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    halves = {v.name for v in model.graph.value_info if v.type.tensor_type.elem_type == TensorProto.FLOAT16}
    nodes = []
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
        rounded = [name for name in node.output if name in halves]
        node.output[:] = [f"{name}.exact" if name in halves else name for name in node.output]
        nodes.append(node)
        for name in rounded:
            cast = helper.make_node("Cast", [f"{name}.exact"], [f"{name}.narrow"], to=TensorProto.FLOAT16)
            back = helper.make_node("Cast", [f"{name}.narrow"], [name], to=TensorProto.FLOAT)
            nodes += [cast, back]
    del graph.node[:]
    graph.node.extend(nodes)
    return wide
