"""Placement: operators that an accelerator leaves, with the reason, from those who were asked or from a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from edgemat.verify.lint import placement
from edgemat.verify.lint.facts import Facts, Placement
from edgemat.verify.lint.finding import ERROR, NOTE, WARNING, Place
from edgemat.verify.lint.rule import rule

_WHY = "Every operator that an accelerator leaves costs a trip of the activations to the CPU and back."


def _of(facts: Facts, *names: str) -> Iterator[Placement]:
    for found in facts.placements:
        if found.accelerator.startswith(names) and found.accelerator != _OTHER.get(names[0]):
            yield found


_OTHER = {placement.ANE: placement.ANE_OLDER}
"""Accelerators whose name begins like another's."""


def _left(found: Placement) -> Iterator[Place]:
    for left in found.left:
        source = left.source if left.source.startswith("https:") else ""
        asked = "" if source else f" ({left.source})"
        yield Place(f"{found.accelerator} leaves it: {left.reason}{asked}", left.op, source=source)


@rule(
    "EM050",
    "xnnpack-left",
    WARNING,
    "XNNPACK, which runs a .tflite on a phone's CPU, leaves an operator to LiteRT's own kernels.",
    why="Those are several times slower, and each one splits the graph into one more partition.",
    fix="Express it with operators that XNNPACK takes: ReLU6 for HARD_SWISH in int8, for instance.",
    source="https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack/README.md",
)
def xnnpack(facts: Facts) -> Iterator[Place]:
    """Yield operators that LiteRT, which was asked, did not give to XNNPACK."""
    for found in _of(facts, placement.XNNPACK):
        yield from _left(found)


@rule(
    "EM051",
    "xnnpack-partitions",
    WARNING,
    "XNNPACK's share of a .tflite falls into several partitions, or there is none.",
    why="Between two partitions activations are copied out of XNNPACK's layout and back.",
    fix="Replace the operators that separate the partitions.",
)
def partitions(facts: Facts) -> Iterator[Place]:
    """Yield the number of partitions where it is not one."""
    for found in _of(facts, placement.XNNPACK):
        if found.partitions is not None and found.partitions != 1:
            yield Place(f"{found.partitions} partitions of {found.operators} operators, expected 1")


@rule(
    "EM052",
    "gpu-delegate-left",
    WARNING,
    "LiteRT's GPU delegate leaves an operator to the CPU.",
    why=_WHY,
    fix="Express it with operators that the delegate takes, or give the file to the CPU.",
    source="https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/versioning/gpu_compatibility.cc",
)
def gpu(facts: Facts) -> Iterator[Place]:
    """Yield operators that the delegate's own conditions refuse."""
    for found in _of(facts, placement.GPU):
        yield from _left(found)


@rule(
    "EM053",
    "ane-left",
    WARNING,
    "An operation stays off Apple's Neural Engine on every generation.",
    why=_WHY,
    fix="Express it otherwise, or convert with --precision fp16; a compute plan on a Mac or phone tells for certain.",
)
def ane(facts: Facts) -> Iterator[Place]:
    """Yield operations that the table of the engine says are computed elsewhere; of float32 ones, all as one."""
    for found in _of(facts, placement.ANE):
        by_reason = Counter((left.reason, left.source) for left in found.left)
        for (reason, source), count in by_reason.items():
            ops = [left.op for left in found.left if left.reason == reason]
            more = f", and {count - 1} more" if count > 1 else ""
            yield Place(f"{reason}{more}", ops[0], source=source, level=_precision(facts, reason))


def _precision(facts: Facts, reason: str) -> str:
    """Return the level: a float32 package was asked for as such, so that where it runs is for information."""
    return NOTE if "float32 program" in reason and facts.half != "half" else WARNING


@rule(
    "EM054",
    "ane-older",
    NOTE,
    "An operation is on Apple's Neural Engine from a later generation than A13 alone.",
    why="iPhone 11 and M1 take another route for it, slower and with other rounding.",
    fix="Measure on the oldest phone that you support.",
)
def ane_older(facts: Facts) -> Iterator[Place]:
    """Yield, by reason, the operations that older engines compute elsewhere."""
    for found in (p for p in facts.placements if p.accelerator == placement.ANE_OLDER):
        for reason, source in dict.fromkeys((left.reason, left.source) for left in found.left):
            ops = [left.op for left in found.left if left.reason == reason]
            more = f", and {len(ops) - 1} more" if len(ops) > 1 else ""
            yield Place(f"{reason}{more}", ops[0], source=source)


@rule(
    "EM055",
    "placement-unknown",
    NOTE,
    "Of an operator it is not known whether an accelerator takes it.",
    why="No public source says, and nothing here can be asked: it may run there, or split the graph.",
    fix="Look at a compute plan on the device (Xcode's performance report; LiteRT's benchmark with the delegate).",
)
def unknown(facts: Facts) -> Iterator[Place]:
    """Yield the kinds of operators of which a table does not speak."""
    for found in facts.placements:
        if found.unknown:
            yield Place(f"{found.accelerator}: nothing is known of {', '.join(found.unknown)}")


@rule(
    "EM056",
    "npu-left",
    ERROR,
    "A file that was compiled for an NPU leaves operators to the CPU.",
    why=_WHY + " Firmware for an NPU often has no CPU kernels at all, so that it cannot load the file.",
    fix="Replace the operator, or quantize what is around it; then export again.",
)
def npu(facts: Facts) -> Iterator[Place]:
    """Yield operators outside the NPU's partitions, as its compiler counted or the compiled file shows them."""
    for found in _of(facts, placement.ETHOS, placement.HTP):
        yield from _left(found)


@rule(
    "EM057",
    "tensorrt-rule",
    WARNING,
    "A Q/DQ graph for TensorRT breaks a rule of explicit quantization.",
    why="TensorRT refuses the graph, or computes the operator in float.",
    fix="Export with --target tensorrt, which keeps the rules.",
)
def tensorrt(facts: Facts) -> Iterator[Place]:
    """Yield the places that break TensorRT's documented rules."""
    for found in _of(facts, placement.TENSORRT):
        for left in found.left:
            source = left.source if left.source.startswith("https:") else ""
            yield Place(left.reason, left.op, source=source)


@rule(
    "EM058",
    "onnxruntime-float",
    WARNING,
    "ONNX Runtime computes an operator of a Q/DQ file in float, or in integers where it was kept in float.",
    why="The file costs what float costs there, and its results differ from those of every other backend.",
    fix="Quantize what the operator reads and makes, so that it can be fused.",
)
def onnxruntime(facts: Facts) -> Iterator[Place]:
    """Yield operators that ONNX Runtime, which was asked, does not compute as the file says."""
    for found in _of(facts, placement.ORT):
        for left in found.left:
            yield Place(left.reason, left.op)
