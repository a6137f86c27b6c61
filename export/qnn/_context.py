"""Read a compiled context: an ONNX file of one EPContext node that holds QNN's binary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from edgemat.errors import InputError
from edgemat.export import _npu

OLDEST = "SM8450"
"""The chip that rounds in a way of its own (`edgemat.quantize.rounding`); all others are alike, code for code."""


def read(path: Path) -> onnx.ModelProto:
    """Return a context.

    Raises:
        InputError: It cannot be read, or is no whole ONNX file.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); export the model again") from error
    except DecodeError as error:
        raise InputError(f"{path}: not a whole ONNX file ({error}); export the model again") from error
    if not model.graph.node:
        raise InputError(f"{path}: no node inside, expected an EPContext; export the model again")
    return model


def complaints(model: onnx.ModelProto, chip: str) -> Iterator[str]:
    """Yield what is wrong with a context: it is one EPContext node, whose binary was made for the chip."""
    nodes = [f"{node.domain}:{node.op_type}" for node in model.graph.node]
    if nodes != ["com.microsoft:EPContext"]:
        yield f"found {nodes[:5]}, expected one com.microsoft:EPContext"
        return
    held = {attribute.name: attribute for attribute in model.graph.node[0].attribute}
    if "embed_mode" not in held or held["embed_mode"].i != 1 or "ep_cache_context" not in held:
        yield "its binary is not inside"
        return
    yield from _npu.htp_complaints(held["ep_cache_context"].s, chip)
