"""Which artefacts a processor here executes natively, so that their time means something; why others are not timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgemat.verify.bench.child import LITERT, ONNX_RUNTIME, OPENVINO
from edgemat.verify.bench.sampling import Subject

if TYPE_CHECKING:
    from edgemat.verify.exported import Entry

RUNTIMES = {"onnx": ONNX_RUNTIME, "openvino": OPENVINO, "tflite": LITERT}
"""Targets whose file a run time executes on any processor; a target that is not here is not timed."""
REASONS = {
    "coreml": "Core ML runs on a Mac or a phone; an interpreter's time says nothing of it. "
    "Time it on a Mac: edgemat mac-script",
    "coreai": "Core AI runs on Apple's devices; its interpreter's time says nothing of them",
    "ethos_u": "compiled for Arm's NPU; Vela's estimates are in the artefact's report.json",
    "litert_qualcomm": "compiled for Qualcomm's NPU; its source.tflite is the tflite target's int8",
    "qnn": "what runs here simulates Qualcomm's NPU on x86; its time says nothing of a phone",
    "tensorrt": "a Q/DQ file for TensorRT: ONNX Runtime's time of it says nothing of an engine on a GPU",
}
OTHER = "edgemat knows no run time that executes it natively on this processor"
_NOTES = {
    ("onnx", "fp16"): "ONNX Runtime's CPU kernels compute in float32 and convert on the way",
    ("tflite", "fp16"): "weights are widened when the file is loaded; it computes in float32",
}


@dataclass(frozen=True)
class Untimed:
    """An artefact that is not timed here.

    Attributes:
        name: Such as ``coreml fp16``.
        reason: Why, and what to do.
    """

    name: str
    reason: str

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        return {"name": self.name, "reason": self.reason}


def of(entry: Entry) -> Subject | Untimed:
    """Return how an artefact is timed, or why it is not."""
    name = entry.target.name
    if name not in RUNTIMES:
        return Untimed(entry.name, REASONS.get(name, OTHER))
    missing = entry.target.unavailable()
    if missing is not None:  # it is false as a truth value
        return Untimed(entry.name, f"{missing.reason}; {missing.install}")
    notes = [_NOTES.get((name, entry.precision), ""), "changed since the export" if entry.changed else ""]
    return Subject(entry.name, RUNTIMES[name], entry.path, "; ".join(filter(None, notes)))
