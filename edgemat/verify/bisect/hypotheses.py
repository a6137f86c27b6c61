"""Which mistake makes exactly what an artefact has: the trunk's nodes run again with one mistake each, and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from onnx import NodeProto

    from edgemat.verify.bisect.segment import Segment

Floats = npt.NDArray[np.float32]
Misfit = Callable[[Floats], tuple[float, float]]
"""A tensor to its mean difference from the artefact's, and the share of the values that agree, in [0, 1]."""
_AGREE = 0.99
"""Share of the values that must agree with a mistake."""
_BETTER = 0.2
"""A mistake explains a difference that it leaves this much of, at most."""
_COORDINATES = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")
_ACTIVATIONS = ("Clip", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh")


def explain(segment: Segment, fed: Mapping[str, Floats], misfit: Misfit) -> str:
    """Return the mistake that an artefact makes, in a few words; empty where none explains what it has.

    Args:
        segment: What makes the tensor.
        fed: The artefact's own tensors before it, float32.
        misfit: Compares a tensor with the artefact's.
    """
    left, text = misfit(segment.run(fed))[0] * _BETTER, ""
    for words, altered in _mistakes(segment):
        try:
            mean, share = misfit(altered.run(fed))
        except Exception:  # an alteration that no runtime accepts is not what the artefact does
            continue
        if share >= _AGREE and mean < left:
            left, text = mean, words
    return text


def _mistakes(segment: Segment) -> Iterator[tuple[str, Segment]]:
    """Yield the segment with one mistake each."""
    for place, node in enumerate(segment.nodes):
        for words, nodes, constants in _of(segment, node):
            yield words, segment.altered((*segment.nodes[:place], *nodes, *segment.nodes[place + 1 :]), constants)


_Mistake = tuple[str, tuple["NodeProto", ...], dict[str, npt.NDArray[Any]]]


def _of(segment: Segment, node: NodeProto) -> Iterator[_Mistake]:
    makers: dict[str, Callable[[Segment, NodeProto], Iterator[_Mistake]]] = {
        "Resize": _resizes,
        "Conv": _convolutions,
        "ConvTranspose": _convolutions,
        "Add": _sums,
        "Sub": _sums,
        "Concat": _concatenations,
        "DepthToSpace": _blocks,
        "Clip": _clips,
    }
    if node.op_type in makers:
        yield from makers[node.op_type](segment, node)
    if node.op_type in _ACTIVATIONS:
        yield f"{node.op_type} {node.name} is missing", (_identity(node),), {}


def _resizes(segment: Segment, node: NodeProto) -> Iterator[_Mistake]:
    stated = _attributes(node)
    is_linear = stated.get("mode", "nearest") == "linear"
    now = stated.get("coordinate_transformation_mode", "half_pixel")
    for mode in _COORDINATES:
        for kind in ("linear", "nearest"):
            if (mode, kind) != (now, "linear" if is_linear else "nearest"):
                words = f"the resize is {kind} with {mode}, the trunk states {stated.get('mode', 'nearest')} with {now}"
                yield words, (_with(node, mode=kind, coordinate_transformation_mode=mode),), {}
    for size, words in ((-2, "rows"), (-1, "columns")):
        yield (
            f"the result of the resize is moved by one pixel along its {words}",
            _moved(node, size, segment),
            {},
        )


def _convolutions(segment: Segment, node: NodeProto) -> Iterator[_Mistake]:
    constants, stated = segment.graph.constants, _attributes(node)
    weight, bias = node.input[1], node.input[2] if len(node.input) > 2 else ""
    if weight not in constants:
        return
    value = constants[weight]
    if bias in constants:
        yield f"the bias of {node.name} is missing", (node,), {bias: np.zeros_like(constants[bias])}
        yield f"the bias of {node.name} is added twice", (node,), {bias: 2 * constants[bias]}
        yield f"the bias of {node.name} has the opposite sign", (node,), {bias: -constants[bias]}
    inputs = 1 if node.op_type == "Conv" else 0
    if value.shape[inputs] > 1:
        is_image = node.input[0] in segment.graph.inputs
        words = "R and B are swapped (BGR)" if is_image else "the input channels are reversed"
        yield f"{words} where {node.name} reads them", (node,), {weight: np.flip(value, inputs)}
    yield f"the output channels of {node.name} are reversed", (node,), {weight: np.flip(value, 1 - inputs)}
    yield (
        f"the weight of {node.name} is flipped (convolution, not correlation)",
        (node,),
        {weight: value[..., ::-1, ::-1]},
    )
    yield f"the weight of {node.name} has rows and columns swapped", (node,), {weight: value.swapaxes(-1, -2)}
    yield from _paddings(node, stated)


def _paddings(node: NodeProto, stated: Mapping[str, Any]) -> Iterator[_Mistake]:
    from onnx import helper

    pads = list(stated.get("pads", ()))
    if node.op_type != "Conv" or not any(pads):
        return
    top, left, bottom, right = pads
    for moved in ((0, 0, top + bottom, left + right), (top + bottom, left + right, 0, 0)):
        if list(moved) != pads:
            yield f"{node.name} pads {list(moved)}, the trunk states {pads}", (_with(node, pads=list(moved)),), {}
    for mode in ("edge", "reflect"):
        around = f"{node.name}@pads"
        pad = helper.make_node("Pad", [node.input[0], around], [f"{node.name}@padded"], f"{node.name}@pad", mode=mode)
        bare = _with(node, pads=[0, 0, 0, 0])
        bare.input[0] = pad.output[0]
        sizes = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
        yield f"{node.name} pads with {mode} values, the trunk with zeros", (pad, bare), {around: sizes}


def _sums(segment: Segment, node: NodeProto) -> Iterator[_Mistake]:
    del segment
    for place in (0, 1):
        words = f"{node.name} leaves out {node.input[1 - place]}"
        yield words, (_identity(node, place),), {}
    other = _copy(node)
    other.op_type = "Sub" if node.op_type == "Add" else "Add"
    yield f"{node.name} is {'a difference' if other.op_type == 'Sub' else 'a sum'}", (other,), {}


def _concatenations(segment: Segment, node: NodeProto) -> Iterator[_Mistake]:
    del segment
    other = _copy(node)
    other.input[:] = list(node.input)[::-1]
    yield f"{node.name} joins its inputs in reverse order", (other,), {}


def _blocks(segment: Segment, node: NodeProto) -> Iterator[_Mistake]:
    del segment
    now = _attributes(node).get("mode", "DCR")
    other = "DCR" if now == "CRD" else "CRD"
    yield f"{node.name} orders channels as {other}, the trunk states {now}", (_with(node, mode=other),), {}


def _clips(segment: Segment, node: NodeProto) -> Iterator[_Mistake]:
    del segment
    for place, end in ((1, "lower"), (2, "upper")):
        if len(node.input) > place and node.input[place]:
            other = _copy(node)
            other.input[place] = ""
            yield f"{node.name} has no {end} bound", (other,), {}


def _moved(node: NodeProto, axis: int, segment: Segment) -> tuple[NodeProto, ...]:
    """Return a node whose output is moved by one pixel, the last row or column repeated."""
    from onnx import helper, numpy_helper

    goal = node.output[0]
    first, size = _copy(node), segment.graph.shapes[goal][axis]
    first.output[0] = f"{goal}@before"
    places = numpy_helper.from_array(np.minimum(np.arange(size) + 1, size - 1))
    index = helper.make_node("Constant", [], [f"{goal}@index"], value=places)
    return first, index, helper.make_node("Gather", [first.output[0], index.output[0]], [goal], axis=4 + axis)


def _identity(node: NodeProto, place: int = 0) -> NodeProto:
    from onnx import helper

    return helper.make_node("Identity", [node.input[place]], list(node.output), node.name)


def _copy(node: NodeProto) -> NodeProto:
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _with(node: NodeProto, **attributes: Any) -> NodeProto:
    """Return a copy of a node that states other attributes."""
    from onnx import helper

    copy = _copy(node)
    kept = [attribute for attribute in copy.attribute if attribute.name not in attributes]
    del copy.attribute[:]
    copy.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in attributes.items())])
    return copy


def _attributes(node: NodeProto) -> dict[str, Any]:
    from onnx import helper

    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}
