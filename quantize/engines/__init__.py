"""Post-training quantization by three engines, whose results all stand on the one grid.

`edgemat.quantize.calibrate` is ours. NNCF and ONNX Runtime quantize the float graph themselves; the Q/DQ model that
they write is read back, and what it states is taken: scales of activations and weights, corrected biases. Our own
calibration completes what it leaves open, and where it breaks a rule of the grid it is settled; all such are noted.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgemat.errors import BackendMissingError, InputError
from edgemat.quantize import graph as graphs
from edgemat.quantize import rules, settle
from edgemat.quantize.calibrate import METHODS, from_stats, with_passport
from edgemat.quantize.engines import _nncf, _ort
from edgemat.quantize.extract import Extracted, extract
from edgemat.quantize.graph import Array, Graph
from edgemat.quantize.grid import Grid
from edgemat.quantize.observe import observe
from edgemat.quantize.scheme import Scheme

if TYPE_CHECKING:
    import numpy.typing as npt
    from onnx import ModelProto

    Images = npt.NDArray[np.uint8]

ENGINES: Mapping[str, tuple[str, ...]] = {
    "grid": ("mse", *(name for name in METHODS if name != "mse")),
    "nncf": ("default", "accurate", "uncorrected", "minmax", "percentile", "histogram"),
    "ort": ("minmax", "entropy", "percentile"),
}
"""Engine to its methods, the default first. NNCF's ``accurate`` corrects biases layer after layer, ``uncorrected`` not
at all, and all others fast; ONNX Runtime's ``entropy`` has one histogram bin a code, so it clips little."""
_NEEDS = {"nncf": "nncf", "ort": "onnxruntime"}
_EXTRAS = {"nncf": "nncf", "ort": "onnx"}


@dataclass(frozen=True, eq=False)
class Quantized:
    """What an engine made of a float graph.

    Attributes:
        engine: Its name.
        method: Of calibration, in the engine's own words.
        model: The float graph, with the constants that the engine changed.
        grid: Every scale.
        constants: The constants that it changed (corrected biases), by name.
        notes: What is not as the engine stated it, and why; what it did beside scales.
    """

    engine: str
    method: str
    model: ModelProto
    grid: Grid
    constants: Mapping[str, Array]
    notes: tuple[str, ...]


def quantize(
    engine: str,
    model: ModelProto,
    images: Images,
    scheme: Scheme,
    method: str | None = None,
    kept: frozenset[str] = frozenset(),
    origin: str = "the trunk",
) -> Quantized:
    """Quantize a float graph after training.

    Args:
        engine: One of `ENGINES`.
        model: Float32, opset 18, fixed shapes, every weight an initializer, input ``image``.
        images: RGB, uint8, (N, H, W, 3), H and W those of the graph.
        scheme: Bits and symmetry.
        method: One of the engine's; its first by default.
        kept: Names of nodes that compute in float.
        origin: The file, for errors.

    Raises:
        InputError: An unknown engine or method, unusable images, a tensor that became NaN; or the engine failed.
        BackendMissingError: The engine is not installed.
        UnsupportedOpError: Nodes that cannot be quantized, all of them.
    """
    method = check(engine, method)
    graph = graphs.of(model, origin)
    rules.refuse(graph, kept, origin)
    stats = observe(model, graph, images, origin)
    if engine == "grid":
        made = Quantized(engine, method, model, from_stats(graph, stats, scheme, method, kept), {}, ())
    else:
        make = _nncf.run if engine == "nncf" else _ort.run
        stated = extract(make(model, images, scheme, method, kept, origin), f"{origin}, quantized by {engine}")
        made = _read_back(engine, method, model, graph, stated, from_stats(graph, stats, scheme, "mse", kept))
    grid = with_passport(made.grid, graph, stats, images, method, engine, made.notes)
    return dataclasses.replace(made, grid=grid)


def check(engine: str, method: str | None) -> str:
    """Return the method, the engine's first where none is named.

    Raises:
        InputError: There is no such engine, or it has no such method.
        BackendMissingError: The engine is not installed.
    """
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r} is not known; expected one of {', '.join(ENGINES)}")
    if method is not None and method not in ENGINES[engine]:
        raise InputError(f"engine {engine} has no method {method!r}; expected one of {', '.join(ENGINES[engine])}")
    needed = _NEEDS.get(engine)
    if needed and importlib.util.find_spec(needed) is None:
        raise BackendMissingError(f"engine {engine}: {needed} not installed; pip install 'edgemat[{_EXTRAS[engine]}]'")
    return method or ENGINES[engine][0]


def _read_back(
    engine: str, method: str, model: ModelProto, graph: Graph, stated: Extracted, calibrated: Grid
) -> Quantized:
    """Bring what an engine stated onto the grid."""
    scheme, kept = calibrated.scheme, calibrated.kept
    there = {node.name: node for node in stated.graph.nodes}
    weights, constants, notes = {}, {}, []
    for unit in rules.units(graph):
        other = there.get(unit.node.name)
        if not unit.weight or unit.node.name in kept or other is None:
            continue
        found = stated.weights.get(other.inputs[1])
        if found is not None and found.bits <= scheme.weight_bits:
            weights[unit.weight] = found
        if unit.bias and scheme.weight_bits == 8:  # a correction is one of 8-bit weights' error
            bias, old = stated.graph.constants[other.inputs[2]], graph.constants[unit.bias]
            if engine == "nncf" and not np.array_equal(bias, old):
                constants[unit.bias] = bias.astype(np.float32)
    if constants:
        notes.append(f"{len(constants)} biases corrected by {engine}")
    settled = settle.settle(graph, stated.activations, weights, scheme, kept)
    activations, scales = settle.complete(with_constants(graph, constants), settled, calibrated)
    if scheme.weight_bits != 8 and not weights:
        notes.append(f"{engine} has no weights of {scheme.weight_bits} bits: by the grid's own least squares")
    notes += settled.changes
    lost = [name for name in settled.missing if name in activations or (scales and scheme.weight_bits == 8)]
    notes += [f"{name}: no scale by {engine}; calibrated by the grid's own least squares" for name in lost]
    grid = Grid(scheme, activations, scales, kept)
    return Quantized(engine, method, changed(model, constants), grid, constants, tuple(notes))


def with_constants(graph: Graph, constants: Mapping[str, Array]) -> Graph:
    """Return a graph with other constants."""
    return dataclasses.replace(graph, constants={**graph.constants, **constants})


def changed(model: ModelProto, constants: Mapping[str, Array]) -> ModelProto:
    """Return a model with other constants."""
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        if tensor.name in constants:
            tensor.CopyFrom(onnx.numpy_helper.from_array(constants[tensor.name], tensor.name))
    return result
