"""Qualcomm NPU through LiteRT: the int8 .tflite, compiled ahead of time for each chip.

The artefact is a folder: ``source.tflite`` (what the tflite target makes as int8, for any phone), ``SM8650.tflite`` and
the like (one dispatch operator that holds the compiled binary), ``report.json``. An app ships the file of its chip to
LiteRT with its Qualcomm dispatch library, and the source as the way back.
"""

from __future__ import annotations

from edgemat.export._target import IntegerGate, Target, lazy

TARGET = Target(
    name="litert_qualcomm",
    title="Qualcomm NPU: .tflite compiled for SM8450, SM8550, SM8650, SM8750 and SM8850",
    suffix=".litert_qualcomm",
    gates={"int8": IntegerGate()},
    extra="litert_qualcomm",
    requires=("ai_edge_litert", "flatbuffers", "onnxruntime_qnn"),
    proves="Runs the int8 source in LiteRT on the CPU; of the compiled files, that all of it is in one NPU partition.",
    convert=lazy(__name__, "_write:convert"),
    load=lazy(__name__, "_read:load"),
    check=lazy(__name__, "_read:check"),
    inspect=lazy(__name__, "_read:inspect"),
    scales=lazy(__name__, "_read:scales"),
    on_device=lazy("edgemat.export", "_npu:on_device"),
    platforms=("linux-x86_64",),
)
