"""The reference: its integers are exact, its layout is the trunk's, and what it cannot compute it refuses."""

from __future__ import annotations

import dataclasses
import re
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export._target import Trunk
from edgemat.export.onnx import OnnxRunner, session, to_floats
from edgemat.quantize import _arithmetic as arithmetic
from edgemat.quantize import graph, qdq, rules
from edgemat.quantize.grid import Grid
from edgemat.quantize.reference import Reference

from .operators import case, model_of, params, resized, single, weighted

Images = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def reference(int_trunk: Trunk) -> Reference:
    return Reference(graph.of(onnx.load(int_trunk.path)), grid_of(int_trunk))


def grid_of(trunk: Trunk) -> Grid:
    assert trunk.grid is not None
    return trunk.grid


def by_hand(x: Any, weight: Any, node: Any) -> npt.NDArray[np.int64]:
    """Return a convolution's sums, one product after another, in Python's integers."""
    get = node.attributes.get
    (down, right), (tall, wide) = get("strides", (1, 1)), get("dilations", (1, 1))
    top, left, bottom, far = get("pads", (0, 0, 0, 0))
    outputs, per_group, rows, columns = weight.shape
    each = outputs // get("group", 1)
    padded = np.pad(x[0], ((0, 0), (top, bottom), (left, far)))
    height = (padded.shape[1] - (rows - 1) * tall - 1) // down + 1
    width = (padded.shape[2] - (columns - 1) * wide - 1) // right + 1
    found = np.zeros((1, outputs, height, width), np.int64)
    for o, y, z in product(range(outputs), range(height), range(width)):
        taps = product(range(per_group), range(rows), range(columns))
        found[0, o, y, z] = sum(
            int(padded[o // each * per_group + i, y * down + r * tall, z * right + c * wide]) * int(weight[o, i, r, c])
            for i, r, c in taps
        )
    return found


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((4, 6, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((4, 6, 3, 2), {"pads": [0, 1, 2, 0], "strides": [2, 1]}),
        ((4, 6, 3, 3), {"dilations": [2, 1], "strides": [1, 3]}),
        ((4, 3, 3, 3), {"group": 2, "pads": [1, 0, 1, 0]}),
        ((6, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ((12, 1, 3, 3), {"group": 6}),
    ],
)
def test_a_convolution_s_sums_are_exact(shape: tuple[int, ...], attributes: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(-255, 256, (1, 6, 7, 8)).astype(np.int32)
    weight = rng.integers(-127, 128, shape).astype(np.int8)
    node = graph.Node("c", "Conv", ("x", "w"), ("y",), attributes)
    expected = by_hand(x, weight, node)
    window = arithmetic.Window.of(node, shape[2:], x.shape, expected.shape)
    np.testing.assert_array_equal(arithmetic.convolve(x, weight, window, attributes.get("group", 1)), expected)


def test_sums_beyond_float32_are_exact_too() -> None:
    x, weight = np.full((1, 1024, 3, 3), 255, np.int32), np.full((1, 1024, 3, 3), 127, np.int8)
    weight[0, 0, 0, 0] = 126  # an odd sum above 2**24, which float32 does not have
    node = graph.Node("c", "Conv", ("x", "w"), ("y",), {})
    window = arithmetic.Window.of(node, (3, 3), x.shape, (1, 1, 1, 1))
    found = arithmetic.convolve(x, weight, window, 1)
    assert found.item() == 255 * 127 * 9216 - 255
    assert float(np.float32(found.item())) != found.item()


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 2]},
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        {"strides": [3, 1], "pads": [0, 1, 1, 0]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"dilations": [2, 2]},
    ],
)
def test_a_transposed_convolution_s_sums_are_exact(attributes: dict[str, Any]) -> None:
    rng = np.random.default_rng(4)
    x = rng.integers(-255, 256, (1, 5, 6, 7)).astype(np.float32)
    weight = rng.integers(-127, 128, (5, 4, 3, 3)).astype(np.float32)
    model = model_of([helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)], {"x": x.shape}, w=weight)
    (expected,) = session(model.SerializeToString()).run(None, {"x": x})
    made = graph.of(model)
    found = arithmetic.convolve_transposed(x, weight, made.nodes[0], made.shapes["y"])
    np.testing.assert_array_equal(found, expected)


def test_codes_are_those_of_every_tensor_in_order(reference: Reference, images: Images) -> None:
    found = reference.codes(images[0])
    assert tuple(found) == rules.tensors(reference.graph)
    assert {name: codes.shape for name, codes in found.items()} == {n: reference.graph.shapes[n] for n in found}
    for name, codes in found.items():
        limits = reference.grid.activations[name]
        assert codes.dtype == np.int32
        assert limits.low <= codes.min() <= codes.max() <= limits.high


