"""Which layers quantization hurts, and which few to keep in float so that a budget is met.

Everything runs in ONNX Runtime: a unit alone on its codes in an otherwise float graph (`alone`), and the whole integer
graph with nodes kept in float (`edgemat.quantize.qdq`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError
from edgemat.quantize import graph as graphs
from edgemat.quantize import observe, qdq, rules
from edgemat.quantize.graph import Graph
from edgemat.quantize.grid import Grid, weight_codes, weight_reals
from edgemat.quantize.rules import Unit

if TYPE_CHECKING:
    from onnx import ModelProto

    Images = npt.NDArray[np.uint8]
    Alphas = npt.NDArray[np.float32]

METRICS = ("mad", "grad")
_BUDGET = re.compile(r"(\w+)=\+?(\d+(?:\.\d+)?)%")


@dataclass(frozen=True)
class Layer:
    """What one unit's quantization does.

    Attributes:
        name: Of its node.
        op: Its operator.
        difference: Mean absolute difference of alpha from the float network's, times 1e3; it alone is quantized.
        mad: Change of MAD against ground truth, times 1e3; None without mattes.
    """

    name: str
    op: str
    difference: float
    mad: float | None


@dataclass(frozen=True)
class Budget:
    """How much worse the integer network may be than the float one on the calibration images.

    Attributes:
        metric: One of `METRICS`.
        share: Admissible increase, such as 0.01.
    """

    metric: str
    share: float

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Return the budget of ``mad=+1%``.

        Raises:
            InputError: It is no such text.

        Example:
            >>> Budget.parse("mad=+1%")
            Budget(metric='mad', share=0.01)
        """
        found = _BUDGET.fullmatch(text)
        if found is None or found[1] not in METRICS:
            raise InputError(f"budget {text!r}; expected one of {', '.join(METRICS)} and a share, such as mad=+1%")
        return cls(found[1], float(found[2]) / 100.0)


@dataclass(frozen=True)
class Kept:
    """What a budget costs.

    Attributes:
        budget: As asked.
        reference: The float network's figure.
        before: The integer network's, with nothing kept for the budget's sake.
        after: With `names` kept.
        names: Nodes that the budget keeps in float, the one that helps most first.
        steps: A line for each: the figure were it quantized, too.
    """

    budget: Budget
    reference: float
    before: float
    after: float
    names: tuple[str, ...]
    steps: tuple[str, ...]

    @property
    def limit(self) -> float:
        """Largest admissible figure."""
        return self.reference * (1.0 + self.budget.share)

    def __bool__(self) -> bool:
        """Return whether the budget is met."""
        return self.after <= self.limit


def predict(model: ModelProto, images: Images) -> Alphas:
    """Return alpha, float32, (N, H, W), of a model with one input and one output."""
    name = model.graph.output[0].name
    return np.stack([values[name][0, 0] for values in observe.run(model, (name,), images)])


def score(metric: str, predictions: Alphas, mattes: Alphas) -> float:
    """Return the mean of a metric over images."""
    from edgemat import metrics

    function: Callable[[Alphas, Alphas], npt.NDArray[np.float64]] = {"mad": metrics.mad, "grad": metrics.grad}[metric]
    return float(np.mean(function(predictions, mattes)))


def rank(model: ModelProto, grid: Grid, images: Images, mattes: Alphas | None = None) -> tuple[Layer, ...]:
    """Return the units that compute, worst first, each quantized alone.

    Args:
        model: The float graph.
        grid: Its scales.
        images: RGB, uint8, (N, H, W, 3).
        mattes: Ground truth, float32, (N, H, W), or None.
    """
    graph = graphs.of(model)
    exact = predict(model, images)
    truth = None if mattes is None else score("mad", exact, mattes)
    layers = []
    for unit in candidates(graph, grid.kept):
        found = predict(alone(model, graph, grid, unit), images)
        change = None if mattes is None or truth is None else score("mad", found, mattes) - truth
        layers.append(Layer(unit.node.name, unit.node.op, 1e3 * float(np.abs(found - exact).mean()), change))
    return tuple(sorted(layers, key=lambda layer: -layer.difference))


