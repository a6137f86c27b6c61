"""Tiny ONNX graphs, converted and run in both runtimes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("ai_edge_litert")
pytest.importorskip("onnx")

import onnx
from onnx import helper

from edgemat.export._target import ModelInfo, Trunk

Floats = npt.NDArray[np.float32]
Make = Callable[..., Trunk]
Outputs = Mapping[str, npt.NDArray[Any]]

OLD_PYTHON = "EDGEMAT_TFLITE_RUNTIME_PYTHON"
CHILD = Path(__file__).with_name("tflite_runtime_child.py")

INFO = ModelInfo("tiny", "1.0", "the tests", "Apache-2.0", "A tiny graph.", {"weights_sha256": "0" * 64})


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that writes a graph of one input and one output: nodes, constants, input shape (NCHW)."""

    def build(
        nodes: Sequence[onnx.NodeProto], constants: Mapping[str, npt.NDArray[Any]], shape: tuple[int, ...]
    ) -> Trunk:
        tensors = [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
        output = nodes[-1].output[0]
        x = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)
        y = helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)
        graph = helper.make_graph(list(nodes), "tiny", [x], [y], tensors)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid(*i) for i in (("", 18), ("com.example", 1))], ir_version=10
        )
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        path = tmp_path / "tiny.onnx"
        onnx.save(model, path)
        return Trunk(path, shape[2], shape[3], INFO)

    return build


@pytest.fixture(scope="session")
def run_elsewhere() -> Callable[[str, Path, npt.NDArray[np.uint8]], Outputs]:
    """Return a function: (python, file, images) to a file's outputs, by the tensor's index, from that Python."""

    def run(python: str, file: Path, images: npt.NDArray[np.uint8]) -> Outputs:
        codes, out = file.with_suffix(".npy"), file.with_suffix(".npz")
        np.save(codes, (images[:, None].astype(np.int16) - 128).astype(np.int8))
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        command = [python, str(CHILD), str(file), str(codes), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, env=clean, check=False)
        assert done.returncode == 0, done.stderr
        with np.load(out) as found:
            return dict(found)

    return run


@pytest.fixture
def old_runtime(
    run_elsewhere: Callable[[str, Path, npt.NDArray[np.uint8]], Outputs],
) -> Callable[[Path, npt.NDArray[np.uint8]], Outputs]:
    """Return a function that runs a file, with images, in tflite-runtime 2.14, and gives its outputs."""
    python = os.environ.get(OLD_PYTHON)
    if not python:
        pytest.skip(f"{OLD_PYTHON} names no Python with tflite-runtime 2.14; edgemat doctor says how to make one")

    def run(file: Path, images: npt.NDArray[np.uint8]) -> Outputs:
        found = dict(run_elsewhere(python, file, images))
        assert found.pop("versions")[0] == "2.14.0"
        return found

    return run
