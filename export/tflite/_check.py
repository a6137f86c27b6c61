"""Read a .tflite file back and say where it is not what the target promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgemat.errors import InputError
from edgemat.export.tflite import _grid_check, _metadata
from edgemat.export.tflite._reading import (
    WEIGHTED,
    grid_of,
    kind_of,
    metadata_of,
    name_of,
    read_bytes,
    shape_of,
    stated,
    type_of,
    verified,
)
from edgemat.export.tflite._runner import SIGNATURE, open_interpreter

_STORED = {"fp32": "float32", "fp16": "float16", "int8": "int8", "int8_float_io": "int8"}
"""Precision to the type that stores the weights."""


def check(path: Path) -> tuple[str, ...]:
    """Return complaints about a file, none when it is as promised.

    Args:
        path: A .tflite file made by this target.

    Raises:
        InputError: LiteRT cannot load it.
    """
    model = verified(path)
    try:
        precision = stated(model).get("precision")
    except ValueError as error:
        return (f"metadata {_metadata.EXTRA} is not JSON ({error})",)
    if precision not in _STORED:
        return (f"metadata {_metadata.EXTRA} states precision {precision}, expected one of {', '.join(_STORED)}",)
    found = [
        *_signature(model, "int8" if precision == "int8" else "float32"),
        *_described(model, str(path)),
        *(_grid_check.complaints(model) if _STORED[precision] == "int8" else _weights(model, precision)),
    ]
    try:
        found += _delegated(open_interpreter(read_bytes(path), path), model)
    except InputError as error:
        if not found:
            raise
        found.append(str(error))  # what is wrong with the scales says why
    return tuple(found)


def _signature(model: Any, wanted: str) -> Iterator[str]:
    """One signature; one image in, one matte out, of one size and of the type ``wanted``."""
    keys = [s.signatureKey.decode() for s in model.signatureDefs or ()]
    if keys != [SIGNATURE] or len(model.subgraphs) != 1:
        yield f"{len(model.subgraphs)} subgraphs, signatures {keys}; expected one, {SIGNATURE}"
        return
    signature, graph = model.signatureDefs[0], model.subgraphs[0]
    sizes = set()
    for side, name, channels in ((signature.inputs, "image", 3), (signature.outputs, "alpha", 1)):
        names = [entry.name.decode() for entry in side]
        if names != [name]:
            yield f"signature {SIGNATURE} names {names}, expected ['{name}']"
            continue
        index = int(side[0].tensorIndex)
        shape, kind = list(shape_of(graph, index)), type_of(graph, index)
        sizes.add(tuple(shape[1:3]))
        if len(shape) != 4 or shape[0] != 1 or shape[3] != channels or kind != wanted:
            yield f"{name} is {kind.upper()} {shape}, expected {wanted.upper()} [1, H, W, {channels}]"
        elif name == "image" and kind == "int8" and not _is_pixels(graph, index):
            yield f"{name}: its codes are not pixels; expected scale 1/255, zero point -128"
    if len(sizes) > 1:
        yield f"image and alpha differ in size: {sorted(sizes)}"


def _is_pixels(graph: Any, index: int) -> bool:
    scales, zeros = grid_of(graph, index)
    return scales.shape == zeros.shape == (1,) and float(scales[0]) == np.float32(1 / 255) and int(zeros[0]) == -128


def _described(model: Any, file: str) -> Iterator[str]:
    """Metadata says what the file is and how to feed it."""
    entries = metadata_of(model)
    if not entries.get(_metadata.RUNTIME, b"").rstrip(b"\0"):
        yield f"metadata {_metadata.RUNTIME} is missing"
    try:
        metadata = _metadata.parse(entries, file)
    except InputError as error:
        yield str(error)
        return
    for field in (
        "name",
        "description",
        "version",
        "author",
        "license",
        "input_description",
        "output_description",
    ):
        if not getattr(metadata, field):
            yield f"metadata {field} is empty"
    if metadata.mean != (0.0, 0.0, 0.0) or metadata.std != (255.0, 255.0, 255.0):
        yield f"metadata normalisation mean {metadata.mean} std {metadata.std}, expected 0 and 255: RGB in [0, 1]"


def _weights(model: Any, precision: str) -> Iterator[str]:
    """All convolution weights of a float file are of the type that the precision promises."""
    graph, wanted = model.subgraphs[0], _STORED[precision]
    stored = {int(op.outputs[0]): int(op.inputs[0]) for op in graph.operators if kind_of(model, op) == "DEQUANTIZE"}
    for op in graph.operators:
        kind = kind_of(model, op)
        if kind not in WEIGHTED:
            continue
        index = int(op.inputs[WEIGHTED[kind][0]])
        index = stored.get(index, index)
        if type_of(graph, index) != wanted:
            found = type_of(graph, index).upper()
            yield f"weight {name_of(graph, index)} is {found}, expected {wanted.upper()} at {precision}"


def _delegated(interpreter: Any, model: Any) -> Iterator[str]:
    """XNNPACK runs the whole graph as one partition.

    LiteRT lists the file's operators and, after them, one DELEGATE for each partition, which states the tensors it
    reads and writes. Going back from what it writes to what it reads finds the operators it replaced.
    """
    graph = model.subgraphs[0]
    partitions = [node for node in interpreter._get_ops_details() if node["op_name"] == "DELEGATE"]
    producers = {int(tensor): i for i, op in enumerate(graph.operators) for tensor in op.outputs}
    covered: set[int] = set()
    for partition in partitions:
        reads = {int(i) for i in partition["inputs"]}
        pending = [int(i) for i in partition["outputs"]]
        while pending:
            index = pending.pop()
            if index in reads or producers.get(index) is None or producers[index] in covered:
                continue
            covered.add(producers[index])
            pending.extend(int(i) for i in graph.operators[producers[index]].inputs)
    left = [
        f"{kind_of(model, op)} (writes {name_of(graph, int(op.outputs[0]))})"
        for i, op in enumerate(graph.operators)
        if i not in covered
    ]
    if left:
        yield f"XNNPACK leaves {len(left)} of {len(graph.operators)} operators out: {', '.join(left[:8])}"
    if len(partitions) != 1:
        yield f"{len(partitions)} XNNPACK partitions, expected 1"
