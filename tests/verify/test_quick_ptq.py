"""Quick int8 for timing: real int8 inside, 8-bit at both ends, and near the float network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgemat.errors import BackendMissingError
from edgemat.export import get
from edgemat.export._target import Trunk
from edgemat.export.onnx import OnnxRunner, session
from edgemat.verify import quick_ptq


def test_onnx_int8_takes_and_gives_8_bits(trunk: Trunk, images: np.ndarray) -> None:
    content = quick_ptq.onnx_int8(trunk.path, images)
    model = onnx.load_from_string(content)
    ends = [v.type.tensor_type.elem_type for v in (model.graph.input[0], model.graph.output[0])]
    assert ends == [onnx.TensorProto.UINT8] * 2
    assert any(t.data_type == onnx.TensorProto.INT8 for t in model.graph.initializer)
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2)[:1])
    codes = session(content).run(None, {"image": pixels})[0][0, 0]
    with OnnxRunner(trunk.path) as runner:
        alpha = runner.run(images[:1])[0]
    assert float(np.abs(codes / 255 - alpha).mean()) < 0.05 < float(np.abs(1 - codes / 255 - alpha).mean())


def test_tflite_int8_holds_int8_and_prints_nothing(
    trunk: Trunk, images: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ai_edge_quantizer")
    from ai_edge_litert.interpreter import Interpreter

    get("tflite").convert(trunk, "fp32", tmp_path / "float.tflite")
    interpreter = Interpreter(model_content=quick_ptq.tflite_int8(tmp_path / "float.tflite", images))
    interpreter.allocate_tensors()
    kinds = [t["dtype"] for t in interpreter.get_tensor_details()]
    assert kinds.count(np.int8) > kinds.count(np.float32)
    assert capsys.readouterr().out == ""


def test_a_missing_quantizer_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ai_edge_quantizer", None)
    with pytest.raises(BackendMissingError, match="pip install ai-edge-quantizer"):
        quick_ptq.tflite_int8(tmp_path / "none.tflite", np.zeros((1, 8, 8, 3), np.uint8))
