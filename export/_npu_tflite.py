"""Read a compiled .tflite: what is left beside the NPU's partitions, and what its ends are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def left(path: Path, operator: str) -> list[str]:
    """Return the operators of a compiled file that are not the NPU's, by output and kind.

    Args:
        path: The file.
        operator: Name of the custom operator that stands for a partition.

    Raises:
        InputError: It is no whole .tflite file.
    """
    from edgemat.export.tflite import _reading

    model = _reading.verified(path)
    graph, found = model.subgraphs[0], []
    for op in graph.operators:
        kind = _reading.kind_of(model, op)
        if kind != operator:
            found.append(f"{_reading.name_of(graph, int(op.outputs[0]))} ({kind})")
    return found


def complaints(path: Path, operator: str) -> Iterator[str]:
    """Yield what is wrong with a compiled file: one partition, one int8 tensor in and one out.

    Raises:
        InputError: It is no whole .tflite file.
    """
    from edgemat.export.tflite import _reading

    model = _reading.verified(path)
    graph, others = model.subgraphs[0], left(path, operator)
    if others:
        yield f"{len(others)} operators are not the NPU's: {', '.join(others[:5])}"
    elif len(graph.operators) != 1:
        yield f"{len(graph.operators)} partitions, expected 1"
    for side, indices in (("input", graph.inputs), ("output", graph.outputs)):
        kinds = [_reading.type_of(graph, int(index)) for index in indices]
        if kinds != ["int8"]:
            yield f"{side} is {kinds}, expected one int8 tensor"
