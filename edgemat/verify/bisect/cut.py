"""Where a backend shows no inner tensors: export ever shorter trunks through the same target, and compare their ends.

A trunk's output is an image. A tensor of another shape is made one by a probe: a convolution of 1x1 with fixed random
weights, brought to [0, 1], and a DepthToSpace to full size. What is found so is a fault of the converter or the
runtime; a fault of the file alone is gone once the trunk is exported again, and that is then said.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgemat.errors import EdgematError
from edgemat.export import _graph
from edgemat.quantize import graph as graphs
from edgemat.verify.bisect import segment
from edgemat.verify.compare import compare

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgemat.export._target import Gate, Images, Trunk
    from edgemat.quantize.graph import Graph
    from edgemat.verify.bisect.result import Part
    from edgemat.verify.exported import Entry

_HOW = "found by exporting {count} shorter trunks through {target}, as the backend shows no inner tensors"
_MENDED = (
    "the same trunk, exported again, passes: the fault is in this file and not in the target; compare its SHA-256 "
    "with report.json, and export again"
)


class _Cut(NamedTuple):
    """A trunk that ends at a tensor."""

    tensor: str
    passes: bool
    largest: float


def search(entry: Entry, gate: Gate, images: Images, part: Part) -> tuple[Part, list[str]]:
    """Return the first tensor whose shorter trunk fails, found by halves.

    Args:
        entry: An artefact whose output is wrong.
        gate: Its gate, which each probe has to keep.
        images: RGB, uint8, (N, H, W, 3).
        part: The output, which is returned where no tensor can be named.

    Returns:
        The part, and notes on how it was found, or why not.
    """
    model = _graph.read(entry.trunk.path)
    graph = graphs.of(model)
    names = [name for node in graph.nodes for name in node.outputs if _factor(graph, entry.trunk, name)]
    names = [name for name in names if name not in graph.outputs]
    with tempfile.TemporaryDirectory() as folder:
        cutter = _Cutter(entry, gate, images, model, graph, Path(folder))
        try:
            if cutter.whole().passes:
                return part, [_MENDED]
        except EdgematError as error:
            return part, [f"the trunk cannot be exported again, so it cannot be cut: {error}"]
        good, bad = -1, len(names)
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                found = cutter.at(names[middle])
            except EdgematError as error:  # the next one, then
                cutter.refused.append(f"{names[middle]}: {str(error).splitlines()[0]}")
                names.pop(middle)
                bad -= 1
                continue
            good, bad = (middle, bad) if found.passes else (good, middle)
    notes = [_HOW.format(count=cutter.count, target=entry.target.name)]
    notes += [f"{len(cutter.refused)} tensors could not be an output: {cutter.refused[0]}"] if cutter.refused else []
    tensor = names[bad] if bad < len(names) else graph.outputs[0]
    before = set(names[: good + 1])
    op, node = segment.before(model, graph, tensor, before).source
    largest = cutter.found[tensor].largest if tensor in cutter.found else part.largest
    return replace(
        part, tensor=tensor, op=op, node=node, hint=f"its probe differs by {largest:.3g} of its range"
    ), notes


def _factor(graph: Graph, trunk: Trunk, name: str) -> int:
    """Return how many times larger the image is than a tensor; 0 where no DepthToSpace makes the one of the other."""
    shape = graph.shapes[name]
    if len(shape) != 4 or shape[0] != 1 or trunk.height % shape[2] or trunk.width % shape[3]:
        return 0
    factor = trunk.height // shape[2]
    return factor if factor == trunk.width // shape[3] else 0


class _Cutter:
    """Makes, exports and runs shorter trunks."""

    def __init__(self, entry: Entry, gate: Gate, images: Images, model: ModelProto, graph: Graph, folder: Path) -> None:
        self.entry, self.gate, self.images = entry, gate, images
        self.model, self.graph, self.folder = model, graph, folder
        self.count = 0
        self.found: dict[str, _Cut] = {}
        self.refused: list[str] = []

    def whole(self) -> _Cut:
        """Export and run the trunk as it is."""
        return self._judged(self.graph.outputs[0], self.entry.trunk)

    def at(self, tensor: str) -> _Cut:
        """Export and run the trunk that ends at a tensor."""
        path = self.folder / f"cut-{self.count}.onnx"
        probed(self.model, self.graph, tensor, self.images, path, self.entry.trunk)
        trunk = replace(self.entry.trunk, path=path)
        self.found[tensor] = self._judged(tensor, trunk)
        return self.found[tensor]

    def _judged(self, tensor: str, trunk: Trunk) -> _Cut:
        from edgemat.export._compare import References

        self.count += 1
        place = self.folder / f"artefact-{self.count}{self.entry.target.suffix}"
        self.entry.target.convert(trunk, self.entry.precision, place)
        inner = self.folder / f"stored-{self.count}"
        references = References(self.images, inner)
        stored = self.entry.precision in self.entry.target.stores
        expected = references.plain(references.stored(trunk) if stored else trunk)
        with self.entry.target.load(place) as runner:
            found = compare(runner.run(self.images), expected)
        passes = found.max_abs <= self.gate.max_abs and found.mean_abs <= self.gate.mean_abs
        return _Cut(tensor, passes, found.max_abs)


def probed(model: ModelProto, graph: Graph, tensor: str, images: Images, path: Path, trunk: Trunk) -> None:
    """Write a trunk that ends at a tensor's probe.

    Args:
        model: The whole trunk.
        graph: The same.
        tensor: (1, C, h, w), the image's size a whole multiple of its own.
        images: RGB, uint8, (N, H, W, 3): the probe stays within [0, 1] on them.
        path: The goal.
        trunk: The whole one.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from edgemat.export.onnx import OnnxRunner

    factor = _factor(graph, trunk, tensor)
    with OnnxRunner(trunk.path) as runner:
        values = np.concatenate([runner.trace(image)[tensor] for image in images]).astype(np.float64)
    rng = np.random.default_rng(0)
    count = values.shape[1]
    mixing = rng.choice([-1.0, 1.0], (factor * factor, count)) / np.sqrt(count)
    mixed = np.einsum("fc,nchw->nfhw", mixing, values)
    low, high = mixed.min((0, 2, 3)), mixed.max((0, 2, 3))
    scale = 0.9 / np.maximum(high - low, 1e-6)
    weight = (mixing * scale[:, None])[..., None, None].astype(np.float32)
    bias = (0.05 - low * scale).astype(np.float32)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    inner = made.graph
    nodes = segment.before(model, graph, tensor, set()).nodes
    read = {name for node in nodes for name in node.input}
    stated = [node for node in inner.node if node.op_type == "Constant" and node.output[0] in read]
    ends = {
        "probe.weight": weight, "probe.bias": bias, "probe.low": np.float32(0.0), "probe.high": np.float32(1.0)
    }  # fmt: skip
    constants = [t for t in inner.initializer if t.name in read]
    constants += [numpy_helper.from_array(np.asarray(value), name) for name, value in ends.items()]
    output = graph.outputs[0]
    cut = "probe.clip" if factor > 1 else output
    tail = [
        helper.make_node("Conv", [tensor, "probe.weight", "probe.bias"], ["probe"], "probe", kernel_shape=[1, 1]),
        helper.make_node("Clip", ["probe", "probe.low", "probe.high"], [cut], cut),
    ]
    if factor > 1:
        tail.append(helper.make_node("DepthToSpace", [cut], [output], output, blocksize=factor, mode="CRD"))
    del inner.node[:], inner.initializer[:], inner.value_info[:], inner.output[:]
    inner.node.extend([*stated, *nodes, *tail])
    inner.initializer.extend(constants)
    inner.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, 1, trunk.height, trunk.width]))
    made = onnx.shape_inference.infer_shapes(made, strict_mode=True, data_prop=True)
    path.write_bytes(made.SerializeToString(deterministic=True))
