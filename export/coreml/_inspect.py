"""Read from a package what each operation computes in, and what its weights are stored in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgemat.export.coreml import _codes, _package
from edgemat.export.coreml._package import Operation, Package, Tensor
from edgemat.inspection import MOVES, Inspection, OpFact

_MOVING = (
    *("cast", "clip", "concat", "depth_to_space", "identity", "max_pool", "pad", "pixel_shuffle", "relu", "relu6"),
    *("space_to_depth", "upsample_nearest_neighbor"),
)
ACTIVATIONS = ("clip", "relu", "relu6")
"""What may stand between an operation and its ``quantize``."""
SMALLEST_NAMED = 2
"""Elements from which a constant counts as weights rather than as a parameter."""


def inspect(path: Path) -> Inspection:
    """Return what a package computes in: an operation between ``dequantize`` and ``quantize`` counts as int8.

    Raises:
        InputError: It is no readable Core ML package.
    """
    package = _package.read(path)
    made_by, read_by = makers(package), readers(package)
    preprocessing = tuple(f"{f.name}__" for f in package.inputs)
    ops = []
    for op in package.operations:
        if op.kind in _codes.PAIR:
            continue
        moves = op.kind in _MOVING or op.output.name.startswith(preprocessing)
        arithmetic = MOVES if moves else op.output.dtype
        if not moves and is_between(op, made_by, read_by):
            arithmetic = "int8"
        ops.append(OpFact(_codes.trunk_name(package, op.output.name), op.kind, arithmetic, _weights(op, made_by)))
    return Inspection(str(path), "Core ML", tuple(ops), _activations(package), _notes(package))


def makers(package: Package) -> dict[str, Operation]:
    """Return for each MIL variable the operation that makes it."""
    return {op.output.name: op for op in package.operations}


def readers(package: Package) -> dict[str, list[Operation]]:
    """Return for each MIL variable the operations that read it."""
    found: dict[str, list[Operation]] = {}
    for op in package.operations:
        for source in sources(op):
            found.setdefault(source, []).append(op)
    return found


def sources(op: Operation) -> list[str]:
    """Return the MIL variables that an operation reads."""
    return [a.name for arguments in op.inputs.values() for a in arguments if isinstance(a, Tensor)]


def is_between(op: Operation, made_by: Mapping[str, Operation], read_by: Mapping[str, list[Operation]]) -> bool:
    """Return whether an operation reads only what codes stand for, and all that it makes becomes codes.

    Args:
        op: The operation; a Relu or Clip may follow it.
        made_by: What `makers` returns.
        read_by: What `readers` returns.
    """
    if not all(name in made_by and made_by[name].kind in ("dequantize", _codes.CONSTANT) for name in sources(op)):
        return False
    following = list(read_by.get(op.output.name, ()))
    while following and all(f.kind in ACTIVATIONS for f in following):
        following = [reader for f in following for reader in read_by.get(f.output.name, ())]
    return bool(following) and all(f.kind == "quantize" for f in following)


def _weights(op: Operation, made_by: Mapping[str, Operation]) -> dict[str, int]:
    """Return the bytes of an operation's constants by the type that stores them, scales of weights among them."""
    total: Counter[str] = Counter()
    constants = [made_by[n] for n in sources(op) if n in made_by and made_by[n].kind == _codes.CONSTANT]
    for holder in (op, *constants):
        for arguments in holder.inputs.values():
            for value in arguments:
                if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.size >= SMALLEST_NAMED:
                    total[value.dtype.name] += value.nbytes
    for name in ("int32", "int64"):  # strides, pads and shapes are no weights
        total.pop(name, None)
    return dict(total)


def _activations(package: Package) -> dict[str, int]:
    """Count the tensors between operations: codes, or where there are none, reals by type."""
    codes = len(_codes.quantized(package))
    if codes:
        return {"int8": codes}
    return dict(Counter(op.output.dtype for op in package.operations if op.kind not in _codes.PAIR))


def _notes(package: Package) -> tuple[str, ...]:
    kept = _codes.kept(package)
    notes: tuple[str, ...] = ()
    if _codes.quantized(package):
        notes = (
            "int8 on chips with an int8 path (A17 Pro, M4 and later), float16 between codes elsewhere; "
            "the file cannot say which unit runs it",
        )
    elif any(op.kind == _codes.CONSTANT for op in package.operations):
        notes = ("weights are stored as int8 and widened when the model is loaded or run; arithmetic stays float16",)
    return (*notes, f"kept in float: {', '.join(kept)}") if kept else notes
