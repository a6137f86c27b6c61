"""Write the folder: the Q/DQ source with codes at its ends, and a compiled context for each chip."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper

from edgemat.export import _isolated, _npu
from edgemat.export import onnx as plain
from edgemat.files import atomic_path
from edgemat.quantize import qdq

if TYPE_CHECKING:
    from edgemat.export._target import Trunk

SOURCE = "source.onnx"
NOTES = (
    "each context was compiled by Qualcomm's library on x86 and runs in it; no phone was asked",
    "contexts hold weights as the HTP lays them out: channels are padded to multiples of 32",
    "operators are counted as ONNX Runtime assigns them: Q/DQ nodes too, a shared DequantizeLinear for each reader",
    "the HTP version of its chip is read back from each binary",
)


def convert(trunk: Trunk, precision: str, path: Path, chips: Mapping[str, int] = _npu.QUALCOMM) -> None:
    """Write an artefact.

    Args:
        trunk: With a grid of unsigned activations.
        precision: ``int8``.
        path: The goal, a folder.
        chips: Names, and numbers in QNN.

    Raises:
        UnsupportedOpError: Nodes that the accelerator does not take, or that the grid keeps in float; all of them.
        InputError: The grid breaks a rule.
        IsolatedError: The compiler crashed or hung.
    """
    _npu.refuse_kept(trunk, "qnn")
    with atomic_path(path) as folder:
        folder.mkdir()
        source = folder / SOURCE
        source.write_bytes(_serialized(with_codes(trunk), trunk, precision))
        arguments = {"source": str(source), "folder": str(folder), "chips": dict(chips)}
        answer, _ = _isolated.call("edgemat.export.qnn._child:compile_contexts", arguments, timeout=_npu.TIMEOUT)
        compiled = []
        for chip in chips:
            file = folder / f"{chip}.onnx"
            file.write_bytes(_serialized(onnx.load(file), trunk, precision))
            compiled.append(_npu.Compiled(chip, file.name, answer["nodes"], 0))
        versions = _npu.versions("onnxruntime", "onnxruntime-qnn")
        _npu.write_report(folder, "qnn", trunk, SOURCE, compiled, versions, NOTES)


def with_codes(trunk: Trunk) -> onnx.ModelProto:
    """Return the trunk with Q/DQ pairs that takes and gives codes: uint8 pixels, uint8 alpha."""
    assert trunk.grid is not None  # the frame has seen to it
    model = qdq.insert(onnx.load(trunk.path), trunk.grid, trunk.path.name)
    graph = model.graph
    (image,), (alpha,) = graph.input, graph.output
    ends = {f"{image.name}#quantize", f"{alpha.name}#dequantize"}
    for node in [node for node in graph.node if node.name in ends]:
        graph.node.remove(node)
    renamed = {end.name + qdq.CODES: end.name for end in (image, alpha)}
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for end in (image, alpha):
        end.type.tensor_type.elem_type = TensorProto.UINT8
    del graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def _serialized(model: onnx.ModelProto, trunk: Trunk, precision: str) -> bytes:
    """Return a model's bytes, with metadata that says what it is."""
    plain.describe(model, trunk, precision)
    size = f"{trunk.height}x{trunk.width}"
    props: dict[str, Any] = {entry.key: entry.value for entry in model.metadata_props}
    props |= {
        "input": f"image: RGB, uint8, 1x3x{size}, the pixels themselves; normalisation is inside",
        "output": f"alpha: uint8, 1x1x{size}, 8-bit alpha; skin is 255",
    }
    helper.set_model_props(model, props)
    content: bytes = model.SerializeToString(deterministic=True)
    return content