def test_an_image_s_codes_are_its_pixels(reference: Reference) -> None:
    ramp = np.arange(64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    np.testing.assert_array_equal(reference.image_codes(ramp)[0], ramp.transpose(2, 0, 1))


def test_alpha_is_what_its_codes_stand_for_and_near_the_float_network(
    reference: Reference, int_trunk: Trunk, images: Images
) -> None:
    alpha = reference.run(images)
    assert alpha.dtype == np.float32
    assert alpha.shape == images.shape[:3]
    np.testing.assert_allclose(alpha * 255, np.rint(alpha * 255), atol=1e-4)
    assert np.abs(alpha - OnnxRunner(int_trunk.path).run(images)).mean() < 0.02


def test_the_same_image_gives_the_same_codes(reference: Reference, images: Images) -> None:
    first, second = reference.codes(images[1]), reference.codes(images[1])
    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.parametrize("scheme", ["static_w8c_a8s", "static_w4c_a8"])
def test_other_schemes_agree_with_onnx_runtime(trunks: Any, images: Images, scheme: str) -> None:
    from edgemat.verify import layers

    trunk = trunks.on_grid[scheme]
    reference = Reference(graph.of(onnx.load(trunk.path)), trunk.grid, "onnxruntime")
    model = qdq.insert(onnx.load(trunk.path), trunk.grid)
    path = trunk.path.with_suffix(".qdq.onnx")
    onnx.save(model, path)
    with OnnxRunner(path) as runner:
        found = layers.check(reference, runner.codes(images[0]), images[0], share=0.001)
    assert found, str(found)
    assert not found.missing


def unoptimised(model: onnx.ModelProto, image: Images) -> dict[str, Any]:
    """Return the codes of a Q/DQ model computed in float: optimised, ONNX Runtime quantizes kept weights on its own."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    names = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    opened = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = opened.run(None, {"image": to_floats(image[None])[0]})
    return {n.removesuffix(qdq.CODES): v.astype(np.int32) for n, v in zip(names, found, strict=True)}


def test_kept_nodes_compute_in_float(int_trunk: Trunk, images: Images) -> None:
    net, grid = graph.of(onnx.load(int_trunk.path)), grid_of(int_trunk)
    kept = [unit for unit in rules.units(net) if unit.weight][2:4]
    kept += [unit for unit in rules.units(net) if unit.node.op in ("Add", "Resize")][:2]
    weights = {name: scales for name, scales in grid.weights.items() if name not in {u.weight for u in kept}}
    partly = dataclasses.replace(grid, weights=weights, kept=frozenset(unit.node.name for unit in kept))
    found = unoptimised(qdq.insert(onnx.load(int_trunk.path), partly), images[0])
    reference = Reference(net, partly)
    for unit in kept:
        difference = np.abs(reference.step(unit, found) - found[unit.output])
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.02
    whole = Reference(net, grid).step(kept[0], found)
    assert (whole != reference.step(kept[0], found)).any(), "the weight is not float"


def test_a_kept_node_may_be_any_operator() -> None:
    rng = np.random.default_rng(5)
    model = model_of([helper.make_node("HardSwish", ["x"], ["y"], "swish")], {"x": (1, 3, 4, 5)})
    made = case(model, rng, {"x": params(rng, 0.05, 100), "y": params(rng, 0.04, 10)})
    reference = Reference(made.graph, dataclasses.replace(made.grid, kept=frozenset({"swish"})))
    real = made.grid.activations["x"].reals(made.codes["x"])
    expected = made.grid.activations["y"].codes(real * np.clip(real / 6 + 0.5, 0, 1))
    np.testing.assert_array_equal(reference.step(reference.units[0], made.codes), expected)


def test_a_relu_whose_zero_lies_inside_the_codes_clamps() -> None:
    made = weighted("Conv", (8, 4, 3, 3), 4)(6)
    node = helper.make_node("Relu", ["y"], ["z"])
    model = model_of([made.model.graph.node[0], node], {"x": (1, 4, 9, 9)}, **made.graph.constants)
    grid = dataclasses.replace(
        made.grid, activations={**made.grid.activations, "z": params(np.random.default_rng(1), 0.3, 90)}
    )
    reference = Reference(graph.of(model), grid)
    found = reference.step(reference.units[0], {"x": np.random.default_rng(2).integers(0, 256, (1, 4, 9, 9))})
    assert found.min() == 90
    assert found.max() > 90


def test_a_clip_ends_at_its_bound() -> None:
    made = single("Clip", "free", low=np.array(0, np.float32), high=np.array(0.5, np.float32))(7)
    reference = Reference(made.graph, made.grid)
    found = reference.step(reference.units[0], made.codes)
    assert found.max() == made.grid.activations["y"].codes(np.array(0.5, np.float32))


def test_a_grid_without_a_scale_is_refused(reference: Reference) -> None:
    grid = reference.grid
    activations = {name: found for name, found in grid.activations.items() if name != "downs.0.relu"}
    with pytest.raises(InputError, match=re.escape("no scale for downs.0.relu (1 in all)")):
        Reference(reference.graph, dataclasses.replace(grid, activations=activations))
    weights = dict(list(grid.weights.items())[1:])
    with pytest.raises(InputError, match=next(iter(grid.weights))):
        Reference(reference.graph, dataclasses.replace(grid, weights=weights))


def test_what_has_no_integer_form_is_refused_by_name() -> None:
    cubic = single("Resize", roi=None, scales=np.array([1, 1, 2, 2], np.float32), mode="cubic")(1)
    with pytest.raises(UnsupportedOpError, match=r"Resize:y \(Resize\): mode cubic"):
        Reference(cubic.graph, cubic.grid)
    cropped = resized("half_pixel_symmetric", 2.0)(1)
    with pytest.raises(UnsupportedOpError, match="half_pixel_symmetric"):
        Reference(cropped.graph, cropped.grid)
    swish = model_of([helper.make_node("HardSwish", ["x"], ["y"], "swish")], {"x": (1, 3, 4, 5)})
    made = case(swish, np.random.default_rng(1), cubic.grid.activations)
    with pytest.raises(UnsupportedOpError, match="swish"):
        Reference(made.graph, made.grid)


def test_an_image_of_another_size_is_refused(reference: Reference) -> None:
    with pytest.raises(InputError, match="an image of 32x48, expected 64x64"):
        reference.codes(np.zeros((32, 48, 3), np.uint8))


def test_the_graph_is_left_as_it_was(int_trunk: Trunk, images: Images) -> None:
    net = graph.of(onnx.load(int_trunk.path))
    before = [dict(node.attributes) for node in net.nodes]
    Reference(net, grid_of(int_trunk)).codes(images[0])
    assert [node.attributes for node in net.nodes] == before
