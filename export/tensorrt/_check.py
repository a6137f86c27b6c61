"""Read a file for TensorRT back: whole, the declared interface, the metadata, and every rule."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto

from edgemat.export import _graph
from edgemat.export import onnx as onnx_target
from edgemat.export.tensorrt import _rules
from edgemat.export.tensorrt._write import SHIFTS, TRTEXEC
from edgemat.quantize import qdq

REQUIRED = (*onnx_target.REQUIRED, qdq.SCHEME, qdq.KEPT, SHIFTS, TRTEXEC)
"""Keys of the metadata of every file."""


def check(path: Path) -> tuple[str, ...]:
    """Return what is wrong with a file.

    Raises:
        InputError: It is no whole ONNX model.
    """
    model = _graph.read(path)
    found = []
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        found.append(f"onnx.checker: {error}")
    for values, name in ((model.graph.input, "image"), (model.graph.output, "alpha")):
        interface = [(v.name, v.type.tensor_type.elem_type) for v in values]
        if interface != [(name, TensorProto.FLOAT)]:
            found.append(f"found {interface}, expected one float32 tensor named {name}")
    facts = {entry.key: entry.value for entry in model.metadata_props}
    missing = [f"metadata: {key} is missing" for key in REQUIRED if not facts.get(key)]
    return (*found, *missing, *([] if missing else _rules.broken(model)))
