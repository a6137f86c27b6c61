"""OpenVINO: IR for its CPU, GPU and NPU plugins, in float or on the integer grid."""

from __future__ import annotations

from edgemat.export._target import Gate, IntegerGate, Target, lazy

TARGET = Target(
    name="openvino",
    title="OpenVINO IR for Intel's CPUs, GPUs and NPUs",
    suffix=".openvino",
    gates={"fp32": Gate(1e-5, 1e-6), "int8": IntegerGate()},
    extra="openvino",
    requires=("onnx", "openvino"),
    proves="runs the file in OpenVINO on the CPU, and reads back what it executes; nothing about its GPU or NPU",
    convert=lazy(__name__, "_write:convert"),
    load=lazy(__name__, "_runner:load"),
    check=lazy(__name__, "_check:check"),
    inspect=lazy(__name__, "_execution:inspect"),
    scales=lazy(__name__, "_readback:scales"),
)
