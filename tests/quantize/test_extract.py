"""Q/DQ files come back as float graph and scales: ours byte for byte, other tools' as far as they go."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.quantize import observe, ptq, qdq, rules, settle
from edgemat.quantize.calibrate import calibrate
from edgemat.quantize.extract import extract
from edgemat.quantize.grid import Grid, QParams
from edgemat.quantize.ranges import Form
from edgemat.quantize.scheme import SCHEMES, Scheme
from edgemat.quantize.settle import grid_of, shifted

from . import nets


def bytes_of(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString(deterministic=True)


def ours(scheme: Scheme | None = None, kept: frozenset[str] = frozenset()) -> tuple[onnx.ModelProto, Grid]:
    model = nets.net()
    grid = calibrate(model, nets.images(), scheme or Scheme(), kept=kept)
    return qdq.insert(model, grid), grid


def node_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def without_pair(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """Take the pair of a tensor out, as a tool does that leaves it in float."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for name in (f"{tensor}#quantize", f"{tensor}#dequantize"):
        changed.graph.node.remove(node_of(changed, name))
    for node in changed.graph.node:
        node.output[:] = [tensor if name == tensor + qdq.FLOAT else name for name in node.output]
    del changed.graph.value_info[:], changed.metadata_props[:]
    return changed


@pytest.mark.parametrize("kept", [frozenset(), frozenset({"second", "head"})], ids=["all", "kept"])
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_ours_comes_back_byte_for_byte(scheme: Scheme, kept: frozenset[str]) -> None:
    model, grid = ours(scheme, kept)
    found = extract(model)
    again = grid_of(found, "ours.onnx")
    assert (again.scheme, again.kept, again.activations) == (grid.scheme, grid.kept, grid.activations)
    assert bytes_of(qdq.insert(found.model, again)) == bytes_of(model)


def test_activations_that_saturation_does_are_put_back() -> None:
    model, _ = ours()
    assert not any(node.op_type in ("Relu", "Clip") for node in model.graph.node)
    found = extract(model)
    bounds = {u.output: rules.upper_bound(found.graph, u.activation) for u in rules.units(found.graph) if u.activation}
    assert bounds == {"first.relu": 6.0, "sum.relu": float("inf"), "alpha": 1.0}
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    floats, other = (
        np.stack([v["alpha"] for v in observe.run(m, ("alpha",), images)]) for m in (found.model, nets.net())
    )
    assert np.abs(floats - other).max() < 0.05  # weights are on the grid, activations are not
    assert floats.min() >= 0.0
    assert floats.max() <= 1.0


def test_what_lacks_a_scale_is_named_and_completed_on_request() -> None:
    model, grid = ours()
    found = extract(without_pair(model, "second"))
    with pytest.raises(InputError, match=r"(?s)theirs.onnx: .*1 tensors lack a scale.*--complete.*second: no scale"):
        grid_of(found, "theirs.onnx")
    made = ptq.complete(found, nets.images(), origin="theirs.onnx")
    assert made.notes == ("second: no scale in the file; calibrated",)
    assert {n: p for n, p in made.grid.activations.items() if n != "second"} == {
        n: p for n, p in grid.activations.items() if n != "second"
    }
    assert rules.complaints(found.graph, made.grid) == []
    assert made.grid.passport["images"]["count"] == 10  # type: ignore[index]


def test_what_shares_a_scale_lacks_none() -> None:
    model, grid = ours()
    assert grid_of(extract(without_pair(model, "large")), "x").activations == grid.activations


def test_scheme_is_read_from_types_where_no_word_says_it() -> None:
    for scheme in SCHEMES:
        model, _ = ours(scheme)
        del model.metadata_props[:]
        assert extract(model).scheme == scheme


def test_signed_codes_are_the_same_scale() -> None:
    model, grid = ours()
    for tensor in model.graph.initializer:  # int8 everywhere, zero points 128 lower
        value = numpy_helper.to_array(tensor)
        if tensor.name.endswith("#zero_point") and value.dtype == np.uint8:
            tensor.CopyFrom(numpy_helper.from_array((value.astype(int) - 128).astype(np.int8), tensor.name))
    del model.metadata_props[:], model.graph.value_info[:]
    assert grid_of(extract(model), "x").activations == grid.activations


