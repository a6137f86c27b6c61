"""Run a file for TensorRT: its engine where TensorRT and a GPU are, else its graph, unfused, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgemat.errors import InputError
from edgemat.export import _graph
from edgemat.export._target import Runner
from edgemat.export.onnx import to_floats
from edgemat.export.tensorrt import _engine, _readback
from edgemat.quantize import qdq

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgemat.export._target import Alphas, Images, Tensors
    from edgemat.quantize.grid import Codes


def load(path: Path) -> Runner:
    """Open a file: with TensorRT where it can run, else with ONNX Runtime.

    Raises:
        InputError: The file is no whole ONNX model, or the runtime refuses it.
    """
    graph = GraphRunner(path)
    if _engine.unavailable() is not None:
        return graph
    return _engine.EngineRunner(path, graph)


class GraphRunner(Runner):
    """The graph as it stands, operator by operator in float32, every tensor between them rounded to its codes.

    ONNX Runtime's optimisations are off: they move pairs, and compute in int8 by their own rules what a budget keeps.

    Args:
        path: What `edgemat.export.tensorrt._write.convert` wrote.

    Raises:
        InputError: The file is no whole ONNX model, or ONNX Runtime cannot run it.
    """

    rounding = "unfused"

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self._path, self._model = path, _graph.read(path)
        self._session = self._open(self._model)
        self._codes = [n.output[0] for n in self._model.graph.node if n.op_type == "QuantizeLinear"]
        self._shown: Any = None

    def _open(self, model: ModelProto) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            raise InputError(f"{self._path}: ONNX Runtime cannot run it: {error}; export it again") from error

    def run(self, images: Images) -> Alphas:
        """Return alpha, float32, (N, H, W), of RGB images, uint8, (N, H, W, 3)."""
        return np.stack([self._session.run(["alpha"], {"image": image})[0][0, 0] for image in to_floats(images)])

    def codes(self, image: Images) -> Mapping[str, Codes]:
        """Return what every QuantizeLinear makes of one image, uint8, (H, W, 3)."""
        found = self._outputs(image)
        height, width = image.shape[:2]
        codes = {name.removesuffix(qdq.CODES): value.astype(np.int32) for name, value in found.items()}
        pad = next((n for n in self._model.graph.node if n.name == "image#pad"), None)
        if pad is not None:
            pads = next(values for name, values in _graph.initializers(self._model) if name == pad.input[1])
            codes["image"] = codes["image"][:, :, pads[2] : pads[2] + height, pads[3] : pads[3] + width]
        return codes

    def trace(self, image: Images) -> Tensors:
        """Return what the codes of one image, uint8, (H, W, 3), stand for."""
        scales = _readback.scales(self._path).activations
        found = {}
        for name, codes in self.codes(image).items():
            if name != "image":
                scale, zero = scales[name]
                found[name] = ((codes - zero) * np.float64(scale)).astype(np.float32)
        return found

    def _outputs(self, image: Images) -> dict[str, Any]:
        import onnx

        if self._shown is None:
            model = onnx.ModelProto()
            model.CopyFrom(self._model)
            del model.graph.output[:]
            model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._codes)
            self._shown = self._open(model)
        return dict(zip(self._codes, self._shown.run(self._codes, {"image": to_floats(image[None])[0]}), strict=True))
