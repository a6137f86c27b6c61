"""Write an asset: the trunk as ONNX, in float or with its grid stated, translated in a process of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from edgemat.export import _isolated
from edgemat.export import onnx as plain
from edgemat.files import atomic_path
from edgemat.quantize import qdq

if TYPE_CHECKING:
    from edgemat.export._target import Trunk

CHILD = "edgemat.export.coreai._child"
METADATA = "metadata.json"
TIMEOUT = 300.0
"""Seconds that a conversion may take; the student's takes one."""
_DATE = "creationDate"


def convert(trunk: Trunk, precision: str, path: Path) -> None:
    """Write an asset.

    Args:
        trunk: With a grid for ``int8``.
        precision: ``fp32``; ``int8``: codes between operators, floats in and out.
        path: The goal, a folder that ends in .aimodel.

    Raises:
        UnsupportedOpError: Operators that Core AI or the grid does not have.
        InputError: The grid breaks a rule.
        IsolatedError: Core AI crashed or hung.
    """
    with atomic_path(path) as folder:
        source, made = folder.with_name("source.onnx"), folder.with_name("made.aimodel")
        if precision == "int8":
            model = _on_grid(trunk)
            plain.describe(model, trunk, precision)
            source.write_bytes(model.SerializeToString(deterministic=True))
        else:
            plain.convert(trunk, precision, source)
        facts = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
        arguments = {"source": str(source), "goal": str(made), "metadata": facts}
        _isolated.call(f"{CHILD}:convert", arguments, timeout=TIMEOUT)
        _settle(made / METADATA)
        os.replace(made, folder)


def _on_grid(trunk: Trunk) -> onnx.ModelProto:
    """Return the trunk with its grid stated; Core AI dequantizes 8 bits alone, so that biases are floats."""
    assert trunk.grid is not None  # the frame has seen to it
    return with_float_biases(qdq.insert(onnx.load(trunk.path), trunk.grid, trunk.path.name))


def with_float_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a Q/DQ model, changed in place, whose biases are float32: the values that their codes stand for."""
    graph = model.graph
    values = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "DequantizeLinear"]:
        held = values.get(node.input[0])
        if held is not None and held.data_type == onnx.TensorProto.INT32:
            reals = numpy_helper.to_array(held).astype(np.float32) * numpy_helper.to_array(values[node.input[1]])
            graph.initializer.append(numpy_helper.from_array(reals.astype(np.float32), node.output[0]))
            graph.node.remove(node)
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
    onnx.checker.check_model(model, full_check=True)
    return model


def _settle(place: Path) -> None:
    """Write metadata again without the time, keys in order: Core AI writes them at random."""
    stated = json.loads(place.read_text(encoding="utf-8"))
    stated.pop(_DATE, None)
    place.write_text(json.dumps(stated, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
