"""Quick post-training quantization by other people's engines, only to learn how fast int8 would be.

These int8 files are for timing: the grid that ships comes from training, not from here.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.errors import BackendMissingError

Pixels = npt.NDArray[np.uint8]


def onnx_int8(trunk: Path, images: Pixels) -> bytes:
    """Quantize an ONNX file with ONNX Runtime's static quantizer: uint8 activations, int8 weights per channel, Q/DQ.

    The result takes 8-bit pixels and gives 8-bit alpha, as a phone has them.

    Args:
        trunk: Float32 ONNX with input ``image``, (1, 3, H, W), RGB in [0, 1].
        images: Calibration pixels, uint8, (N, H, W, 3).

    Returns:
        The serialised model.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds: Iterator[dict[str, Any]] = (
                {"image": image.transpose(2, 0, 1)[None].astype(np.float32) / 255} for image in images
            )

        def get_next(self) -> dict[str, Any] | None:
            return next(self.feeds, None)

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # the quantizer advises pre-processing on the root logger; the trunk has had it
    try:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "int8.onnx"
            quantize_static(
                trunk,
                out,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            return _with_integer_ends(out)
    finally:
        root.setLevel(level)


def _with_integer_ends(path: Path) -> bytes:
    """Take off the first QuantizeLinear and the last DequantizeLinear, so that both ends are uint8.

    A last DepthToSpace, which only moves values and which the quantizer leaves in float, then moves codes.
    """
    import onnx

    model = onnx.load(path)
    graph = model.graph
    image, alpha = graph.input[0], graph.output[0]
    first = next(n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == image.name)
    makers = {name: node for node in graph.node for name in node.output}
    end = makers[alpha.name]
    last = makers[end.input[0]] if end.op_type == "DepthToSpace" else end
    if last.op_type != "DequantizeLinear":
        raise ValueError(f"{last.name}: {last.op_type} before {alpha.name}, expected DequantizeLinear")
    renamed = {first.output[0]: image.name, last.output[0]: last.input[0]}
    if last is end:
        renamed[last.input[0]] = alpha.name
    graph.node.remove(first)
    graph.node.remove(last)
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = renamed.get(name, name)
    for value in (image, alpha):
        value.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    del graph.value_info[:]  # those of the shuffled codes are float no more
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def tflite_int8(path: Path, images: Pixels) -> bytes:
    """Quantize a float .tflite with ai-edge-quantizer: static int8 everywhere, weights per channel.

    Args:
        path: Float32 .tflite with input ``image``, (1, H, W, 3), RGB in [0, 1].
        images: Calibration pixels, uint8, (N, H, W, 3).

    Returns:
        The quantized flatbuffer.

    Raises:
        BackendMissingError: ai-edge-quantizer is not installed.
    """
    try:
        from ai_edge_quantizer import quantizer, recipe
    except ImportError as error:
        raise BackendMissingError(
            "int8 in LiteRT: ai_edge_quantizer not installed; pip install ai-edge-quantizer"
        ) from error
    engine = quantizer.Quantizer(str(path))
    engine.load_quantization_recipe(recipe.static_wi8_ai8())
    feeds = [{"image": image[None].astype(np.float32) / 255} for image in images]
    with contextlib.redirect_stdout(sys.stderr):  # the engine prints a summary, which would spoil --json
        return bytes(engine.quantize(engine.calibrate({"serving_default": feeds})).quantized_model)
