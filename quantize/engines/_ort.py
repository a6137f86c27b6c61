"""ONNX Runtime's static quantizer."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgemat.errors import InputError
from edgemat.quantize.observe import to_float
from edgemat.quantize.scheme import Scheme

if TYPE_CHECKING:
    import numpy.typing as npt
    from onnx import ModelProto


def run(
    model: ModelProto,
    images: npt.NDArray[np.uint8],
    scheme: Scheme,
    method: str,
    kept: frozenset[str],
    origin: str,
) -> ModelProto:
    """Return the Q/DQ model that ``quantize_static`` makes of a float one.

    Raises:
        InputError: The quantizer failed; its last words are in the message.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    feed = model.graph.input[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds: Iterator[dict[str, Any]] = ({feed: to_float(image)} for image in images)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.feeds, None)

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    with tempfile.TemporaryDirectory() as folder, _silence(), contextlib.redirect_stdout(io.StringIO()):
        source, out = Path(folder) / "float.onnx", Path(folder) / "quantized.onnx"
        onnx.save(model, source)
        try:
            quantize_static(
                source,
                out,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8 if scheme.symmetric else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=sorted(kept),
                calibrate_method=methods[method],
                extra_options={"ActivationSymmetric": scheme.symmetric, "WeightSymmetric": True},
            )
        except Exception as error:  # the quantizer raises whatever its parts raise
            raise InputError(
                f"{origin}: ONNX Runtime's quantizer failed ({error}); try another --method or --engine"
            ) from error
        return onnx.load(out)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Silence the root logger, on which the quantizer advises pre-processing that the trunk has had."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
