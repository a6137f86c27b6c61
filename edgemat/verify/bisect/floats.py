"""Float artefacts: each tensor beside what the trunk makes of the artefact's own tensors before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from edgemat.quantize import graph as graphs
from edgemat.quantize import rules
from edgemat.quantize.grid import weight_codes, weight_reals
from edgemat.verify.bisect import bounds
from edgemat.verify.bisect.result import Part

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgemat.export._target import Images, Tensors
    from edgemat.quantize.graph import Graph
    from edgemat.quantize.grid import Grid
    from edgemat.verify.bisect.bounds import Precision
    from edgemat.verify.exported import Entry

Floats = npt.NDArray[np.float32]
_SCALES = 2.0**-11
"""Largest relative difference of a stated scale from the grid's that float16 explains."""


class Residual(NamedTuple):
    """One tensor of one image.

    Attributes:
        found: The artefact's, float32.
        expected: What the trunk makes of the artefact's own tensors before it, float32.
        limit: How far rounding may take the one from the other, value by value, float32.
    """

    found: Floats
    expected: Floats
    limit: Floats

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """The difference over its limit, value by value; infinite where a number is expected and none found."""
        with np.errstate(invalid="ignore", over="ignore"):
            found = np.abs(self.found.astype(np.float64) - self.expected) / self.limit
        known = np.isfinite(self.expected) & np.isfinite(self.limit)
        broken = np.where(known & ~np.isfinite(self.found), np.inf, found)
        # where no number is expected, the fault arose before
        times: npt.NDArray[np.float64] = np.where(known, broken, 0.0)
        return times


@dataclass(frozen=True, eq=False)
class FloatReference:
    """The trunk, as an artefact of one precision must compute it.

    Attributes:
        model: The trunk with the weights that the artefact stores.
        graph: The same.
        precision: What the artefact rounds to.
        unsure: Constants that the artefact may hold a little differently, and by how much.
    """

    model: ModelProto
    graph: Graph
    precision: Precision
    unsure: Mapping[str, Floats]

    def residuals(self, image: Images, traced: Tensors) -> dict[str, Residual]:
        """Return every tensor that an artefact shows beside what the trunk makes of those before it, in its order.

        Args:
            image: RGB, uint8, (H, W, 3): what was run.
            traced: What the artefact shows of it.
        """
        from edgemat.export.onnx import session, to_floats

        source = self.graph.inputs[0]
        pixels = to_floats(image[None])[0]
        given = {
            name: np.ascontiguousarray(value, np.float32)
            for name, value in traced.items()
            if value.shape == self.graph.shapes.get(name)
        }
        walked = bounds.instrumented(self.model, self.graph, given.keys(), self.precision, self.unsure)
        opened = session(walked.SerializeToString())
        feeds = {name + bounds.GIVEN: value for name, value in given.items()} | {source: given.get(source, pixels)}
        names = [port.name for port in opened.get_outputs()]
        values = opened.run(names, {port.name: feeds[port.name] for port in opened.get_inputs()})
        made = dict(zip(names, values, strict=True))
        found = {}
        if source in given:
            smallest = np.float32(self.precision.pixels) * np.abs(pixels) + np.float32(self.precision.smallest)
            found[source] = Residual(given[source], pixels, smallest)
        smallest = np.float32(self.precision.smallest)
        for name in (name for name in names if not name.endswith(bounds.LIMIT)):
            found[name] = Residual(given[name], made[name], made[name + bounds.LIMIT] + smallest)
        return found


def reference(entry: Entry) -> FloatReference:
    """Return what an artefact is compared with: by its precision, whatever the file says.

    A file of halves or of stored integers is compared with a trunk of such weights, so that their rounding is no
    difference; whether it also computes in half is read from the file.
    """
    from edgemat.export import _graph

    model = _graph.read(entry.trunk.path)
    if entry.precision.startswith("fp32"):
        return FloatReference(model, graphs.of(model), bounds.SINGLE, {})
    inspection = entry.target.inspect(entry.path)
    if entry.precision in entry.target.stores:
        assert entry.trunk.grid is not None
        model = _stored(model, entry, entry.trunk.grid)
    model, unsure = _halved(model)
    precision = bounds.HALF if "float16" in inspection.arithmetic() else bounds.SINGLE
    return FloatReference(model, graphs.of(model), precision, unsure)