def test_what_breaks_a_rule_is_named() -> None:
    model, _ = ours()
    for tensor in model.graph.initializer:
        if tensor.name == "large#scale":
            tensor.CopyFrom(numpy_helper.from_array(np.float32(0.5), tensor.name))
        if tensor.name == "image#zero_point":
            tensor.CopyFrom(numpy_helper.from_array(np.uint8(3), tensor.name))
    with pytest.raises(InputError, match=r"3 break a rule") as caught:
        grid_of(extract(model), "x")
    assert "zero point 3 became scale 0.00392157, zero point 0: fixed by the grid" in str(caught.value)
    assert "tensors that share a scale had several" in str(caught.value)


def test_weights_off_the_rules() -> None:
    model, grid = ours()
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if tensor.name == "second.weight#zero_point":
            tensor.CopyFrom(numpy_helper.from_array(value + np.int8(1), tensor.name))
        if tensor.name.startswith("head.weight#") and tensor.name != "head.weight#codes":  # one scale, no axis
            tensor.CopyFrom(numpy_helper.from_array(value[0], tensor.name))
    found = extract(model)
    settled = settle.settle(found.graph, found.activations, found.weights, found.scheme)
    assert settled.missing == ("second.weight",)
    assert settled.changes == ("second.weight: zero points other than 0: the grid's weights are symmetric",)
    assert np.array_equal(settled.weights["head.weight"], grid.weights["head.weight"])


def test_relu_scale_stated_before_it() -> None:
    """A tool that states the scale of a convolution's sum, not of its Relu's result, means the same at zero point 0."""
    model = nets.net()
    grid = calibrate(model, nets.images(), Scheme())
    sums = dataclasses.replace(grid, activations=dict(grid.activations))
    quantized = qdq.insert(model, sums)
    nodes = []
    for node in quantized.graph.node:
        nodes.append(node)
        if node.name == "sum.relu#dequantize":
            node.output[0] = "before"
            nodes.append(helper.make_node("Relu", ["before"], ["sum.relu"], "late"))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del quantized.graph.node[:]
    quantized.graph.node.extend(copies)
    assert grid_of(extract(quantized), "x").activations == grid.activations


def test_shift() -> None:
    assert shifted(QParams(0.5, 0, -128, 127), Form()) == QParams(0.5, 128)


def test_refused() -> None:
    with pytest.raises(InputError, match="holds no QuantizeLinear"):
        extract(nets.net())
    model, _ = ours()
    node_of(model, "second.weight#dequantize").input[1] = "first.relu"
    with pytest.raises(InputError, match="its scale is no constant"):
        extract(model, "x")
    model, _ = ours()
    node_of(model, "second").op_type = "QLinearConv"
    with pytest.raises(UnsupportedOpError, match="node second: QLinearConv"):
        extract(model)
    model, _ = ours()
    model.graph.node.remove(node_of(model, "second#quantize"))
    with pytest.raises(InputError, match="reads second#codes, which no QuantizeLinear makes"):
        extract(model)
    model, _ = ours()
    node_of(model, "large").input[0] = "sum.relu#codes"
    with pytest.raises(InputError, match=r"node large \(Resize\) computes on the codes sum.relu#codes"):
        extract(model)


def test_sixteen_bits_are_refused() -> None:
    model, _ = ours()
    for tensor in model.graph.initializer:
        if tensor.name == "second#zero_point":
            tensor.CopyFrom(numpy_helper.from_array(np.uint16(0), tensor.name))
    with pytest.raises(InputError, match="tensor second#float: uint16"):
        extract(model)


def test_trunk_of_a_qdq_file(tmp_path: Path) -> None:
    from edgemat.export import _trunk

    model, grid = ours()
    path = tmp_path / "ours.onnx"
    onnx.save(model, path)
    trunk = _trunk.from_onnx(path, tmp_path / "trunk.onnx")
    assert trunk.grid is not None
    assert trunk.grid.activations == {
        n: p for n, p in grid.activations.items() if n != "same"
    }  # no Identity in a trunk
    again = qdq.insert(onnx.load(trunk.path), trunk.grid)
    images = nets.images()
    one, other = (np.stack([v["alpha"] for v in observe.run(m, ("alpha",), images)]) for m in (model, again))
    assert np.array_equal(one, other)
    onnx.save(without_pair(model, "second"), path)
    with pytest.raises(InputError, match="second: no scale"):
        _trunk.from_onnx(path, tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()
