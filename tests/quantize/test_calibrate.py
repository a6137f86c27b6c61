"""Scales from images: four methods, every rule of the grid, and what is no calibration set."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.quantize import graph as graphs
from edgemat.quantize import observe, qdq, ranges, rules, weightscales
from edgemat.quantize.calibrate import METHODS, calibrate
from edgemat.quantize.grid import QParams, bias_codes, bias_scales, weight_codes, weight_reals
from edgemat.quantize.observe import Stats
from edgemat.quantize.ranges import Form
from edgemat.quantize.scheme import SCHEMES, Scheme

from . import nets


def stats(values: npt.NDArray[np.float64]) -> Stats:
    """Return what was seen of values, an image a row."""
    start, stop = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    counts = np.stack([np.histogram(row, observe.BINS, (start, stop))[0] / row.size for row in values])
    return Stats(("t",), values.min(1), values.max(1), start, stop, counts)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_every_rule_holds_and_nothing_is_random(method: str, scheme: Scheme) -> None:
    model, images = nets.net(), nets.images()
    graph = graphs.of(model)
    grid, again = (calibrate(model, images, scheme, method) for _ in range(2))
    assert rules.complaints(graph, grid) == []
    assert grid.activations == again.activations
    assert grid.passport == again.passport
    assert all(np.array_equal(grid.weights[name], again.weights[name]) for name in grid.weights)
    qdq.insert(model, grid)


def test_bound_of_a_clip_ends_the_range() -> None:
    model, images = nets.net(), nets.images()
    seen = next(observe.run(model, ("first.relu",), images[-1:]))["first.relu"]
    assert seen.max() == 6.0  # the Clip bites
    for method in METHODS:
        assert calibrate(model, images, Scheme(), method).activations["first.relu"].top <= 6.0 * (1 + 1e-6)


def test_kept_nodes_have_no_scales_of_weights() -> None:
    model = nets.net()
    grid = calibrate(model, nets.images(), Scheme(), kept=frozenset({"second"}))
    assert set(grid.weights) == {"first.weight", "head.weight"}
    assert rules.complaints(graphs.of(model), grid) == []


def test_extremes_by_hand() -> None:
    seen = stats(np.array([[-1.0, 0.5, 3.0], [-0.5, 0.0, 2.0]]))
    form = Form()
    assert ranges.choose(seen, form, "minmax") == form.params(-1.0, 3.0)
    assert ranges.choose(seen, form, "moving-average") == form.params(-0.75, 2.5)
    assert ranges.choose(seen, Form(-128, 127, symmetric=True), "minmax") == QParams(3.0 / 127, 0, -128, 127)
    assert ranges.choose(seen, Form(from_zero=True, bound=2.0), "minmax") == QParams(2.0 / 255, 0)


def test_percentile_leaves_out_the_outermost() -> None:
    values = np.concatenate([np.linspace(0, 1, 99_990), np.full(10, 50.0)])[None]  # 0.01 % far out
    assert ranges.choose(stats(values), Form(from_zero=True), "percentile").top < 1.1
    assert ranges.choose(stats(values), Form(from_zero=True), "percentile", 100.0).top == pytest.approx(50.0, rel=1e-3)


@pytest.mark.parametrize("form", [Form(), Form(-128, 127, symmetric=True), Form(from_zero=True)])
def test_least_squares_has_the_least_error(form: Form) -> None:
    values = np.random.default_rng(0).standard_t(3, (4, 20_000))  # heavy tails
    values = np.abs(values) if form.from_zero else values

    def error(params: QParams) -> float:
        return float(((params.reals(params.codes(values)) - values) ** 2).mean())

    found = {method: error(ranges.choose(stats(values), form, method)) for method in METHODS}
    assert found["mse"] == min(found.values())
    assert found["mse"] < 0.95 * found["minmax"]


def test_weights_are_clipped_where_that_helps() -> None:
    rng = np.random.default_rng(1)
    model = nets.net({"second.weight": rng.standard_t(3, (8, 8, 3, 3)).astype(np.float32)})
    graph = graphs.of(model)
    scheme = Scheme(weight_bits=4)
    weight = graph.constants["second.weight"]

    def error(least_squares: bool) -> npt.NDArray[np.float64]:
        scales = weightscales.choose(graph, {}, scheme, least_squares, frozenset())["second.weight"]
        real = weight_reals(weight_codes(weight, scales, 0, scheme), scales, 0)
        return ((real - weight) ** 2).sum((1, 2, 3), dtype=np.float64)

    assert (error(True) <= error(False) * (1 + 1e-9)).all()
    assert error(True).sum() < 0.9 * error(False).sum()


def test_a_dead_channel_keeps_its_bias() -> None:
    weight = nets.constants()["second.weight"]
    weight[3], weight[4] = 0.0, 1e-30
    bias = np.full(8, 5.0, np.float32)
    model = nets.net({"second.weight": weight, "second.bias": bias})
    grid = calibrate(model, nets.images(), Scheme())
    scales = bias_scales(grid.activations["first.relu"], grid.weights["second.weight"])
    codes = bias_codes(bias, scales)
    assert np.abs(codes).max() <= 2**30
    np.testing.assert_allclose(codes * scales.astype(np.float64), bias, rtol=1e-2)


def test_a_dead_tensor_gets_a_range_and_a_warning() -> None:
    zero = np.zeros_like(nets.constants()["second.weight"])
    model = nets.net({"second.weight": zero, "second.bias": np.zeros(8, np.float32)})
    grid = calibrate(model, nets.images(), Scheme())
    assert grid.activations["second"].top == pytest.approx(1.0)
    assert "second: always 0 on these images, so its range is a guess" in grid.passport["warnings"]  # type: ignore[operator]


def test_memory_does_not_grow_with_the_set() -> None:
    model = nets.net()
    found = observe.observe(model, graphs.of(model), nets.images(observe.BLOCKS + 5))
    assert {len(seen.counts) for seen in found} == {observe.BLOCKS}
    assert {len(seen.lows) for seen in found} == {observe.BLOCKS + 5}
    sample = found[1].resampled(np.array([0, 0, 31]))
    assert len(sample.lows) == 5  # block 0 holds images 0 and 32, block 31 image 31
    assert sample.counts.shape == (3, observe.BINS)


def test_not_finite_is_named() -> None:
    weight = nets.constants()["second.weight"] * np.float32(1e38)
    with pytest.raises(
        InputError, match=r"net.onnx: tensor second: .* NaN or infinite on calibration image 0"
    ) as caught:
        calibrate(nets.net({"second.weight": weight}), nets.images(), Scheme(), origin="net.onnx")
    assert "overflow" in str(caught.value)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((0, 16, 16, 3), np.uint8), "no calibration images"),
        (np.full((3, 16, 16, 3), 128, np.uint8), "of one single value"),
        (np.zeros((2, 16, 16, 3), np.float32), "float32.*expected uint8"),
        (np.zeros((2, 8, 16, 3), np.uint8), r"expected uint8 \(N, 16, 16, 3\)"),
    ],
)
def test_no_calibration_set(images: npt.NDArray[np.uint8], words: str) -> None:
    with pytest.raises(InputError, match=words):
        calibrate(nets.net(), images, Scheme())


def test_unknown_method_and_operator() -> None:
    with pytest.raises(InputError, match="'best' is not known; expected one of minmax"):
        calibrate(nets.net(), nets.images(), Scheme(), "best")
    with pytest.raises(UnsupportedOpError, match=r"(?s)same \(Softplus\).*") as caught:
        calibrate(nets.net(extra="Softplus"), nets.images(), Scheme())
    assert "--keep same" in str(caught.value)
    calibrate(nets.net(extra="Softplus"), nets.images(), Scheme(), kept=frozenset({"same"}))
