"""The onnx target: the trunk itself for ONNX Runtime, in float32 or in half precision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def session(model: bytes, threads: int = 1) -> InferenceSession:
    """Open a model on ONNX Runtime's CPU provider.

    Args:
        model: The serialised model.
        threads: Threads inside one operator.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
