"""Read a .tflite file back and say where it is not what the target promises."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgemat.errors import InputError
from edgemat.export.tflite import _metadata
from edgemat.export.tflite._reading import metadata_of, read_bytes, read_model
from edgemat.export.tflite._runner import SIGNATURE, open_interpreter

_TYPES = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
_OPS = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")


def check(path: Path) -> tuple[str, ...]:
    """Return complaints about a file, none when it is as promised.

    Args:
        path: A .tflite file made by this target.

    Raises:
        InputError: LiteRT cannot load it.
    """
    content = read_bytes(path)
    interpreter = open_interpreter(content, path)
    model = read_model(content)
    return (
        *_signature(model),
        *_described(model, str(path)),
        *_weights(model),
        *_delegated(interpreter, model),
    )


def _signature(model: Any) -> Iterator[str]:
    """One signature; one image in, one matte out, of one size."""
    keys = [s.signatureKey.decode() for s in model.signatureDefs or ()]
    if keys != [SIGNATURE] or len(model.subgraphs) != 1:
        yield f"{len(model.subgraphs)} subgraphs, signatures {keys}; expected one, {SIGNATURE}"
        return
    signature, tensors = model.signatureDefs[0], model.subgraphs[0].tensors
    sizes = set()
    for side, name, channels in ((signature.inputs, "image", 3), (signature.outputs, "alpha", 1)):
        names = [entry.name.decode() for entry in side]
        if names != [name]:
            yield f"signature {SIGNATURE} names {names}, expected ['{name}']"
            continue
        tensor = tensors[side[0].tensorIndex]
        shape, kind = [int(n) for n in tensor.shape], _TYPES[tensor.type]
        sizes.add(tuple(shape[1:3]))
        if len(shape) != 4 or shape[0] != 1 or shape[3] != channels or kind != "FLOAT32":
            yield f"{name} is {kind} {shape}, expected FLOAT32 [1, H, W, {channels}]"
    if len(sizes) > 1:
        yield f"image and alpha differ in size: {sorted(sizes)}"


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


def _weights(model: Any) -> Iterator[str]:
    """All convolution weights are of the type that the precision promises."""
    try:
        precision = json.loads(metadata_of(model).get(_metadata.EXTRA, b"{}")).get("precision")
    except ValueError as error:
        yield f"metadata {_metadata.EXTRA} is not JSON ({error})"
        return
    wanted = {"fp32": "FLOAT32", "fp16": "FLOAT16"}.get(precision)
    if wanted is None:
        yield f"metadata {_metadata.EXTRA} states precision {precision}, expected fp32 or fp16"
        return
    graph = model.subgraphs[0]
    stored = {int(op.outputs[0]): int(op.inputs[0]) for op in graph.operators if _op(model, op) == "DEQUANTIZE"}
    for op in graph.operators:
        if _op(model, op) not in _CONVOLUTIONS:
            continue
        index = int(op.inputs[1])
        tensor = graph.tensors[stored.get(index, index)]
        if _TYPES[tensor.type] != wanted:
            yield f"weight {tensor.name.decode()} is {_TYPES[tensor.type]}, expected {wanted} at {precision}"


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
        f"{_op(model, op)} (writes {graph.tensors[int(op.outputs[0])].name.decode()})"
        for i, op in enumerate(graph.operators)
        if i not in covered
    ]
    if left:
        yield f"XNNPACK leaves {len(left)} of {len(graph.operators)} operators out: {', '.join(left[:8])}"
    if len(partitions) != 1:
        yield f"{len(partitions)} XNNPACK partitions, expected 1"


def _op(model: Any, operator: Any) -> str:
    name: str = _OPS[model.operatorCodes[operator.opcodeIndex].builtinCode]
    return name
