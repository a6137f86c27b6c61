"""Calibrate: choose every scale of a float graph from calibration images, by the rules of the grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from edgemat.quantize import graph as graphs
from edgemat.quantize import passport, ranges, rules, weightscales
from edgemat.quantize.graph import Graph
from edgemat.quantize.grid import Grid, QParams
from edgemat.quantize.observe import Stats, observe
from edgemat.quantize.ranges import METHODS, PERCENTILE, Form
from edgemat.quantize.scheme import Scheme

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from onnx import ModelProto

    Images = npt.NDArray[np.uint8]

__all__ = ["METHODS", "activations", "calibrate", "forms", "from_stats", "with_passport"]


def calibrate(
    model: ModelProto,
    images: Images,
    scheme: Scheme,
    method: str = "mse",
    kept: frozenset[str] = frozenset(),
    percentile: float = PERCENTILE,
    origin: str = "the trunk",
) -> Grid:
    """Return the whole integer grid of a float graph, calibrated on images, with its passport; nothing in it is random.

    Args:
        model: Float32, opset 18, fixed shapes, every weight an initializer.
        images: RGB, uint8, (N, H, W, 3), H and W those of the graph.
        scheme: Bits and symmetry.
        method: One of `METHODS`. ``mse`` also clips weights, each channel for the least squared error; the others scale
            a weight's channel by its largest value.
        kept: Names of nodes that compute in float.
        percentile: For ``percentile``: share of values kept at each end, in percent.
        origin: The file, for errors.

    Raises:
        UnsupportedOpError: Nodes that cannot be quantized, all of them.
        InputError: No images, or not such ones; an unknown method; a tensor that became NaN or infinite.
    """
    ranges.check_method(method)
    graph = graphs.of(model, origin)
    rules.refuse(graph, kept, origin)
    stats = observe(model, graph, images, origin)
    grid = from_stats(graph, stats, scheme, method, kept, percentile)
    return with_passport(grid, graph, stats, images, method)


def from_stats(
    graph: Graph,
    stats: Sequence[Stats],
    scheme: Scheme,
    method: str,
    kept: frozenset[str] = frozenset(),
    percentile: float = PERCENTILE,
) -> Grid:
    """Return the grid of what was seen, without a passport; arguments as for `calibrate`."""
    chosen = activations(graph, stats, scheme, method, percentile)
    return Grid(scheme, chosen, weightscales.choose(graph, chosen, scheme, method == "mse", kept), kept)


def with_passport(
    grid: Grid,
    graph: Graph,
    stats: Sequence[Stats],
    images: Images,
    method: str,
    engine: str = "grid",
    notes: Sequence[str] = (),
) -> Grid:
    """Return a grid with the passport of its calibration (`edgemat.quantize.passport`)."""
    given, shapes = rules.fixed(graph, grid.scheme), forms(graph, grid.scheme)
    facts = passport.make(stats, images, grid.activations, shapes, given, method, engine)
    return dataclasses.replace(grid, passport={**facts, "notes": list(notes)})


def activations(
    graph: Graph, stats: Iterable[Stats], scheme: Scheme, method: str, percentile: float = PERCENTILE
) -> dict[str, QParams]:
    """Return scale and zero point of every tensor, from what was seen of each group."""
    given, shapes = rules.fixed(graph, scheme), forms(graph, scheme)
    found: dict[str, QParams] = {}
    for seen in stats:
        lead = seen.names[0]
        params = given[lead] if lead in given else ranges.choose(seen, shapes[lead], method, percentile)
        found |= dict.fromkeys(seen.names, params)
    return {name: found[name] for name in rules.tensors(graph)}


def forms(graph: Graph, scheme: Scheme) -> dict[str, Form]:
    """Return, for every tensor, what the rules leave open about its range."""
    zeros, tops = rules.starts_at_zero(graph), rules.bounds(graph)
    return {
        name: Form(*scheme.limits, scheme.symmetric, name in zeros, tops.get(name, float("inf")))
        for name in rules.tensors(graph)
    }
