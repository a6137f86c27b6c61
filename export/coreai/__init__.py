"""Core AI: an asset for iOS 27 and macOS 27, and Apple's own runtime for it, which also runs on Linux.

A beta: coreai-core 1.0.0b3 and the coreai-onnx that fits it. Nothing else in edgemat depends on it. There is no
``fp16`` yet: this runtime rounds a convolution to half before it adds the bias and after each step of a resize, up
to 16 times as far from the network as one rounding goes, and coreai-onnx says that devices may not load such programs.
"""

from __future__ import annotations

from edgemat.export._target import Gate, IntegerGate, Target, lazy

TARGET = Target(
    name="coreai",
    title="Core AI asset (iOS 27 and macOS 27; beta)",
    suffix=".aimodel",
    gates={"fp32": Gate(1e-5, 1e-6), "int8": IntegerGate()},
    extra="coreai",
    requires=("onnx", "coreai", "coreai_onnx"),
    proves="Runs the asset in Apple's own runtime (beta) on this CPU; not on a phone's GPU or Neural Engine.",
    convert=lazy(__name__, "_write:convert"),
    load=lazy(__name__, "_read:load"),
    check=lazy(__name__, "_read:check"),
    inspect=lazy(__name__, "_read:inspect"),
    scales=lazy(__name__, "_read:scales"),
    platforms=("linux-x86_64", "darwin-arm64"),
)
