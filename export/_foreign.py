"""Read another team's ONNX file and turn it into what the trunk is made from, or say what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export import _graph
from edgemat.export._target import ModelInfo

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto


@dataclass(frozen=True)
class Foreign:
    """A network of another team, ready to become a trunk.

    Attributes:
        original: As it was read, with a fixed input; what the trunk is compared with.
        model: Opset 18, input ``image``, output ``alpha``, every node named.
        input: The input's name in ``original``.
        height: Rows.
        width: Columns.
        info: What its metadata say, or that they do not.
    """

    original: ModelProto
    model: ModelProto
    input: str
    height: int
    width: int
    info: ModelInfo


def read(path: Path, size: tuple[int, int] | None) -> Foreign:
    """Read, check and prepare an ONNX file.

    Args:
        path: The file.
        size: Height and width for an input that leaves them open; None where they are fixed.

    Raises:
        InputError: Not one RGB image in and one matte out, open shapes without a size, weights that are NaN,
            infinite or not float32, or an opset that cannot be brought to 18.
        UnsupportedOpError: Operators outside the ONNX standard, or control flow; all are listed.
    """
    import onnx

    model = _graph.read(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]  # old files list their weights too
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    _check_interface(path, model)
    _check_weights(path, model)
    _refuse_control_flow(path, model)
    height, width = _fix_size(path, model.graph.input[0], size)
    del model.graph.value_info[:]
    _declare_output(model.graph.output[0], (1, 1, height, width))
    original = onnx.ModelProto()
    original.CopyFrom(model)
    model = _at_opset(path, model)
    _name(model)
    return Foreign(original, model, original.graph.input[0].name, height, width, _info(path, original))


def _check_interface(path: Path, model: ModelProto) -> None:
    """Refuse anything but one float32 image of three channels in and one float32 tensor of four dimensions out."""
    from onnx import TensorProto

    def words(values: list[ValueInfoProto]) -> str:
        kinds = [TensorProto.DataType.Name(v.type.tensor_type.elem_type) for v in values]
        return ", ".join(f"{v.name} {kind} {_graph.shape(v)}" for v, kind in zip(values, kinds, strict=True)) or "none"

    inputs, outputs = list(model.graph.input), list(model.graph.output)
    good = len(inputs) == 1 and inputs[0].type.tensor_type.elem_type == TensorProto.FLOAT
    if not good or len(shape := _graph.shape(inputs[0])) != 4 or shape[1] != 3:
        raise InputError(f"{path}: inputs: {words(inputs)}; expected one RGB image, FLOAT (1, 3, H, W), in [0, 1]")
    if len(outputs) != 1 or outputs[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        raise InputError(
            f"{path}: outputs: {words(outputs)}; expected one matte, FLOAT (1, 1, H, W), in [0, 1]; "
            "export the network with that output alone"
        )


def _check_weights(path: Path, model: ModelProto) -> None:
    """Refuse weights that are NaN or infinite, or of a float type other than float32."""
    lines = _graph.not_finite(model)
    lines += [
        f"{name}: {array.dtype}, expected float32"
        for name, array in _graph.initializers(model)
        if array.dtype.kind not in "iub" and array.dtype != "float32"
    ]
    if lines:
        head = f"{path}: {len(lines)} weights that cannot be used; export it again"
        raise InputError("\n  ".join([head, *lines[:10]]))


def _refuse_control_flow(path: Path, model: ModelProto) -> None:
    found = [n for n in model.graph.node if any(a.HasField("g") or a.graphs for a in n.attribute)]
    if found:
        nodes = "\n  ".join(f"node {node.name or node.output[0]}: {node.op_type}" for node in found)
        raise UnsupportedOpError(f"{path}: control flow is not supported; export without it:\n  {nodes}")


def _fix_size(path: Path, value: ValueInfoProto, size: tuple[int, int] | None) -> tuple[int, int]:
    """Set batch 1 and the size on an open input; return height and width."""
    shape = _graph.shape(value)
    batch, _, height, width = shape
    if isinstance(batch, int) and batch != 1:
        raise InputError(f"{path}: input {value.name} has shape {shape}, a batch of {batch}; export it with batch 1")
    if all(isinstance(n, int) for n in shape):
        if size not in (None, (height, width)):
            raise InputError(f"{path}: input {value.name} is fixed at {height}x{width}; drop --size, or export it anew")
        return int(height), int(width)
    if size is None:
        known = isinstance(height, int) and isinstance(width, int)
        wanted = f"{height}x{width}" if known else "HxW, such as --size 256x256"
        raise InputError(f"{path}: input {value.name} has open shape {shape}; fix it with --size {wanted}")
    if any(isinstance(n, int) and n != wanted for n, wanted in zip((height, width), size, strict=True)):
        raise InputError(f"{path}: input {value.name} has shape {shape}, which --size {size[0]}x{size[1]} contradicts")
    for dim, n in zip(value.type.tensor_type.shape.dim, (1, 3, *size), strict=True):
        dim.Clear()
        dim.dim_value = n
    return size


def _declare_output(value: ValueInfoProto, shape: tuple[int, ...]) -> None:
    """State the shape that the output must have; running the network then proves it."""
    dims = value.type.tensor_type.shape.dim
    del dims[:]
    for n in shape:
        dims.add().dim_value = n


def _at_opset(path: Path, model: ModelProto) -> ModelProto:
    """Bring a model to the trunk's opset and read the result back: a converter may fail and keep the old one."""
    from onnx import helper, version_converter

    before = _graph.opset_of(model)
    if before != _graph.OPSET:
        try:
            model = version_converter.convert_version(model, _graph.OPSET)
        except Exception as error:  # its C++ part raises bare RuntimeErrors
            reason = str(error).strip().splitlines()[-1][:200]
            raise InputError(
                f"{path}: opset {before} cannot be brought to {_graph.OPSET} ({reason}); "
                f"export it with opset_version={_graph.OPSET}"
            ) from error
    if _graph.opset_of(model) != _graph.OPSET:
        raise InputError(
            f"{path}: opset {before} became {_graph.opset_of(model)}, expected {_graph.OPSET}; "
            f"export it with opset_version={_graph.OPSET}"
        )
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", _graph.OPSET))
    return model


def _name(model: ModelProto) -> None:
    """Call input and output as every target expects them; name each node that has no name of its own."""
    graph = model.graph
    names = {graph.input[0].name: "image", graph.output[0].name: "alpha"}
    for other in {name for node in graph.node for name in (*node.input, *node.output)}:
        if other in ("image", "alpha") and other not in names:
            names[other] = f"{other}.inner"
    _graph.rename(model, names)
    taken: set[str] = set()
    for node in graph.node:
        if not node.name or node.name in taken:
            node.name = next(filter(None, node.output))
        taken.add(node.name)


def _info(path: Path, model: ModelProto) -> ModelInfo:
    props = {entry.key: entry.value for entry in model.metadata_props}
    return ModelInfo(
        name=re.sub(r"[^A-Za-z0-9_-]+", "_", path.stem),
        version=props.get("version") or "not stated",
        author=props.get("author") or model.producer_name or "not stated",
        license=props.get("license") or "not stated",
        description=props.get("description") or model.doc_string or f"Matting network of {path.name}.",
        extra={},
    )
