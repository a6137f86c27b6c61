"""The bound of rounding: it holds, it is no larger than it must be, and it covers every operator of a trunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.reference
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgemat.export.onnx import session
from edgemat.quantize import graph as graphs
from edgemat.verify.bisect import bounds
from edgemat.verify.bisect.bounds import HALF, SINGLE

Reals = npt.NDArray[np.float32]
SHAPE = (1, 4, 8, 8)


def model(op: str, constants: Mapping[str, npt.NDArray[Any]], inputs: int = 1, **attributes: Any) -> ModelProto:
    """Return a graph of one Identity for each input, and the operator."""
    names = [f"x{i}" for i in range(inputs)]
    first = [helper.make_node("Identity", ["image"], [name], name) for name in names]
    last = helper.make_node(op, [*names, *constants], ["alpha"], "alpha", **attributes)
    graph = helper.make_graph(
        [*first, last],
        "one",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("alpha", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made)


def walked(made: ModelProto, fed: Mapping[str, Reals], precision: bounds.Precision) -> tuple[Reals, Reals]:
    """Return what a graph makes of fed tensors, and its bound."""
    walk = bounds.instrumented(made, graphs.of(made), {*fed, "alpha"}, precision)
    opened = session(walk.SerializeToString())
    feeds = {f"{name}@given": value for name, value in fed.items()} | {"image": np.zeros(SHAPE, np.float32)}
    wanted = {port.name for port in opened.get_inputs()}
    value, limit = opened.run(["alpha", "alpha@limit"], {k: v for k, v in feeds.items() if k in wanted})
    return np.asarray(value), np.asarray(limit)


RNG = np.random.default_rng(3)


def normal(*shape: int) -> Reals:
    return RNG.normal(size=shape).astype(np.float32)


SIZES = np.array([1, 1, 2, 2], np.float32)
OPERATORS: dict[str, tuple[str, dict[str, npt.NDArray[Any]], int, dict[str, Any]]] = {
    "conv": ("Conv", {"w": normal(6, 4, 3, 3), "b": normal(6)}, 1, {"pads": [1] * 4}),
    "grouped": ("Conv", {"w": normal(8, 1, 3, 3)}, 1, {"group": 4}),
    "transposed": ("ConvTranspose", {"w": normal(4, 5, 2, 2)}, 1, {"strides": [2, 2]}),
    "add": ("Add", {}, 2, {}),
    "mul": ("Mul", {}, 2, {}),
    "resize": ("Resize", {"": np.empty(0), "scales": SIZES}, 1, {"mode": "linear"}),
    "mean": ("GlobalAveragePool", {}, 1, {}),
    "pool": ("AveragePool", {}, 1, {"kernel_shape": [2, 2]}),
    "sigmoid": ("Sigmoid", {}, 1, {}),
    "unknown": ("Softmax", {}, 1, {"axis": 1}),
}  # fmt: skip


@pytest.mark.parametrize("precision", [SINGLE, HALF], ids=lambda p: p.name)
@pytest.mark.parametrize("name", OPERATORS)
def test_the_bound_holds_and_is_tight_enough_to_be_of_use(name: str, precision: bounds.Precision) -> None:
    op, constants, inputs, attributes = OPERATORS[name]
    made = model(op, constants, inputs, **attributes)
    rng = np.random.default_rng(5)
    fed = {f"x{i}": rng.normal(size=SHAPE).astype(np.float32) for i in range(inputs)}
    value, limit = walked(made, fed, precision)
    exact = onnx.reference.ReferenceEvaluator(_double(made, fed)).run(None, {})[0]
    rounded = value.astype(np.float16).astype(np.float64) if precision is HALF else value.astype(np.float64)
    assert (np.abs(rounded - exact) <= limit + precision.smallest).all()
    most = 2e-3 if precision is HALF else 2e-4
    assert limit.max() <= most * np.abs(exact).max(), "one part in a hundred has to stand out"
    assert (limit > 0.0).all()


def _double(made: ModelProto, fed: Mapping[str, Reals]) -> ModelProto:
    """Return the operator alone, in float64, its inputs constants."""
    node = made.graph.node[-1]
    constants = [numpy_helper.from_array(value.astype(np.float64), name) for name, value in fed.items()]
    keeps = {"scales"}
    constants += [
        t if t.name in keeps else numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float64), t.name)
        for t in made.graph.initializer
    ]
    output = helper.make_tensor_value_info("alpha", TensorProto.DOUBLE, None)
    graph = helper.make_graph([node], "double", [], [output], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [("Relu", {}), ("DepthToSpace", {"blocksize": 2}), ("Identity", {}), ("MaxPool", {"kernel_shape": [2, 2]})],
)
def test_what_only_moves_or_selects_is_exact(op: str, attributes: dict[str, Any]) -> None:
    fed = {"x0": np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)}
    _, limit = walked(model(op, {}, **attributes), fed, HALF)
    assert not limit.any()


def test_bounds_add_up_where_tensors_are_not_shown() -> None:
    made = model("Add", {}, 2)
    fed = {"x0": np.ones(SHAPE, np.float32), "x1": np.ones(SHAPE, np.float32)}
    shown = walked(made, fed, SINGLE)[1]
    walk = bounds.instrumented(made, graphs.of(made), {"alpha"}, SINGLE)
    hidden = session(walk.SerializeToString()).run(["alpha@limit"], {"image": np.ones(SHAPE, np.float32)})[0]
    assert (hidden > shown).all(), "the pixels' own rounding comes on top"


def test_the_longer_a_sum_the_wider_its_bound() -> None:
    fed = {"x0": np.ones(SHAPE, np.float32)}
    limits = []
    for size in (1, 3, 5):
        weight = np.full((1, 4, size, size), 1.0 / (4 * size * size), np.float32)
        limits.append(walked(model("Conv", {"w": weight}), fed, SINGLE)[1].max())
    assert limits[0] < limits[1] < limits[2]


def test_what_an_artefact_may_hold_differently_is_allowed_for() -> None:
    made = model("Add", {"c": np.full(SHAPE, 1.0, np.float32)})
    unsure = {"c": np.full(SHAPE, 0.125, np.float32)}
    walk = bounds.instrumented(made, graphs.of(made), {"x0", "alpha"}, SINGLE, unsure)
    fed = {"x0@given": np.ones(SHAPE, np.float32)}
    (limit,) = session(walk.SerializeToString()).run(["alpha@limit"], fed | _image(walk))
    assert (limit > 0.125).all()
    assert (limit < 0.1251).all()


def _image(walk: ModelProto) -> dict[str, Reals]:
    return {"image": np.zeros(SHAPE, np.float32)} if any(v.name == "image" for v in walk.graph.input) else {}
