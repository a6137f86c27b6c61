"""Read the folder back: what its files are, what they compute in, on which scales, and run them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from edgemat.errors import EdgematError
from edgemat.export import _graph, _isolated, _npu, _onnx_facts
from edgemat.export import onnx as plain
from edgemat.export._target import Runner, Scales
from edgemat.export.qnn import _context
from edgemat.inspection import Inspection
from edgemat.quantize import qdq

_FOLLOWERS = ("Relu", "Clip")
_PAIR = ("QuantizeLinear", "DequantizeLinear")


def load(path: Path) -> Runner:
    """Open the context of the middle chip in the HTP library.

    Raises:
        InputError: The folder or a file in it is not whole.
        IsolatedError: The library's process crashed or hung.
    """
    report = _npu.read_report(path, _npu.QUALCOMM)
    for entry in report["compiled"]:
        _context.read(path / entry["file"])
    return _runner(path, report, report["compiled"][len(report["compiled"]) // 2]["chip"])


def _runner(path: Path, report: Mapping[str, Any], chip: str) -> Runner:
    entry = next(entry for entry in report["compiled"] if entry["chip"] == chip)
    arguments = {"source": str(path / report["source"]["file"]), "soc": _npu.QUALCOMM[chip]}
    rounding = "htp-v69" if chip == _context.OLDEST else "htp"
    return _isolated.IsolatedRunner(
        "edgemat.export.qnn._child:HtpRunner", path / entry["file"], arguments, rounding=rounding
    )


def check(path: Path) -> tuple[str, ...]:
    """Return what is wrong with a folder; none when it is as promised.

    Raises:
        InputError: The folder or a file in it is not whole.
        IsolatedError: The library's process crashed or hung.
    """
    report = _npu.read_report(path, _npu.QUALCOMM)
    wrong = _npu.complaints(path, report)
    if wrong:
        return tuple(wrong)
    source = _graph.read(path / report["source"]["file"])
    wrong = [*_interface(source, "source"), *islands(source)]
    for entry in report["compiled"]:
        model = _context.read(path / entry["file"])
        lines = [*_interface(model, "context"), *_context.complaints(model, entry["chip"])]
        wrong += [f"{entry['file']}: {line}" for line in lines]
    return tuple(wrong) or tuple(_executed(path, report))


def _interface(model: ModelProto, name: str) -> Iterator[str]:
    for values, wanted in ((model.graph.input, "image"), (model.graph.output, "alpha")):
        found = [(v.name, v.type.tensor_type.elem_type) for v in values]
        if found != [(wanted, TensorProto.UINT8)]:
            yield f"{name}: found {found}, expected one uint8 tensor named {wanted}"
    props = {entry.key: entry.value for entry in model.metadata_props}
    for key in plain.REQUIRED:
        if not props.get(key):
            yield f"{name}: metadata {key} is missing"


def islands(model: ModelProto) -> Iterator[str]:
    """Yield a line for each node that does not read codes' reals alone, or whose result does not become codes."""
    makers = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, list[NodeProto]] = {}
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in model.graph.node:
        follows = node.op_type in _FOLLOWERS and makers[node.input[0]].op_type not in _PAIR
        if node.op_type in _PAIR or follows:
            continue
        loose = [name for name in node.input if name and name not in constants]
        loose = [name for name in loose if name not in makers or makers[name].op_type != "DequantizeLinear"]
        weights = [name for name in node.input[1:3] if name in constants and node.op_type.startswith("Conv")]
        following = list(readers.get(node.output[0], ()))
        while following and all(n.op_type in _FOLLOWERS for n in following):
            following = [n for f in following for n in readers.get(f.output[0], ())]
        whole = bool(following) and all(n.op_type == "QuantizeLinear" for n in following)
        if loose or weights or not whole:
            why = f"reads float {', '.join([*loose, *weights])}" if loose or weights else "its result stays float"
            yield f"{node.output[0]}: {node.name or node.op_type} ({node.op_type}) is a float island: {why}"


def _executed(path: Path, report: Mapping[str, Any]) -> Iterator[str]:
    """All nodes are on the accelerator, and every context makes the alpha that the source makes."""
    rows, columns = report["size"]
    image = (np.arange(rows * columns * 3).reshape(rows, columns, 3) * 37 // 29 % 256).astype(np.uint8)
    numbers = {entry["chip"]: _npu.QUALCOMM[entry["chip"]] for entry in report["compiled"]}
    alike = {chip: chip if chip == _context.OLDEST else list(numbers)[-1] for chip in numbers}
    arguments = {
        "source": str(path / report["source"]["file"]),
        "sources": sorted({numbers[chip] for chip in alike.values()}),
        "contexts": {str(path / entry["file"]): numbers[entry["chip"]] for entry in report["compiled"]},
    }
    try:
        answer, alphas = _isolated.call("edgemat.export.qnn._child:execute", arguments, {"image": image})
    except EdgematError as error:
        yield str(error)
        return
    for entry in report["compiled"]:
        if entry["operators"]["npu"] != answer["nodes"]:
            yield f"{entry['file']}: {entry['operators']['npu']} nodes stated, {answer['nodes']} found on the NPU"
        found, expected = alphas[str(path / entry["file"])], alphas[str(numbers[alike[entry["chip"]]])]
        differ = int((found != expected).sum())
        if differ:
            yield f"{entry['file']}: {differ} of {found.size} pixels of alpha differ from the source's on the HTP"


def inspect(path: Path) -> Inspection:
    """Return what the source computes in; the contexts are its compiled form.

    Raises:
        InputError: The folder or a file in it is not whole.
    """
    report = _npu.read_report(path, _npu.QUALCOMM)
    found = _onnx_facts.inspect(path / report["source"]["file"])
    return dataclasses.replace(
        found, path=str(path), form="QNN contexts", notes=("operators as source.onnx states them", *_npu.notes(report))
    )


def scales(path: Path) -> Scales:
    """Return the scales that the source states, under the trunk's names.

    Raises:
        InputError: The folder or a file in it is not whole.
    """
    source = path / _npu.read_report(path, _npu.QUALCOMM)["source"]["file"]
    found = _onnx_facts.scales(source)
    model = _graph.read(source)
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    ends = {}
    for node in model.graph.node:
        for name, tensor in ((node.input[0], "image"), (node.output[0], "alpha")):
            if name == tensor and node.op_type in _PAIR and node.input[1] in values:
                ends[tensor] = (float(values[node.input[1]]), int(values[node.input[2]]))
    return Scales({**found.activations, **ends}, found.weights)


assert qdq.CODES == "#codes"  # source.onnx calls its ends by the tensors' own names
