"""Layers are ranked by the error that each adds, and a budget keeps just enough of them in float."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat.errors import InputError
from edgemat.quantize import graph as graphs
from edgemat.quantize import ptq, qdq, rules, sensitivity
from edgemat.quantize.calibrate import calibrate
from edgemat.quantize.grid import Grid
from edgemat.quantize.scheme import Scheme
from edgemat.quantize.sensitivity import Budget

from . import nets


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return nets.net()


@pytest.fixture(scope="module")
def grid(model: onnx.ModelProto) -> Grid:
    return calibrate(model, nets.images(), Scheme())


def harmed(grid: Grid, weight: str = "second.weight") -> Grid:
    """Plant a layer that quantization hurts: its weight's scales are thirty times too coarse."""
    scales = np.asarray(grid.weights[weight] * 30, np.float32)
    return dataclasses.replace(grid, weights={**grid.weights, weight: scales})


def noisy(model: onnx.ModelProto) -> npt.NDArray[np.float32]:
    """Return ground truth that the float network misses a little everywhere."""
    exact = sensitivity.predict(model, nets.images())
    noise = np.random.default_rng(0).normal(0, 0.1, exact.shape)
    return np.clip(exact + noise, 0, 1).astype(np.float32)


@pytest.mark.parametrize("node", ["first", "second", "head"])
def test_the_worst_layer_is_first(model: onnx.ModelProto, grid: Grid, node: str) -> None:
    mattes = sensitivity.predict(model, nets.images())
    ranking = sensitivity.rank(model, harmed(grid, f"{node}.weight"), nets.images(), mattes)
    assert ranking[0].name == node
    assert {layer.name for layer in ranking} == {"first", "second", "sum", "head"}  # not what only moves values
    assert ranking[0].mad == pytest.approx(ranking[0].difference, rel=1e-3)  # truth is the float network's own alpha
    assert [layer.difference for layer in ranking] == sorted((layer.difference for layer in ranking), reverse=True)


def test_alone_quantizes_one_unit(model: onnx.ModelProto, grid: Grid) -> None:
    graph = graphs.of(model)
    units = {unit.node.name: unit for unit in rules.units(graph)}
    made = sensitivity.alone(model, graph, grid, units["second"])
    onnx.checker.check_model(made, full_check=True)
    pairs = [node.output[0] for node in made.graph.node if node.op_type == "QuantizeLinear"]
    assert pairs == ["second" + qdq.CODES]


@pytest.mark.parametrize("metric", sensitivity.METRICS)
def test_a_budget_keeps_just_the_harmed_layer(model: onnx.ModelProto, grid: Grid, metric: str) -> None:
    images, mattes = nets.images(), noisy(model)
    bad = harmed(grid)
    ranking = sensitivity.rank(model, bad, images, mattes)
    reference = sensitivity.score(metric, sensitivity.predict(model, images), mattes)
    kept = sensitivity.keep(model, bad, images, mattes, Budget(metric, 0.02), ranking, reference)
    assert kept
    assert kept.names == ("second",)
    assert kept.before > kept.limit >= kept.after
    assert kept.steps == (f"second: {metric} {kept.before:.4g} without it",)
    less = sensitivity.with_kept(model, bad, kept.names)
    assert "second.weight" not in less.weights
    assert rules.complaints(graphs.of(model), less) == []


def test_layers_of_no_use_are_taken_out_again(model: onnx.ModelProto, grid: Grid) -> None:
    images = nets.images()
    mattes = noisy(model)
    bad = harmed(grid)
    ranking = sensitivity.rank(model, bad, images, mattes)
    wrong = tuple(sorted(ranking, key=lambda layer: layer.name == "second"))  # the culprit last
    reference = sensitivity.score("mad", sensitivity.predict(model, images), mattes)
    assert sensitivity.keep(model, bad, images, mattes, Budget("mad", 0.02), wrong, reference).names == ("second",)


def test_a_budget_that_cannot_be_met(model: onnx.ModelProto, grid: Grid) -> None:
    images = nets.images()
    mattes = sensitivity.predict(model, images)  # the float network errs nowhere
    made = ptq.measure(model, ptq.Quantized("grid", "mse", model, grid, {}, ()), images, mattes, Budget("mad", 0.01))
    assert not made
    assert made.kept is not None
    assert len(made.kept.names) == 4
    assert made.to_json()["budget"]["met"] is False  # type: ignore[index]


def test_budget_without_truth(model: onnx.ModelProto) -> None:
    task = ptq.Task(Scheme(), budget=Budget("mad", 0.01))
    with pytest.raises(InputError, match="no ground truth"):
        ptq.run(model, nets.images(), None, task)


def test_unknown_node_to_keep(model: onnx.ModelProto) -> None:
    with pytest.raises(InputError, match=r"x.onnx: --keep thrid: no such node; one of: alpha, first,"):
        ptq.run(model, nets.images(), None, ptq.Task(Scheme(), kept=frozenset({"thrid"})), "x.onnx")


@pytest.mark.parametrize("text", ["mad", "mad=1", "mad=-1%", "iou=+1%", "mad=+x%"])
def test_no_budget(text: str) -> None:
    with pytest.raises(InputError, match=r"expected one of mad, grad and a share, such as mad=\+1%"):
        Budget.parse(text)


def test_budget_in_words() -> None:
    assert Budget.parse("grad=+2.5%") == Budget("grad", 0.025)
    assert Budget.parse("mad=1%") == Budget("mad", 0.01)
