"""What stands in for Core AI's process in the tests of the oracle: ONNX Runtime, and ways to go wrong."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np


def in_onnxruntime(arguments: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the file as Core AI's process does, one example a call, with nothing fused."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(arguments["source"], options, providers=["CPUExecutionProvider"])
    names = [end.name for end in session.get_outputs()]
    (name,) = arrays
    found = [session.run(None, {name: example[None]}) for example in arrays[name]]
    return {}, {name: np.concatenate([outputs[i] for outputs in found]) for i, name in enumerate(names)}


def of_another_shape(arguments: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    _, found = in_onnxruntime(arguments, arrays)
    return {}, {name: value[:, :, :-1] for name, value in found.items()}


def without_numbers(arguments: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    _, found = in_onnxruntime(arguments, arrays)
    return {}, {name: value * np.float32(np.nan) for name, value in found.items()}


def a_little_off(arguments: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    _, found = in_onnxruntime(arguments, arrays)
    return {}, {name: (value * np.float32(0.9999)).astype(value.dtype) for name, value in found.items()}


def crash(arguments: dict[str, Any], arrays: dict[str, Any]) -> Any:
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)


def hang(arguments: dict[str, Any], arrays: dict[str, Any]) -> Any:
    time.sleep(60)


def raise_(arguments: dict[str, Any], arrays: dict[str, Any]) -> Any:
    raise RuntimeError("the beta has moved")
