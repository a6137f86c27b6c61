"""Open an IR in a process of its own: OpenVINO leaves threads behind that make a later fork crash."""

from __future__ import annotations

from pathlib import Path

from edgemat.export._isolated import IsolatedRunner
from edgemat.export.openvino import _ir, _readback
from edgemat.export.openvino._write import BACKEND, GRAPH


def load(path: Path, threads: int = 1) -> IsolatedRunner:
    """Open an IR on OpenVINO's CPU plugin; a context manager.

    Args:
        path: The folder.
        threads: Of the inference.

    Raises:
        InputError: It is no whole IR, or OpenVINO refuses it.
        IsolatedError: OpenVINO crashed.
    """
    ir = _ir.read(path)
    arguments = {"scales": _readback.of(ir).activations, "threads": threads}
    return IsolatedRunner(f"{BACKEND}:open_model", path / GRAPH, arguments, rounding="openvino", threads=threads)
