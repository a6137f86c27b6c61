"""Read an ONNX trunk for the emitter, and the error by which one node is refused."""

from __future__ import annotations

from pathlib import Path

from edgemat.export import _graph
from edgemat.quantize import graph
from edgemat.quantize.graph import Array, Graph, Node

__all__ = ["Array", "Graph", "Node", "RefusedError", "read"]


class RefusedError(Exception):
    """One node cannot be translated; the message says why. The emitter collects them all before it gives up."""


def read(path: Path) -> Graph:
    """Read an ONNX file.

    Args:
        path: ONNX with fixed shapes and its weights inside.

    Raises:
        InputError: The file is not ONNX, or the shapes of its tensors are not fixed or do not fit each other.
    """
    return graph.of(_graph.read(path), str(path))