def _stored(model: ModelProto, entry: Entry, grid: Grid) -> ModelProto:
    """Return the trunk with the weights that codes and scales stand for; a scale may be stated in float16."""
    import onnx
    from onnx import numpy_helper

    stated = entry.target.scales(entry.path).weights if entry.target.scales is not None else {}
    axes = {unit.weight: rules.WEIGHTED[unit.node.op] for unit in rules.units(graphs.of(model)) if unit.weight}
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.name in grid.weights and tensor.name in axes:
            axis, wanted = axes[tensor.name], grid.weights[tensor.name]
            codes = weight_codes(numpy_helper.to_array(tensor), wanted, axis, grid.scheme)
            scales = _credible(stated.get(tensor.name), wanted)
            tensor.CopyFrom(numpy_helper.from_array(weight_reals(codes, scales, axis), tensor.name))
    return made


def _credible(stated: Floats | None, wanted: Floats) -> Floats:
    """Return the scales that a file states where rounding to float16 explains them, else the grid's, rounded."""
    if stated is not None and stated.shape == wanted.shape and (abs(stated / wanted - 1.0) <= _SCALES).all():
        return stated
    return wanted.astype(np.float16).astype(np.float32)


def _halved(model: ModelProto) -> tuple[ModelProto, dict[str, Floats]]:
    """Return a model whose constants are rounded to float16, and by how much those that are no weights were moved."""
    import onnx
    from onnx import TensorProto, numpy_helper

    made, moved = onnx.ModelProto(), {}
    made.CopyFrom(model)
    kept = {
        node.input[i] for node in made.graph.node if node.op_type == "Resize" for i in (1, 2) if i < len(node.input)
    }
    weights = {node.input[1] for node in made.graph.node if node.op_type in rules.WEIGHTED}
    for tensor in made.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or tensor.name in kept:
            continue
        exact = numpy_helper.to_array(tensor)
        half = exact.astype(np.float16).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
        if tensor.name not in weights:
            moved[tensor.name] = 2.0 * np.abs(half - exact)
    return made, moved


def worst(compared: FloatReference, images: Images, traces: Sequence[Tensors]) -> dict[str, Worst]:
    """Return each tensor that an artefact shows, at the image where it is most beyond its limit.

    Args:
        compared: What it is compared with.
        images: RGB, uint8, (N, H, W, 3).
        traces: What the artefact shows of each.
    """
    found: dict[str, Worst] = {}
    for image, traced in zip(images, traces, strict=True):
        for name, wanted in _misshapen(compared.graph, traced):
            nothing = np.zeros(wanted, np.float32)
            found[name] = Worst(image, Residual(traced[name], nothing, nothing), np.inf)
        if not traced.keys() & compared.graph.shapes.keys():
            continue
        for name, residual in compared.residuals(image, traced).items():
            times = float(residual.times.max(initial=0.0))
            if name not in found or times > found[name].times:
                found[name] = Worst(image, residual, times)
    return found


class Worst(NamedTuple):
    """One tensor of the image where it is most beyond its limit.

    Attributes:
        image: RGB, uint8, (H, W, 3).
        residual: Of that image.
        times: Its largest difference over the limit; infinite for another shape.
    """

    image: Images
    residual: Residual
    times: float


def _misshapen(graph: Graph, traced: Tensors) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, value in traced.items():
        if name in graph.shapes and value.shape != graph.shapes[name]:
            yield name, graph.shapes[name]


def measured(tensor: str, node: tuple[str, str], residual: Residual, precision: Precision) -> Part:
    """Return how far a tensor is from what was expected.

    Args:
        tensor: Its name.
        node: Operator and name of what makes it.
        residual: Of one image.
        precision: What the artefact rounds to.
    """
    found, expected = residual.found, residual.expected
    if found.shape != expected.shape:
        hint = f"its shape is {found.shape}, expected {expected.shape}"
        return Part(tensor, *node, precision.name, np.inf, np.inf, np.inf, np.inf, 1.0, hint=hint)
    times = residual.times
    place = np.unravel_index(int(times.argmax()), times.shape)
    wanted, given = float(expected[place]), float(found[place])
    finite = expected[np.isfinite(expected)]
    peak = float(np.abs(finite).max(initial=0.0))
    off = abs(given - wanted) if np.isfinite(given) else np.inf
    kind = np.float16 if precision is bounds.HALF else np.float32
    with np.errstate(over="ignore", invalid="ignore"):
        ulp = float(np.spacing(np.abs(kind(max(abs(wanted), abs(given)) if np.isfinite(given) else wanted))))
    steps = off / ulp if np.isfinite(ulp) and ulp > 0.0 else np.inf
    return Part(
        tensor, *node, precision.name, off, off / max(peak, 1e-30), steps, float(times[place]),
        float((times > 1.0).mean()), tuple(int(i) for i in place[1:]), wanted, given,
    )  # fmt: skip
