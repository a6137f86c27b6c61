"""Read a .tflite file's tables: what every operator and tensor is, under the names that people know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgemat.errors import InputError
from edgemat.export.tflite import _metadata
from edgemat.quantize.scheme import Scheme

WEIGHTED = {"CONV_2D": (1, 0), "DEPTHWISE_CONV_2D": (1, 3), "TRANSPOSE_CONV": (1, 0)}
"""Operators with a weight: its position among the inputs, and the axis of its output channels."""
IMAGE = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 0, "TRANSPOSE_CONV": 2}
"""The position of the activation that they read."""
BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "TRANSPOSE_CONV": 3}
"""The position of their bias."""

_TYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
_OPS = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


def read_bytes(path: Path) -> bytes:
    """Return the content of a .tflite file.

    Raises:
        InputError: It cannot be read, or is not a TFLite FlatBuffer.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a .tflite file") from error
    if content[4:8] != b"TFL3":
        raise InputError(f"{path}: identifier {content[4:8]!r}, expected b'TFL3': not a .tflite file, or damaged")
    return content


def read_model(content: bytes) -> Any:
    """Return the schema's object API (``ModelT``) of a file that LiteRT has verified."""
    return schema.ModelT.InitFromPackedBuf(content, 0)


def verified(path: Path) -> Any:
    """Return the schema's object API of a file, after LiteRT has found its tables whole; nothing is run.

    Raises:
        InputError: It cannot be read, or is no whole .tflite file.
    """
    content = read_bytes(path)
    try:
        # without allocating tensors: a file compiled for an NPU has operators that only its driver knows
        Interpreter(
            model_content=content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path}: LiteRT cannot read it ({error}); export the model again") from error
    return read_model(content)


def metadata_of(model: Any) -> dict[str, bytes]:
    """Return the metadata entries of a model, name to content."""
    entries = {entry.name.decode(): model.buffers[entry.buffer].data for entry in model.metadata or ()}
    return {name: b"" if data is None else bytes(data) for name, data in entries.items()}


def stated(model: Any) -> dict[str, Any]:
    """Return what this project's own metadata says of a model: its precision, its grid; empty where there is none.

    Raises:
        ValueError: It is no JSON object.
    """
    found = json.loads(metadata_of(model).get(_metadata.EXTRA, b"{}"))
    if not isinstance(found, dict):
        raise ValueError(f"expected an object, found {type(found).__name__}")
    return found


def kind_of(model: Any, operator: Any) -> str:
    """Return an operator's type as the format calls it; of a custom one its own name."""
    code = model.operatorCodes[operator.opcodeIndex]
    # a converter of before 2020 fills the old field alone
    number = max(int(code.builtinCode or 0), int(code.deprecatedBuiltinCode or 0))
    kind = _OPS.get(number, f"BUILTIN_{number}")
    return (code.customCode or b"CUSTOM").decode() if kind == "CUSTOM" else kind


def name_of(graph: Any, index: int) -> str:
    """Return a tensor's name."""
    name = graph.tensors[index].name
    return name.decode() if isinstance(name, bytes) else str(name or f"tensor {index}")


def type_of(graph: Any, index: int) -> str:
    """Return a tensor's type as numpy calls it."""
    kind: str = _TYPES[graph.tensors[index].type]
    return kind


def shape_of(graph: Any, index: int) -> tuple[int, ...]:
    """Return a tensor's shape."""
    shape = graph.tensors[index].shape
    return () if shape is None else tuple(int(size) for size in shape)


def grid_of(graph: Any, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return a tensor's scales and zero points, one or one a channel; empty where it has none."""
    found = graph.tensors[index].quantization
    if found is None or found.scale is None:
        return np.zeros(0, np.float32), np.zeros(0, np.int64)
    zeros = found.zeroPoint if found.zeroPoint is not None else np.zeros(len(found.scale), np.int64)
    return np.asarray(found.scale, np.float32), np.asarray(zeros, np.int64)


def constants_of(model: Any) -> dict[int, int]:
    """Return the tensors that hold constants, each with its bytes."""
    sizes = {}
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        data = model.buffers[tensor.buffer].data
        if data is not None and len(data):
            sizes[index] = len(data)
    return sizes


def activations_of(model: Any) -> tuple[int, ...]:
    """Return the tensors that are no constants and not made of one alone (stored weights, widened), in order."""
    graph, stored = model.subgraphs[0], constants_of(model)
    made = [int(i) for op in graph.operators if not set(map(int, op.inputs)) <= set(stored) for i in op.outputs]
    return (*map(int, graph.inputs), *made)


def orders_of(model: Any) -> dict[int, npt.NDArray[np.int64]]:
    """Return the tensors whose channels lie in another order than the trunk's, with the place of each in the trunk.

    They are named ``NAME#dcr`` and end in a DEPTH_TO_SPACE, which says how many cells it makes of a channel, or in the
    SPLIT that begins what stands for one (`edgemat.export.ethos_u`): into as many parts as a cell has rows.
    """
    graph, found = model.subgraphs[0], {}
    readers: dict[int, list[Any]] = {}
    for op in graph.operators:
        for index in map(int, op.inputs):
            readers.setdefault(index, []).append(op)
    for index in range(len(graph.tensors)):
        if not name_of(graph, index).endswith("#dcr"):
            continue
        following = index
        while (kind := kind_of(model, readers[following][0])) not in ("DEPTH_TO_SPACE", "SPLIT"):
            following = int(readers[following][0].outputs[0])
        options = readers[following][0].builtinOptions
        cells = (options.numSplits if kind == "SPLIT" else options.blockSize) ** 2
        found[index] = np.arange(shape_of(graph, index)[3]).reshape(-1, cells).T.ravel()
    return found


def shift_of(model: Any) -> int:
    """Return what to add to TFLite's int8 codes for the grid's: 128 where those count from 0."""
    low, _ = Scheme.parse(stated(model).get("scheme", Scheme().name)).limits
    return low + 128
