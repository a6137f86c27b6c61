"""Qualcomm NPU (HTP) through ONNX Runtime's QNN provider: Q/DQ ONNX, and a compiled context for each chip.

The artefact is a folder: ``source.onnx`` (uint8 pixels in, uint8 alpha out, int8 between), ``SM8650.onnx`` and the like
(one EPContext node that holds the compiled binary), ``report.json``. An app ships the context of its chip, or the
source where the chip is not known: the provider compiles that on the phone.
"""

from __future__ import annotations

from edgemat.export._target import IntegerGate, Target, lazy

TARGET = Target(
    name="qnn",
    title="Qualcomm NPU: Q/DQ ONNX and QNN contexts for SM8450, SM8550, SM8650, SM8750 and SM8850",
    suffix=".qnn",
    gates={"int8": IntegerGate(differ=0.1)},  # Concat and Mul are known to one code, the rest exactly
    extra="qnn",
    requires=("onnx", "onnxruntime", "onnxruntime_qnn"),
    proves="Runs each context in Qualcomm's HTP library on x86, no CPU fallback, assignment read back; not a phone.",
    convert=lazy(__name__, "_write:convert"),
    load=lazy(__name__, "_read:load"),
    check=lazy(__name__, "_read:check"),
    inspect=lazy(__name__, "_read:inspect"),
    scales=lazy(__name__, "_read:scales"),
    on_device=lazy("edgemat.export", "_npu:on_device"),
    platforms=("linux-x86_64",),
)
