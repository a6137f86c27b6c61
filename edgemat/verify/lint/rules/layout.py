"""Layout: transposes, casts, pairs of scales and float islands that nobody needs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgemat.verify.lint.facts import Facts, Op, Quantization, Value, plain
from edgemat.verify.lint.finding import NOTE, WARNING, Place
from edgemat.verify.lint.rule import rule

TRANSPOSES = ("Transpose", "TRANSPOSE", "transpose")
CASTS = ("Cast", "CAST", "cast", "Convert")
TO_CODES = ("QuantizeLinear", "QUANTIZE", "quantize")
FROM_CODES = ("DequantizeLinear", "DEQUANTIZE", "dequantize")
NOTHING = ("Identity", "identity", "Dropout")


@rule(
    "EM040",
    "transpose",
    WARNING,
    "A transpose copies a whole activation.",
    why="It costs memory traffic on every frame, and on several accelerators a trip to the CPU.",
    fix="Convert in the format's own layout (edgemat's own targets insert none), or fold it into weights.",
)
def transposes(facts: Facts) -> Iterator[Place]:
    """Yield transposes of activations, and whether the next one undoes them."""
    for op in facts.ops:
        if op.kind not in TRANSPOSES or _is_constant(facts, op.inputs[0]):
            continue
        following = [reader for reader in facts.readers(op.outputs[0]) if reader.kind in TRANSPOSES]
        undone = f", which {following[0].name} undoes or continues" if following else ""
        shape = facts.values[op.outputs[0]].shape if op.outputs[0] in facts.values else None
        yield Place(f"makes {shape}{undone}", op.label, op.outputs[0])


def _is_constant(facts: Facts, name: str) -> bool:
    return name in facts.values and facts.values[name].constant is not None


@rule(
    "EM041",
    "cast",
    WARNING,
    "A cast changes nothing, or is undone by the next one.",
    why="It moves a whole activation for nothing, and can split a graph between accelerators.",
    fix="Convert with one type throughout.",
)
def casts(facts: Facts) -> Iterator[Place]:
    """Yield casts to the same type, and casts that another takes back without anything in between."""
    for op in facts.ops:
        if op.kind not in CASTS or _is_constant(facts, op.inputs[0]):
            continue
        before, after = (_kind(facts, name) for name in (op.inputs[0], op.outputs[0]))
        if before and before == after:
            yield Place(f"from {before} to {after}", op.label, op.outputs[0])
        for reader in facts.readers(op.outputs[0]):
            if reader.kind in CASTS and before and _kind(facts, reader.outputs[0]) == before:
                yield Place(f"from {before} to {after}, which {reader.name} takes back", op.label, op.outputs[0])


def _kind(facts: Facts, name: str) -> str:
    return facts.values[name].kind if name in facts.values else ""


@rule(
    "EM042",
    "codes-twice",
    WARNING,
    "Codes become reals and the same codes again, or are requantized to their own scale.",
    why="The pair computes nothing; a runtime that does not fuse it pays two passes over the activation.",
    fix="Let both sides share the tensor; quantize each tensor once.",
)
def pairs(facts: Facts) -> Iterator[Place]:
    """Yield a step from codes to reals that a step back to the same scale follows at once."""
    grids = {name: value.quantization for name, value in facts.values.items()}
    for op in facts.ops:
        if op.kind in FROM_CODES:
            for reader in facts.readers(op.outputs[0]):
                if reader.kind in TO_CODES and _same(grids.get(op.inputs[0]), grids.get(reader.outputs[0])):
                    yield Place(f"{reader.name} makes codes of the same scale of it", op.label, op.inputs[0])
        elif op.kind == "QUANTIZE" and _same(grids.get(op.inputs[0]), grids.get(op.outputs[0])):
            yield Place("its input has the scale that it makes", op.label, op.outputs[0])


def _same(first: Quantization | None, second: Quantization | None) -> bool:
    return (
        first is not None
        and second is not None
        and first.kind == second.kind
        and np.array_equal(first.scales, second.scales)
        and np.array_equal(first.zeros, second.zeros)
    )


@rule(
    "EM043",
    "float-island",
    WARNING,
    "An operator computes in float among operators that compute in integers.",
    why="Its neighbours' codes become reals and codes again around it; an NPU without floats gives it to the CPU.",
    fix="Give the tensors around it a scale (edgemat quantize), or keep it in float on purpose with --keep.",
)
def islands(facts: Facts) -> Iterator[Place]:
    """Yield float operators of an integer artefact that no budget asked for."""
    kept = set(facts.kept)
    for op in facts.islands:
        if plain(op.name) not in kept and op.name not in kept:
            yield Place(f"computes in {op.arithmetic}", f"{op.name} ({op.kind})", plain(op.name))


@rule(
    "EM044",
    "kept-in-float",
    NOTE,
    "A node is kept in float among integers, as a budget asked.",
    why="It costs speed on units that compute in integers; that was weighed against accuracy when it was quantized.",
    fix="Nothing, if that is still wanted; else quantize again without --keep and --budget.",
)
def kept(facts: Facts) -> Iterator[Place]:
    """Yield the nodes that the grid keeps in float."""
    for name in facts.kept:
        yield Place("kept in float on purpose", name, name)


@rule(
    "EM045",
    "no-effect",
    WARNING,
    "An operator has no effect.",
    why="It costs a copy where a runtime does not remove it, and can end a delegate's partition.",
    fix="Remove it before converting (onnxsim does).",
)
def no_effect(facts: Facts) -> Iterator[Place]:
    """Yield identities, reshapes to the same shape and blocks of one."""
    for op in facts.ops:
        if op.kind in NOTHING:
            yield Place("copies its input", op.label, op.outputs[0])
        elif op.kind in ("Reshape", "RESHAPE", "reshape") and _same_shape(facts, op):
            yield Place("reshapes to the shape that it reads", op.label, op.outputs[0])
        elif 1 in (op.attributes.get(key) for key in ("blockSize", "blocksize", "block_size")):
            yield Place("a block of one", op.label, op.outputs[0])


def _same_shape(facts: Facts, op: Op) -> bool:
    found: list[Value | None] = [facts.values.get(name) for name in (op.inputs[0], op.outputs[0])]
    shapes = [None if value is None else value.shape for value in found]
    return shapes[0] is not None and shapes[0] == shapes[1]
