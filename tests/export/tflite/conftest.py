"""Tiny ONNX graphs, converted and run in both runtimes."""

from __future__ import annotations

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
