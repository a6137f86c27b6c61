"""Ask runtimes and compilers where an artefact's operators run, and tables where nobody here can be asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgemat.errors import EdgematError
from edgemat.verify.lint import table
from edgemat.verify.lint.facts import HALF, Facts, Left, Placement

XNNPACK, ANE, GPU, ORT, TENSORRT = (
    "XNNPACK",
    "Apple Neural Engine",
    "LiteRT GPU delegate",
    "ONNX Runtime int8",
    "TensorRT",
)
ANE_OLDER = "Apple Neural Engine before A14"
HTP, ETHOS = "Qualcomm HTP", "Ethos-U"
_XNNPACK = "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack/README.md"


def placements(facts: Facts, path: Path, target: str) -> tuple[Placement, ...]:
    """Return what is known of where an artefact runs.

    Args:
        facts: What its reader found.
        path: The artefact.
        target: The target that reads it.

    Raises:
        EdgematError: A runtime could not be asked.
    """
    ask = _ASKED.get(target)
    return () if ask is None else tuple(ask(facts, path))


def _tflite(facts: Facts, path: Path) -> Iterator[Placement]:
    yield xnnpack(path)
    yield table.place(facts, table.load(table.GPU_DELEGATE))


def _coreml(facts: Facts, path: Path) -> Iterator[Placement]:
    del path
    known = table.load(table.ANE)
    found = table.place(facts, known)
    if facts.half != HALF:
        reason = "the engine computes in float16 alone; a float32 program runs on the GPU and the CPU"
        left = tuple(Left(op.label, reason, known.sources["types"]) for op in facts.ops if op.kind.startswith("conv"))
        found = dataclasses.replace(found, left=(*found.left, *left))
    yield found
    if facts.half != HALF:
        return
    older = table.place(facts, known, (table.OLDER,))
    yield dataclasses.replace(older, accelerator=ANE_OLDER, unknown=())


def _onnx(facts: Facts, path: Path) -> Iterator[Placement]:
    """Ask ONNX Runtime, of a Q/DQ file, what it still computes in float once it has fused what it can."""
    from edgemat.export import _graph
    from edgemat.export import onnx as target

    if not any(op.kind == "QuantizeLinear" for op in facts.ops):
        return
    try:
        lines = target._unfused(_graph.read(path))
    except (ValueError, RuntimeError, OSError) as error:
        raise EdgematError(f"{path}: ONNX Runtime could not be asked what it fuses ({error})") from error
    left = tuple(Left(*_split(line), "ONNX Runtime, as it optimised the file here") for line in lines)
    computing = sum(op.kind not in ("QuantizeLinear", "DequantizeLinear") for op in facts.ops)
    yield Placement(ORT, computing, left, (), None, "ONNX Runtime")


def _split(line: str) -> tuple[str, str]:
    """Return the place that a complaint begins with, and the rest."""
    place, _, rest = line.partition(": ")
    return place, rest or place


def _tensorrt(facts: Facts, path: Path) -> Iterator[Placement]:
    from edgemat.export import _graph
    from edgemat.export.tensorrt import _rules

    view = _rules.View(_graph.read(path))
    left = []
    for rule in _rules.RULES:
        for line in rule.broken(view):
            place, reason = _split(line)
            left.append(Left(place, f"{reason}; TensorRT's rule: {rule.text}", rule.source))
    yield Placement(TENSORRT, len(facts.ops), tuple(left), (), None, "TensorRT's documented rules, on the graph")


def _ethos(facts: Facts, path: Path) -> Iterator[Placement]:
    from edgemat.export.ethos_u._vela import CORES, OPERATOR

    del facts
    yield from _compiled(path, CORES, OPERATOR, ETHOS, "Vela, when it compiled the file")


def _qualcomm(facts: Facts, path: Path) -> Iterator[Placement]:
    from edgemat.export import _npu
    from edgemat.export.litert_qualcomm._write import DISPATCH

    del facts
    yield from _compiled(path, _npu.QUALCOMM, DISPATCH, HTP, "LiteRT's compiler for Qualcomm")


def _compiled(path: Path, chips: Any, operator: str, name: str, asked: str) -> Iterator[Placement]:
    """Yield what is left beside the partitions of each compiled .tflite of a folder."""
    from edgemat.export import _npu, _npu_tflite

    for entry in _npu.read_report(path, chips)["compiled"]:
        lines = _npu_tflite.left(path / entry["file"], operator)
        counts = entry["operators"]
        missing = int(counts["cpu"]) - len(lines)
        left = [Left(line, "it is not in the accelerator's partition", asked) for line in lines]
        if missing > 0:
            left.append(Left(f"{missing} operators", "the compiler counts them as the CPU's", asked))
        total = int(counts["npu"]) + max(int(counts["cpu"]), len(lines))
        yield Placement(f"{name} {entry['chip']}", total, tuple(left), (), None, asked)


def _qnn(facts: Facts, path: Path) -> Iterator[Placement]:
    from edgemat.export import _graph, _npu
    from edgemat.export.qnn import _read

    del facts
    report = _npu.read_report(path, _npu.QUALCOMM)
    asked = "ONNX Runtime's QNN execution provider, when it compiled the file"
    source = _graph.read(path / report["source"]["file"])
    islands = tuple(Left(*_split(line), asked) for line in _read.islands(source))
    for entry in report["compiled"]:
        counts = entry["operators"]
        left = islands
        if int(counts["cpu"]):
            left = (*islands, Left(f"{counts['cpu']} nodes", "the compiler counts them as the CPU's", asked))
        total = int(counts["npu"]) + int(counts["cpu"])
        yield Placement(f"{HTP} {entry['chip']}", total, left, (), None, asked)


_ASKED: Mapping[str, Callable[[Facts, Path], Iterator[Placement]]] = {
    "coreml": _coreml,
    "ethos_u": _ethos,
    "litert_qualcomm": _qualcomm,
    "onnx": _onnx,
    "qnn": _qnn,
    "tensorrt": _tensorrt,
    "tflite": _tflite,
}


def xnnpack(path: Path) -> Placement:
    """Ask LiteRT which operators of a .tflite it gives to XNNPACK.

    LiteRT lists the file's operators and, after them, one DELEGATE for each partition, which states the tensors it
    reads and writes; going back from what it writes to what it reads finds the operators that it replaced.

    Raises:
        InputError: LiteRT cannot load the file.
    """
    from edgemat.export.tflite import _reading, _runner

    model = _reading.verified(path)
    graph = model.subgraphs[0]
    details = _runner.open_interpreter(_reading.read_bytes(path), path)._get_ops_details()
    partitions = [node for node in details if node["op_name"] == "DELEGATE"]
    makers = {int(tensor): i for i, op in enumerate(graph.operators) for tensor in op.outputs}
    covered: set[int] = set()
    for partition in partitions:
        reads, pending = {int(i) for i in partition["inputs"]}, [int(i) for i in partition["outputs"]]
        while pending:
            index = pending.pop()
            if index not in reads and (maker := makers.get(index)) is not None and maker not in covered:
                covered.add(maker)
                pending += [int(i) for i in graph.operators[maker].inputs]
    reason = "LiteRT leaves it to its own kernel, and does not say why"
    left = tuple(
        Left(f"{_reading.name_of(graph, int(op.outputs[0]))} ({_reading.kind_of(model, op)})", reason, _XNNPACK)
        for i, op in enumerate(graph.operators)
        if i not in covered
    )
    return Placement(XNNPACK, len(graph.operators), left, (), len(partitions), "LiteRT, which loaded the file here")
