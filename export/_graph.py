"""Small pure steps on an ONNX graph: read, name, strip, look for what must not be there. onnx is imported inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import InputError, UnsupportedOpError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from onnx import ModelProto, NodeProto, TensorProto

OPSET = 18
IR_VERSION = 10
"""Enough for the opset, and read by every ONNX Runtime since 1.18."""
_PARAMETERS = (".weight", ".bias")


def read(path: Path) -> ModelProto:
    """Read an ONNX file with all its weights in memory.

    Args:
        path: The file; external data is read only from its own folder or below.

    Raises:
        InputError: No such file, not ONNX, truncated, or external data is missing or lies outside the folder.
        UnsupportedOpError: Operators that the ONNX standard does not have; all are listed.
    """
    import onnx
    import onnx.inliner
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise InputError(f"{path}: no such file; expected an ONNX model")
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise InputError(_broken(path, error)) from error
    for tensor in _tensors(model):
        _inside(path, tensor)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (onnx.checker.ValidationError, OSError, ValueError) as error:
        raise InputError(f"{path}: its external data cannot be read ({error}); copy its files again") from error
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        _refuse_unknown(path, model)
        onnx.checker.check_model(model)  # finds what still parses after a truncation
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise InputError(_broken(path, error)) from error
    return model


def _broken(path: Path, error: Exception) -> str:
    reason = (str(error).strip() or "parse error").splitlines()[0]
    return f"{path}: not a whole ONNX model ({path.stat().st_size} bytes; {reason}); export or copy it again"


def _refuse_unknown(path: Path, model: ModelProto) -> None:
    """Refuse operators that no standard defines, all at once."""
    import onnx

    unknown = [n for n in model.graph.node if n.domain not in ("", "ai.onnx") or not onnx.defs.has(n.op_type)]
    if unknown:
        kinds = [f"{n.domain}::{n.op_type}" if n.domain else n.op_type for n in unknown]
        lines = [f"node {n.name or n.output[0]}: {kind}" for n, kind in zip(unknown, kinds, strict=True)]
        raise UnsupportedOpError(
            "\n  ".join([f"{path}: {len(unknown)} operators outside the ONNX standard; express them with it:", *lines])
        )


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every weight: initialisers and constants."""
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def _inside(path: Path, tensor: TensorProto) -> None:
    """Refuse a tensor whose external data is not a file in the model's own folder."""
    import onnx

    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    location = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
    folder = path.parent.resolve()
    if not (folder / location).resolve().is_relative_to(folder):
        raise InputError(
            f"{path}: tensor {tensor.name} keeps its data in {location!r}, outside the model's folder; "
            "move the data beside the model or save it with the weights inside"
        )
    if not (folder / location).is_file():
        raise InputError(
            f"{path}: tensor {tensor.name} keeps its data in {location!r}, which is not there; copy it too"
        )


def strip(model: ModelProto) -> None:
    """Remove stack traces, source paths and other traces of the exporter from every part of the graph, in place."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]
    del model.metadata_props[:]
    model.doc_string = model.domain = ""
    model.model_version = 0
    model.ir_version = IR_VERSION
    graph.name = "edgemat"


def rename(model: ModelProto, names: dict[str, str]) -> None:
    """Rename tensors everywhere, in place; nodes of one output take its name where they are renamed.

    Args:
        model: Without subgraphs.
        names: Old to new; what is not in it stays.
    """
    graph = model.graph
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = names.get(value.name, value.name)


def lift_constants(model: ModelProto) -> None:
    """Turn Constant nodes into initialisers, in place, so that every weight lives in one kind of place."""
    import numpy as np
    from onnx import helper, numpy_helper

    kept = []
    for node in model.graph.node:
        if node.op_type != "Constant" or node.domain:
            kept.append(node)
            continue
        value = helper.get_attribute_value(node.attribute[0])
        kind = node.attribute[0].name
        if kind == "value":
            tensor = value
        elif kind in ("value_float", "value_floats"):
            tensor = numpy_helper.from_array(np.asarray(value, np.float32))
        elif kind in ("value_int", "value_ints"):
            tensor = numpy_helper.from_array(np.asarray(value, np.int64))
        else:
            kept.append(node)
            continue
        tensor.name = node.output[0]
        model.graph.initializer.append(tensor)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def name_by_module(model: ModelProto) -> None:
    """Give every tensor and node of a student a readable name, in place: the same net, the same names.

    A convolution is named after the module that holds its weight (``stages.1.0.first``), every other node after the
    latest named node that feeds it and its operator (``stages.1.0.first.relu``, ``laterals.0.resize``), and its
    constants after their slot (``laterals.0.resize.scales``). The output stays ``alpha``.
    """
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    order: dict[str, int] = {}
    base: dict[str, str] = {}
    names: dict[str, str] = {}
    taken = {value.name for value in (*graph.input, *graph.output)}
    for i, node in enumerate(graph.node):
        module = _module_of(node, weights)
        if module is None:
            fed_by = max((name for name in node.input if name in order), key=order.__getitem__, default="")
            module = base.get(fed_by, "")
            wanted = f"{module}.{node.op_type.lower()}".lstrip(".")
        else:
            wanted = module
        node.name = _free(wanted, taken)
        for output in node.output:
            order[output], base[output] = i, module
            if output not in {value.name for value in graph.output}:
                names[output] = node.name
        _name_constants(node, weights, names, taken)
    rename(model, names)


def _module_of(node: NodeProto, weights: set[str]) -> str | None:
    """Return ``a.b`` when the node holds a weight ``a.b.weight``."""
    for name in node.input:
        if name in weights and name.endswith(_PARAMETERS[0]):
            return str(name).removesuffix(_PARAMETERS[0])
    return None


def _name_constants(node: NodeProto, weights: set[str], names: dict[str, str], taken: set[str]) -> None:
    import onnx

    slots = onnx.defs.get_schema(node.op_type, OPSET, node.domain).inputs
    for i, name in enumerate(node.input):
        if name in weights and name not in names and not name.endswith(_PARAMETERS):
            slot = slots[min(i, len(slots) - 1)].name
            names[name] = _free(f"{node.name}.{slot}", taken)


def _free(wanted: str, taken: set[str]) -> str:
    """Return ``wanted``, numbered where it is taken, and take it."""
    name, i = wanted, 0
    while name in taken:
        i += 1
        name = f"{wanted}_{i}"
    taken.add(name)
    return name


def shape(value: object) -> tuple[int | str, ...]:
    """Return the shape of a ValueInfoProto: an int where it is fixed, a text (``?`` when unnamed) where it is not."""
    dims = value.type.tensor_type.shape.dim  # type: ignore[attr-defined]
    return tuple(int(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in dims)


def initializers(model: ModelProto) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
    """Yield name and values of every initialiser."""
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor)


def size_of(tensor: TensorProto) -> int:
    """Return the bytes of a tensor's values."""
    from onnx import numpy_helper

    return int(numpy_helper.to_array(tensor).nbytes)


def not_finite(model: ModelProto) -> list[str]:
    """Return a line for each initialiser that holds NaN or infinite values."""
    import numpy as np

    lines = []
    for name, array in initializers(model):
        if np.issubdtype(array.dtype, np.floating):
            bad = int((~np.isfinite(array)).sum())
            if bad:
                lines.append(f"{name}: {bad} of {array.size} values NaN or infinite")
    return lines


def opset_of(model: ModelProto) -> int:
    """Return the version of the standard operator set that the model states, 0 when it states none."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
