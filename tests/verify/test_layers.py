"""The layer check: right nets pass, and each planted fault is found, its tensor named, its kind told where it shows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat.export._target import Trunk
from edgemat.quantize import graph
from edgemat.quantize.grid import Codes, Grid
from edgemat.quantize.reference import Reference
from edgemat.verify import _causes, layers
from edgemat.verify.layers import Layer, LayerCheck

Images = npt.NDArray[np.uint8]
Backend = Callable[[npt.NDArray[np.uint8]], dict[str, Codes]]
ROUNDING = "onnxruntime"
SHARE = 0.01
"""What the reference and a right backend of the same rounding never reach."""


@pytest.fixture(scope="module")
def reference(int_trunk: Trunk) -> Reference:
    assert int_trunk.grid is not None
    return Reference(graph.of(onnx.load(int_trunk.path)), int_trunk.grid, ROUNDING)


@pytest.fixture(scope="module")
def codes(reference: Reference, images: Images) -> dict[str, Codes]:
    return reference.codes(images[0])


def wrong(reference: Reference, **changes: Any) -> Reference:
    """Return a backend of the same weights' and biases' codes on another grid: an artefact that states wrong scales."""
    made = Reference(reference.graph, reference.grid, ROUNDING)
    made.grid = dataclasses.replace(reference.grid, **changes)
    return made


def checked(reference: Reference, backend: Reference, images: Images, **limits: Any) -> LayerCheck:
    return layers.merge(layers.check(reference, backend.codes(image), image, **limits) for image in images)


def stretched(grid: Grid, name: str) -> dict[str, Any]:
    found = grid.activations[name]
    return {"activations": {**grid.activations, name: dataclasses.replace(found, scale=found.scale * 1.01)}}


def shifted(grid: Grid, name: str) -> dict[str, Any]:
    found = grid.activations[name]
    step = 1 if found.zero_point < found.high else -1
    return {"activations": {**grid.activations, name: dataclasses.replace(found, zero_point=found.zero_point + step)}}


def rolled(grid: Grid, name: str) -> dict[str, Any]:
    return {"weights": {**grid.weights, name: np.roll(grid.weights[name], 1)}}


def weighted(reference: Reference) -> Iterable[Any]:
    return [unit for unit in reference.units if unit.weight]


def test_the_reference_itself_passes(reference: Reference, images: Images) -> None:
    found = checked(reference, reference, images, limit=0, share=0.0)
    assert found, str(found)
    assert found.missing == ()
    assert [layer.tensor for layer in found.layers] == ["image", *(unit.output for unit in reference.units)]
    assert str(found) == f"{len(found.layers)} layers compared, each within 0 LSB"


def test_a_scale_one_percent_off_is_found_at_every_tensor_but_the_last(reference: Reference, images: Images) -> None:
    beyond = []
    for name in [name for name in reference.grid.activations if name != "alpha"]:
        found = checked(reference, wrong(reference, **stretched(reference.grid, name)), images, share=SHARE)
        assert not found
        assert found.failed[0].tensor == name
        beyond.append(any(layer.lsb > 1 for layer in found.failed))
    assert np.mean(beyond) > 0.8, "most are found by more than one code, too"
    # alpha's codes are another tensor's, moved: its scale is only a label, which only the comparison of scales can see
    assert checked(reference, wrong(reference, **stretched(reference.grid, "alpha")), images, limit=0)


def test_a_scale_one_percent_off_is_told_as_one(reference: Reference, images: Images) -> None:
    found = checked(reference, wrong(reference, **stretched(reference.grid, "downs.0.relu")), images)
    assert found.failed[0].tensor == "downs.0.relu"
    assert found.failed[0].hint.startswith("all values are 0.99")
    assert found.failed[0].hint.endswith("a scale")


def test_a_zero_point_off_by_one_is_found_at_its_tensor(reference: Reference, images: Images) -> None:
    hints = []
    for name in [name for name in reference.grid.activations if name != "alpha"]:
        found = checked(reference, wrong(reference, **shifted(reference.grid, name)), images, share=SHARE)
        assert not found
        assert found.failed[0].tensor == name
        hints.append(found.failed[0].hint)
    assert sum("everywhere: the zero point" in hint for hint in hints) > 0.8 * len(hints)


def test_weight_scales_rolled_by_a_channel_are_found(reference: Reference, images: Images) -> None:
    hints = []
    for unit in weighted(reference):
        scales = reference.grid.weights[unit.weight]
        if len(scales) == 1 or np.ptp(scales) / scales.min() < 0.02:
            continue
        found = checked(reference, wrong(reference, **rolled(reference.grid, unit.weight)), images, share=SHARE)
        assert not found
        assert found.failed[0].tensor == unit.output
        hints.append(found.failed[0].hint)
    assert sum("a factor of its own" in hint for hint in hints) > 0.6 * len(hints)


def test_a_dropped_bias_is_found(reference: Reference, images: Images) -> None:
    hints = []
    for unit in weighted(reference):
        constants = {**reference.graph.constants, unit.bias: np.zeros_like(reference.graph.constants[unit.bias])}
        net = dataclasses.replace(reference.graph, constants=constants)
        found = checked(reference, Reference(net, reference.grid, ROUNDING), images)
        assert not found
        assert found.failed[0].tensor == unit.output
        assert found.failed[0].lsb > 10
        hints.append(found.failed[0].hint)
    assert sum("the bias" in hint for hint in hints) > 0.6 * len(hints)


def test_a_fault_of_one_channel_is_told(reference: Reference, codes: dict[str, Codes]) -> None:
    faulty = dict(codes)
    faulty["downs.1.relu"] = codes["downs.1.relu"].copy()
    faulty["downs.1.relu"][:, 3] += 5
    found = layers.check(reference, faulty)
    assert found.worst is not None
    first = found.failed[0]
    assert (first.tensor, first.lsb) == ("downs.1.relu", 5)
    assert first.hint == "channel 3 only: its bias, or its scale of the weight"
    assert first.differ == pytest.approx(1 / codes["downs.1.relu"].shape[1])
    assert "downs.1.relu: 5 LSB at most" in str(found)
    assert "1 of" in str(found) or len(found.failed) > 1


def test_wrong_padding_is_told(reference: Reference, codes: dict[str, Codes]) -> None:
    unit = next(u for u in reference.units if u.node.op == "Conv" and any(u.node.attributes["pads"]))
    zero = reference.grid.activations[unit.inputs[0]].zero_point
    (name,) = unit.inputs
    padded = np.pad(codes[name], ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=zero + 40)  # not the zero point
    node = dataclasses.replace(unit.node, attributes={**unit.node.attributes, "pads": [0, 0, 0, 0]})
    shapes = {**reference.graph.shapes, name: padded.shape}
    other = Reference(reference.graph, reference.grid, ROUNDING)
    other.graph = dataclasses.replace(reference.graph, shapes=shapes)
    faulty = {**codes, unit.output: other.step(dataclasses.replace(unit, node=node), {name: padded})}
    found = layers.check(reference, faulty)
    first = found.failed[0]
    assert first.tensor == unit.output
    assert first.hint.startswith("the border only: padding")


def test_an_image_with_reversed_channels_is_told(reference: Reference, codes: dict[str, Codes], images: Images) -> None:
    swapped = reference.codes(images[0][..., ::-1])
    found = layers.check(reference, swapped, images[0])
    assert found.failed[0].tensor == "image"
    assert found.failed[0].hint == "the channels are reversed (BGR)"
    assert layers.check(reference, swapped), "without the image nothing can be wrong with it"
    brighter = layers.check(reference, {**codes, "image": codes["image"] // 2}, images[0])
    assert brighter.failed[0].hint.startswith("the pixels are not those given")


def test_nothing_compared_is_no_pass(reference: Reference, codes: dict[str, Codes]) -> None:
    for shown in ({}, {"image": codes["image"]}, {"alpha": codes["alpha"]}):
        found = layers.check(reference, shown)
        assert not found
        assert found.worst is None
        assert str(found).startswith("no layer was compared")
    assert "image" in layers.check(reference, {}).missing


def test_tensors_that_are_not_shown_are_named(reference: Reference, codes: dict[str, Codes]) -> None:
    hidden = {name: value for name, value in codes.items() if name != "downs.1.relu"}
    found = layers.check(reference, hidden)
    assert found
    readers = [unit.output for unit in reference.units if "downs.1.relu" in unit.inputs]
    assert set(found.missing) == {"downs.1.relu", *readers}
    assert "not compared: downs.1.relu" in str(found)


def test_codes_of_another_shape_fail(reference: Reference, codes: dict[str, Codes]) -> None:
    found = layers.check(reference, {**codes, "downs.1.relu": codes["downs.1.relu"][..., 1:]})
    assert not found
    assert [layer.tensor for layer in found.failed] == ["downs.1.relu"]
    assert found.failed[0].hint.startswith("its shape is")


def test_a_check_is_json_and_merges(reference: Reference, codes: dict[str, Codes]) -> None:
    good = layers.check(reference, codes, limit=0)
    bad = layers.check(reference, {**codes, "alpha": np.minimum(codes["alpha"] + 3, 255)})
    both = layers.merge([good, bad])
    assert both.limit == 0
    assert not both
    assert both.worst is not None
    assert both.worst.tensor == "alpha"
    assert both.compared == good.compared + bad.compared
    assert both.worst.differ == pytest.approx(bad.failed[0].differ / 2)
    told = json.loads(json.dumps(both.to_json()))
    assert told["schema_version"] == layers.SCHEMA_VERSION
    assert told["passed"] is False
    assert told["layers"][-1]["tensor"] == "alpha"
    with pytest.raises(ValueError, match="no check"):
        layers.merge([])


def test_many_failures_are_counted_not_listed() -> None:
    found = LayerCheck(tuple(Layer(f"t{i}", 9, 0.5, 100) for i in range(14)), tuple("abcdefg"))
    assert "14 of 14 layers differ by more than 1 LSB" in str(found)
    assert "and 4 more" in str(found)
    assert "not compared: a, b, c, d, e and 2 more" in str(found)


def test_noise_suggests_nothing() -> None:
    rng = np.random.default_rng(1)
    expected = rng.integers(20, 230, (1, 4, 16, 16)).astype(np.int32)
    assert _causes.guess(expected + rng.integers(-1, 2, expected.shape).astype(np.int32), expected, 0) == ""
    assert _causes.guess(expected, expected, 0) == ""


def test_end_to_end_counts_pixels() -> None:
    alpha = np.array([[0, 1], [9, 255]])
    found = layers.end_to_end(alpha, np.array([[0, 0], [7, 255]]))
    assert found == (0.75, 0.5)
    assert layers.end_to_end(alpha, alpha) == (1.0, 1.0)
    with pytest.raises(ValueError, match="one shape"):
        layers.end_to_end(alpha, alpha[:1])
    with pytest.raises(ValueError, match="with pixels"):
        layers.end_to_end(alpha[:0], alpha[:0])


@pytest.fixture(scope="module")
def written(int_trunk: Trunk) -> onnx.ModelProto:
    from edgemat.quantize import qdq

    return qdq.insert(onnx.load(int_trunk.path), int_trunk.grid)


def _edit(model: onnx.ModelProto, name: str, change: Callable[[Any], Any]) -> None:
    (found,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    value = np.asarray(change(onnx.numpy_helper.to_array(found)))
    found.CopyFrom(onnx.numpy_helper.from_array(value, name))


@pytest.mark.parametrize(
    ("tensor", "edited", "change", "hint"),
    [
        ("downs.1.relu", "downs.1.relu#scale", lambda v: v * np.float32(1.01), "a scale"),
        ("laterals.0", "laterals.0#zero_point", lambda v: v + np.uint8(1), "the zero point"),
        ("downs.1.relu", "downs.1.weight#scale", lambda v: np.roll(v, 1), "the weight's scales"),
        ("downs.1.relu", "downs.1#bias#codes", np.zeros_like, "the bias"),
        ("stages.0.0.second", "stages.0.0.second#bias#codes", lambda v: v * (np.arange(len(v)) != 2), "channel 2 only"),
    ],
)
def test_a_fault_in_a_file_is_found_with_the_real_runtime(
    reference: Reference,
    written: onnx.ModelProto,
    images: Images,
    tmp_path: Any,
    tensor: str,
    edited: str,
    change: Callable[[Any], Any],
    hint: str,
) -> None:
    from edgemat.export.onnx import OnnxRunner

    model = onnx.ModelProto()
    model.CopyFrom(written)
    _edit(model, edited, change)
    onnx.save(model, tmp_path / "faulty.onnx")
    with OnnxRunner(tmp_path / "faulty.onnx") as runner:
        found = layers.merge(layers.check(reference, runner.codes(image), image, share=SHARE) for image in images)
    assert not found
    assert found.failed[0].tensor == tensor
    assert hint in found.failed[0].hint
