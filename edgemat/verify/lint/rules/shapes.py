"""Shapes: open sizes, an open batch, Core ML's ranges."""

from __future__ import annotations

from collections.abc import Iterator

from edgemat.verify.lint.facts import Facts
from edgemat.verify.lint.finding import WARNING, Place
from edgemat.verify.lint.rule import rule


@rule(
    "EM020",
    "open-size",
    WARNING,
    "Height or width of an input is open.",
    why="NPUs and GPU delegates compile for one size; else they refuse the graph, or compile at every change.",
    fix="Export with a fixed size: edgemat export --size HxW.",
)
def open_size(facts: Facts) -> Iterator[Place]:
    """Yield inputs with an open dimension other than the batch."""
    for name in facts.inputs:
        shape = facts.values[name].shape if name in facts.values else None
        if shape is None or any(not isinstance(size, int) for size in shape[1:]):
            words = "unknown" if shape is None else f"({', '.join(map(str, shape))})"
            if facts.flexible.get(name) not in ("RangeDim", "EnumeratedShapes"):
                yield Place(f"shape {words}", tensor=name)


@rule(
    "EM021",
    "batch-not-one",
    WARNING,
    "The batch of an input is open, or not 1.",
    why="A phone has one frame at a time; an open batch keeps compilers from planning memory, a larger one wastes it.",
    fix="Export with a batch of 1.",
)
def batch(facts: Facts) -> Iterator[Place]:
    """Yield inputs whose first dimension is not 1."""
    for name in facts.inputs:
        shape = facts.values[name].shape if name in facts.values else None
        if shape and len(shape) == 4 and shape[0] != 1:
            yield Place(f"batch {shape[0]}", tensor=name)


@rule(
    "EM022",
    "range-of-shapes",
    WARNING,
    "A Core ML input takes a range of sizes.",
    why="With a range, Core ML uses the Neural Engine for the default size alone; others run on the GPU or CPU.",
    fix="Convert with one fixed size, or list the few that are needed (EnumeratedShapes).",
    source="https://developer.apple.com/forums/thread/724930",
)
def ranges(facts: Facts) -> Iterator[Place]:
    """Yield inputs with a range of sizes."""
    for name, how in facts.flexible.items():
        if how == "RangeDim":
            yield Place("the size is a range (RangeDim)", tensor=name)


@rule(
    "EM023",
    "open-inside",
    WARNING,
    "The shape of a tensor inside the network is not fixed although the input's is.",
    why="Something computes a shape while the network runs; compilers cannot plan for it and leave it to the CPU.",
    fix="Fold constants and infer shapes before converting (onnxsim), or write the size into the model.",
)
def inside(facts: Facts) -> Iterator[Place]:
    """Yield operators whose output's shape is open, where every input's is fixed."""
    if facts.flexible:
        return
    for op in facts.ops:
        for name in op.outputs:
            shape = facts.values[name].shape if name in facts.values else ()
            if shape is not None and any(not isinstance(size, int) for size in shape):
                yield Place(f"shape ({', '.join(map(str, shape))})", op.label, name)
