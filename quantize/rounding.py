"""How a runtime goes from exact integer sums to codes: the one place where honest int8 backends differ.

Sums of products are the same integers everywhere. What follows is not: a factor in float32 or in fixed point, rounded
once or twice, halves to even, up, or away from zero. A reference that rounds as the backend does
(`edgemat.quantize.reference`) leaves only differences that are faults.

| name | runtime | measured as |
|---|---|---|
| ``ideal`` | none: real arithmetic, one rounding at the end, halves to even | - |
| ``onnxruntime`` | ONNX Runtime's CPU provider, a Q/DQ graph that it fuses | 1.32, x86-64 |
| ``xnnpack`` | LiteRT with its default delegate | 2.3, x86-64 |
| ``tflite`` | LiteRT's optimised kernels, without a delegate | 2.3, x86-64 |
| ``tflite-reference`` | LiteRT's reference kernels | 2.3, x86-64 |
| ``float16`` | reals of float16 between codes, as a Core ML package states them; no device measured | - |
| ``openvino`` | OpenVINO's CPU plugin, on the IR that edgemat writes | 2025.0 to 2026.4, x86-64 |
| ``unfused`` | ONNX Runtime's CPU provider, a Q/DQ graph with optimisations off | 1.32, x86-64 |
| ``coreai`` | Apple's Core AI, of which each operator computes on reals in float32 | 1.0.0b3, x86-64 |
| ``htp`` | Qualcomm's HTP from v73 on (SM8550 to SM8850) | QNN 2.51, x86-64 |
| ``htp-v69`` | Qualcomm's HTP v69 (SM8450) | QNN 2.51, x86-64 |

`tests/quantize/test_rounding.py` compares each operator with the real runtime, code for code. Not identical, but within
one code: what ONNX Runtime leaves in float (ConvTranspose; convolutions and joined Relus of a symmetric grid).
"""

from __future__ import annotations

from collections.abc import Mapping

from edgemat.quantize._float16 import Float16
from edgemat.quantize._floats import CoreAi, OpenVino, Unfused
from edgemat.quantize._htp import Htp, HtpV69
from edgemat.quantize._ideal import Rounding
from edgemat.quantize._runtimes import OnnxRuntime, TfLite, TfLiteReference, Xnnpack

__all__ = ["ROUNDINGS", "Rounding"]

ROUNDINGS: Mapping[str, Rounding] = {
    "ideal": Rounding(),
    "onnxruntime": OnnxRuntime(),
    "xnnpack": Xnnpack(),
    "tflite": TfLite(),
    "tflite-reference": TfLiteReference(),
    "htp": Htp(),
    "htp-v69": HtpV69(),
    "openvino": OpenVino(),
    "unfused": Unfused(),
    "coreai": CoreAi(),
    "float16": Float16(),
}
"""Name to rounding: what `edgemat.export._target.Runner.rounding` may be."""
