"""Work and bounds of graphs, against counts by hand and the student's own."""

from __future__ import annotations

import math

import onnx
import pytest

from edgemat.export._target import Trunk
from edgemat.model import weights as files
from edgemat.model.student import count_macs
from edgemat.quantize import graph
from edgemat.verify.bench.peaks import Peaks
from edgemat.verify.bench.roofline import Bound, Work, bound, work

PEAKS = Peaks(1, 1e9, 4e9, 1e9)


def test_the_multiply_accumulates_are_those_that_the_student_counts(trunk: Trunk, weights: object) -> None:
    layers = work(graph.of(onnx.load(trunk.path)))
    net = files.load(weights).net
    assert sum(layer.macs for layer in layers) == count_macs(net, trunk.height, trunk.width)
    assert {layer.op for layer in layers if layer.macs} == {"Conv"}


@pytest.mark.parametrize(
    ("op", "x", "w", "y", "attributes", "macs"),
    [
        ("Conv", [1, 4, 8, 8], [6, 4, 3, 3], [1, 6, 8, 8], {"pads": [1, 1, 1, 1]}, 6 * 64 * 4 * 9),
        ("Conv", [1, 4, 8, 8], [4, 1, 3, 3], [1, 4, 8, 8], {"pads": [1, 1, 1, 1], "group": 4}, 4 * 64 * 9),
        ("ConvTranspose", [1, 4, 8, 8], [4, 6, 2, 2], [1, 6, 16, 16], {"strides": [2, 2]}, 4 * 64 * 6 * 4),
        ("MatMul", [1, 5, 7], [7, 3], [1, 5, 3], {}, 5 * 7 * 3),
        ("Add", [1, 4, 8, 8], [1, 4, 1, 1], [1, 4, 8, 8], {}, 0),
    ],
)
def test_counts_by_hand(op: str, x: list[int], w: list[int], y: list[int], attributes: dict, macs: int) -> None:
    node = onnx.helper.make_node(op, ["x", "w"], ["y"], name="n", **attributes)
    held = onnx.helper.make_tensor("w", 1, w, [1.0] * math.prod(w))
    ends = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", x), ("y", y))]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [held]))
    (layer,) = work(graph.of(model))
    assert (layer.macs, layer.values, layer.weights) == (macs, math.prod(x) + math.prod(y), math.prod(w))


def test_a_layer_takes_as_long_as_the_slower_of_arithmetic_and_memory() -> None:
    layers = (Work("c", "Conv", 2_000_000, 1000, 0), Work("r", "Resize", 0, 1_000_000, 0))
    real, whole = (bound(layers, PEAKS, integers=integers) for integers in (False, True))
    assert real.milliseconds == pytest.approx(2 + 4)
    assert whole.milliseconds == pytest.approx(0.5 + 1)
    assert real.memory_bound == pytest.approx(4 / 6)
    assert (real.bytes, whole.bytes) == (4_004_000, 1_001_000)
    assert real.share(12.0) == pytest.approx(0.5)


def test_weights_stored_smaller_than_computed_move_fewer_bytes() -> None:
    layers = (Work("c", "Conv", 0, 0, 1000),)
    assert bound(layers, PEAKS, integers=False, weight_bytes=2).bytes == 2000


def test_json_gives_the_bound_back() -> None:
    found = bound((Work("c", "Conv", 10, 10, 10),), PEAKS, integers=True)
    assert Bound.from_json(found.to_json()) == found
