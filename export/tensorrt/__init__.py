"""TensorRT: explicit Q/DQ ONNX under TensorRT's rules, symmetric int8, and the command that builds its engine."""

from __future__ import annotations

from edgemat.export._target import IntegerGate, Target, lazy

TARGET = Target(
    name="tensorrt",
    title="explicit Q/DQ ONNX for TensorRT on NVIDIA's GPUs",
    suffix=".tensorrt.onnx",
    gates={"int8": IntegerGate()},
    extra="tensorrt",
    requires=("onnx", "onnxruntime"),
    proves="TensorRT's rules hold, and what the graph computes (ONNX Runtime); an engine only where there is a GPU",
    convert=lazy(__name__, "_write:convert"),
    load=lazy(__name__, "_runner:load"),
    check=lazy(__name__, "_check:check"),
    inspect=lazy(__name__, "_readback:inspect"),
    scales=lazy(__name__, "_readback:scales"),
    scheme="static_w8c_a8s",
)