def candidates(graph: Graph, kept: frozenset[str]) -> tuple[Unit, ...]:
    """Return the units that may be kept in float: those that compute, and do not yet."""
    return tuple(
        unit for unit in rules.units(graph) if unit.node.op not in rules.SAME_SCALE and unit.node.name not in kept
    )


def alone(model: ModelProto, graph: Graph, grid: Grid, unit: Unit) -> ModelProto:
    """Return the float model with one unit quantized: its weight's codes, and the codes of what it makes."""
    import onnx
    from onnx import helper, numpy_helper

    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.value_info[:]
    params = grid.activations[unit.output]
    before = unit.output + qdq.FLOAT
    kind = np.uint8 if params.low == 0 else np.int8
    ends: dict[str, npt.NDArray[np.generic]] = {
        "#scale": np.array(params.scale, np.float32),
        "#zero_point": np.array(params.zero_point, kind),
    }
    result.graph.initializer.extend(numpy_helper.from_array(value, unit.output + key) for key, value in ends.items())
    pair = [
        helper.make_node("QuantizeLinear", [before, *(unit.output + key for key in ends)], [unit.output + qdq.CODES]),
        helper.make_node(
            "DequantizeLinear", [unit.output + qdq.CODES, *(unit.output + k for k in ends)], [unit.output]
        ),
    ]
    nodes = []
    for node in result.graph.node:
        nodes.append(node)
        if unit.output in node.output:
            node.output[list(node.output).index(unit.output)] = before
            nodes += pair
        if node.name == unit.node.name and unit.weight in grid.weights:
            node.input[1] = unit.weight + qdq.REAL  # other nodes may read the same weight
    if unit.weight in grid.weights:
        axis, scales = rules.WEIGHTED[unit.node.op], grid.weights[unit.weight]
        codes = weight_codes(graph.constants[unit.weight], scales, axis, grid.scheme)
        value = weight_reals(codes, scales, axis)
        result.graph.initializer.append(numpy_helper.from_array(value, unit.weight + qdq.REAL))
    ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del result.graph.node[:]
    result.graph.node.extend(ordered)
    return result


def keep(
    model: ModelProto,
    grid: Grid,
    images: Images,
    mattes: Alphas,
    budget: Budget,
    ranking: tuple[Layer, ...],
    reference: float,
) -> Kept:
    """Return which nodes to keep in float, as few as the ranking finds, so that a budget is met.

    Nodes are added in the ranking's order until the budget is met or none is left; those whose return keeps it met are
    then taken out again, the least harmful first.

    Args:
        model: The float graph.
        grid: Its scales.
        images: RGB, uint8, (N, H, W, 3).
        mattes: Ground truth, float32, (N, H, W).
        budget: To be met on these images.
        ranking: Of `rank`.
        reference: The float network's figure on these images.
    """

    def figure(names: tuple[str, ...]) -> float:
        return score(budget.metric, predict(qdq.insert(model, with_kept(model, grid, names)), images), mattes)

    limit = reference * (1.0 + budget.share)
    before = after = figure(())
    names: tuple[str, ...] = ()
    for layer in ranking:
        if after <= limit:
            break
        names = (*names, layer.name)
        after = figure(names)
    reasons: dict[str, float] = {}
    for name in reversed(names):
        fewer = tuple(other for other in names if other != name)
        without = figure(fewer) if fewer else before
        if after <= limit and without <= limit:
            names, after = fewer, without
        else:
            reasons[name] = without
    steps = tuple(f"{name}: {budget.metric} {reasons[name]:.4g} without it" for name in names)
    return Kept(budget, reference, before, after, names, steps)


def with_kept(model: ModelProto, grid: Grid, names: tuple[str, ...]) -> Grid:
    """Return a grid with more nodes kept in float; weights that only they read lose their scales."""
    kept = grid.kept | set(names)
    read = {unit.weight for unit in rules.units(graphs.of(model)) if unit.node.name not in kept}
    weights: Mapping[str, npt.NDArray[np.float32]] = {n: scales for n, scales in grid.weights.items() if n in read}
    return Grid(grid.scheme, grid.activations, weights, kept, grid.passport)
