"""Arm Ethos-U NPU: the int8 .tflite, compiled by Vela for a core of each generation.

The artefact is a folder: ``source.tflite`` (int8, in the operators that these cores have), ``ethos-u55-128.tflite`` and
the like (one ``ethos-u`` operator that holds the command stream), ``report.json`` with Vela's estimates. Firmware runs
a compiled file in TensorFlow Lite Micro with Arm's driver.
"""

from __future__ import annotations

from edgemat.export._target import IntegerGate, Target, lazy

TARGET = Target(
    name="ethos_u",
    title="Arm Ethos-U NPU: .tflite compiled by Vela for U55-128, U55-256, U65-512 and U85-1024",
    suffix=".ethos_u",
    gates={"int8": IntegerGate()},
    extra="ethos_u",
    requires=("ai_edge_litert", "ethosu", "flatbuffers"),
    proves="Runs the int8 source in LiteRT on the CPU; of the compiled files, that no operator is left to a CPU.",
    convert=lazy(__name__, "_write:convert"),
    load=lazy(__name__, "_read:load"),
    check=lazy(__name__, "_read:check"),
    inspect=lazy(__name__, "_read:inspect"),
    scales=lazy(__name__, "_read:scales"),
    on_device=lazy("edgemat.export", "_npu:on_device"),
)
