"""TFLite (LiteRT): one FlatBuffer written by an own ONNX emitter, without TensorFlow."""

from __future__ import annotations

from edgemat.export._target import Gate, IntegerGate, Target, lazy

TARGET = Target(
    name="tflite",
    title="TFLite for LiteRT on Android, iOS and embedded Linux",
    suffix=".tflite",
    gates={
        "fp32": Gate(1e-5, 1e-6),
        "fp16": Gate(5e-3, 5e-4),
        "int8": IntegerGate(),
        "int8_float_io": IntegerGate(),
    },
    extra="tflite",
    requires=("ai_edge_litert", "flatbuffers"),
    proves="runs the file in LiteRT with XNNPACK, as a phone's CPU does; proves nothing about a phone's GPU or NPU",
    convert=lazy(__name__, "_convert:convert"),
    load=lazy(__name__, "_runner:LiteRTRunner"),
    check=lazy(__name__, "_check:check"),
    inspect=lazy(__name__, "_inspect:inspect"),
    scales=lazy(__name__, "_inspect:scales"),
)
