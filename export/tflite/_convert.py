"""Translate an ONNX trunk to TFLite: one translator a node, every refusal at once, one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import UnsupportedOpError
from edgemat.export.tflite import _metadata, _source
from edgemat.export.tflite._emit import Emitter
from edgemat.export.tflite._integer import IntegerEmitter
from edgemat.export.tflite._ops import OPS
from edgemat.export.tflite._source import Graph, RefusedError
from edgemat.files import atomic_path

if TYPE_CHECKING:
    from edgemat.export._target import Trunk


def translate(graph: Graph, emitter: Emitter) -> None:
    """Translate all nodes.

    Args:
        graph: The trunk.
        emitter: Its model grows.

    Raises:
        UnsupportedOpError: Nodes that cannot be translated, all of them, and what can.
    """
    refused: list[str] = []
    for node in graph.nodes:
        if node.outputs[0] in emitter.done:
            continue
        try:
            if node.op not in OPS:
                raise RefusedError("operator not supported")
            emitter.begin(node)
            OPS[node.op](emitter, node)
            emitter.end()
            if node.attributes:
                raise RefusedError(f"attribute {', '.join(sorted(node.attributes))} is not translated")
        except RefusedError as error:
            refused.append(f"  {node.name} ({node.op}): {error}")
    if refused:
        raise UnsupportedOpError(
            f"tflite: {len(refused)} of {len(graph.nodes)} nodes cannot be translated:\n"
            + "\n".join(refused)
            + f"\nsupported operators: {', '.join(sorted(OPS))}"
        )


def convert(trunk: Trunk, precision: str, path: Path) -> None:
    """Write a .tflite file.

    Args:
        trunk: Float ONNX, input ``image`` (1, 3, H, W), output ``alpha`` (1, 1, H, W).
        precision: ``fp32``; ``fp16`` for float16 weights with float32 input, output and arithmetic; ``int8`` for the
            trunk's grid, ``int8_float_io`` for the same with float32 input and output.
        path: The goal.

    Raises:
        UnsupportedOpError: Nodes that cannot be translated, all of them.
        InputError: The ONNX cannot be read, a weight cannot be stored, or the grid breaks a rule.
    """
    graph = _source.read(trunk.path)
    emitter: Emitter
    if precision.startswith("int8"):
        assert trunk.grid is not None  # the frame has seen to it
        emitter = IntegerEmitter(graph, trunk.grid, trunk.path.name, float_ends=precision != "int8")
    else:
        emitter = Emitter(graph, half=precision == "fp16")
    (image,) = (emitter.entry(name) for name in graph.inputs)
    translate(graph, emitter)
    (alpha,) = (emitter.exit(name) for name in graph.outputs)
    model = emitter.model
    facts = {"precision": precision, **emitter.facts()}
    metadata = _metadata.build(trunk.info, trunk.height, trunk.width, model.min_runtime(), facts)
    content = model.finish(trunk.info.description, {"image": image}, {"alpha": alpha}, metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
