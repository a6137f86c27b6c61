"""Read an asset back: its ends, its operations, the scales that it states; runs in a process of its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from coreai._compiler import ir
from coreai.authoring import AIModelAsset, DebugInfo

from edgemat.errors import InputError
from edgemat.export.coreai._author import NAME

_CONSTANT = "coreai.constant"
_TYPES = {"f32": "float32", "f16": "float16", "si8": "int8", "ui8": "uint8", "si32": "int32", "ui32": "uint32"}


def read(path: Path) -> dict[str, Any]:
    """Return what an asset holds, JSON-ready.

    Returns:
        ``functions``; ``inputs`` and ``outputs``, names to type and shape; ``operations`` in order, each with
        ``kind``, ``tensor`` (of the graph that it helps to make), ``type`` of its elements, ``reads`` (numbers of
        operations; -1 for the image) and ``constants`` (bytes by type); ``scales``, for what quantizes or dequantizes:
        ``kind``, ``tensor``, whether it reads ``stored`` codes, the ``scales`` and the ``zero_points``.

    Raises:
        InputError: Core AI cannot read it.
    """
    try:
        asset = AIModelAsset.load(path)
        summary, program = asset.summary(include_statistics=False), asset.program
        graph: Any = program._get_graph("main")
        names = list(summary.function_names) if summary else []
        if graph is None or summary is None or names != ["main"]:
            raise InputError(f"{path}: functions {names}, expected one, main; export it again")
    except RuntimeError as error:
        raise InputError(f"{path}: Core AI cannot read it: {error}; export it again") from error
    operations = [operation.operation for operation in graph.entry_block.operations]
    return {
        "functions": names,
        "inputs": _ends(summary.function_inputs("main"), graph.arguments),
        "outputs": _ends(summary.function_outputs("main"), graph.outputs),
        "operations": _operations(operations),
        "scales": [_scales(o) for o in operations if o.name in ("coreai.quantize", "coreai.dequantize")],
    }


def _ends(named: list[tuple[str, str]], values: Any) -> dict[str, Any]:
    """Return the type and the shape of a function's ends, by name."""
    kinds = [value.type for value in values]
    return {
        name: [_element(kind), *ir.RankedTensorType(kind).shape] for (name, _), kind in zip(named, kinds, strict=True)
    }


def tensor(operation: Any) -> str:
    """Return the tensor of the graph that an operation helps to make; empty where it does not say."""
    entries = DebugInfo._from_mlir(operation.location)._metadata
    return next((entry.name.removeprefix(NAME) for entry in entries if entry.name.startswith(NAME)), "")


def is_constant(operation: Any) -> bool:
    """Return whether an operation only holds numbers."""
    return bool(operation.operation.name == _CONSTANT)


def _operations(operations: list[Any]) -> list[dict[str, Any]]:
    """Return the operations that compute, move or end something; constants count with what reads them."""
    computing = [o for o in operations if not is_constant(o)]
    numbers = {result: index for index, o in enumerate(computing) for result in o.results}
    found = []
    for operation in computing:
        constants: Counter[str] = Counter()
        reads = []
        for operand in operation.operands:
            if _is_stored(operand):
                constants[_element(operand.type)] += _bytes(operand.type)
            else:
                reads.append(numbers.get(operand, -1))
        results = list(operation.results)
        found.append(
            {
                "kind": operation.name.removeprefix("coreai.").removeprefix("decomposable."),
                "tensor": tensor(operation),
                "type": _element(results[0].type) if results else "",
                "reads": reads,
                "constants": dict(constants),
            }
        )
    return found


def _element(kind: Any) -> str:
    element = str(ir.RankedTensorType(kind).element_type)
    return _TYPES.get(element, element)


def _bytes(kind: Any) -> int:
    ranked = ir.RankedTensorType(kind)
    width = 1 if "8" in _element(kind) else 2 if "16" in _element(kind) else 4
    return int(np.prod(ranked.shape, dtype=np.int64)) * width


def _scales(operation: Any) -> dict[str, Any]:
    """Return what a ``quantize`` or ``dequantize`` states."""
    source, scale, zero = list(operation.operands)[:3]
    return {
        "kind": operation.name.removeprefix("coreai."),
        "tensor": tensor(operation),
        "stored": _is_stored(source),
        "scales": [float(value) for value in _numbers(scale)],
        "zero_points": [int(value) for value in _numbers(zero)],
    }


def _is_stored(value: Any) -> bool:
    """Return whether a value is a constant; the owner of a graph's input is a block, which has no name."""
    return getattr(value.owner, "name", "") == _CONSTANT


def _numbers(value: Any) -> Any:
    """Return a small constant's numbers, flat."""
    held = value.owner.attributes["value"]
    return np.array(ir.DenseElementsAttr(held)).reshape(-1)
