"""Core ML: an ML Program for iOS 16 and later, translated from the ONNX trunk without a detour.

``fp16`` is what to ship. ``w8`` computes likewise, from weights of half the size. ``w8a8`` (iOS 17) is for chips with
an int8 path, A17 Pro and M4 and later, and may be slower elsewhere: measure it on the phone.
"""

from __future__ import annotations

import sys

from edgemat.export._target import Gate, IntegerGate, Target, lazy

TARGET = Target(
    name="coreml",
    title="Core ML package (ML Program, iOS 16 and later; w8a8: iOS 17)",
    suffix=".mlpackage",
    gates={
        "fp16": Gate(1e-2, 2e-4),
        "fp32": Gate(1e-5, 1e-6),
        "w8": Gate(1e-2, 2e-4),
        "w8a8": IntegerGate(scales=4.9e-4),  # the file states them in float16
    },
    extra="coreml",
    requires=("coremltools",),
    proves=(
        "Core ML on this Mac, on the unit it chooses; not on a phone"
        if sys.platform == "darwin"
        else "the saved package's operations and weights in numpy, rounded as the file states; "
        "not Core ML itself, nor its placement and rounding on a phone's GPU or Neural Engine"
    ),
    convert=lazy(__name__, "_write:convert"),
    load=lazy(__name__, "_runner:load"),
    check=lazy(__name__, "_check:check"),
    inspect=lazy(__name__, "_inspect:inspect"),
    scales=lazy(__name__, "_codes:scales"),
    stores=("w8",),
)
