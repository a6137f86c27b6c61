"""TensorRT's rules: an export keeps them all, and each planted violation breaks the one that it should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from edgemat.export._target import Trunk
from edgemat.export.tensorrt import TARGET, _rules

Array = np.ndarray


@pytest.fixture(scope="module")
def whole(sym_trunk: Trunk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "student.tensorrt.onnx"
    TARGET.convert(sym_trunk, "int8", path)
    return path


def node(model: ModelProto, name: str) -> NodeProto:
    return next(n for n in model.graph.node if n.name == name)


def change(model: ModelProto, name: str, how: Callable[[Array], Array]) -> None:
    """Change a constant."""
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(how(numpy_helper.to_array(tensor))), name))


def zero_point_of_one(model: ModelProto) -> str:
    change(model, "downs.1.relu#zero_point", lambda v: v + np.int8(1))
    return "downs.1.relu#quantize"


def zero_point_unsigned(model: ModelProto) -> str:
    change(model, "downs.1.relu#zero_point", lambda v: v.astype(np.uint8))
    return "downs.1.relu#dequantize"


def zero_point_left_out(model: ModelProto) -> str:
    del node(model, "downs.1.relu#quantize").input[2:]
    return "downs.1.relu#quantize"


def scale_negative(model: ModelProto) -> str:
    change(model, "downs.1.relu#scale", np.negative)
    return "downs.1.relu#quantize"


def scale_in_double(model: ModelProto) -> str:
    change(model, "downs.1.relu#scale", lambda v: v.astype(np.float64))
    return "downs.1.relu#quantize"


def scale_for_each_channel(model: ModelProto) -> str:
    change(model, "downs.1.relu#scale", lambda v: np.repeat(v, 8))
    return "downs.1.relu#quantize"


def weight_on_the_wrong_axis(model: ModelProto) -> str:
    next(a for a in node(model, "downs.1.weight#dequantize").attribute if a.name == "axis").i = 1
    return "downs.1.weight"


def weight_in_float(model: ModelProto) -> str:
    change(model, "downs.1.weight#codes", lambda v: v.astype(np.float32))
    return "downs.1.weight"


def bias_in_int32(model: ModelProto) -> str:
    change(model, node(model, "downs.1").input[2], lambda v: v.astype(np.int32))
    return "downs.1"


def codes_moved(model: ModelProto) -> str:
    """A Relu stands between QuantizeLinear and DequantizeLinear."""
    reader = node(model, "downs.1.relu#dequantize")
    made = helper.make_node("Relu", [reader.input[0]], ["moved"], "between")
    reader.input[0] = "moved"
    model.graph.node.insert(list(model.graph.node).index(reader), made)
    return "downs.1.relu#codes"


def pair_on_two_scales(model: ModelProto) -> str:
    node(model, "downs.1.relu#dequantize").input[1] = "downs.0.relu#scale"
    return "downs.1.relu#codes"


def input_in_float(model: ModelProto) -> str:
    """A convolution reads what stands before QuantizeLinear: a pair is missing."""
    node(model, "downs.1").input[0] = node(model, "downs.0.relu#quantize").input[0]
    return "downs.1"


def branch_in_float(model: ModelProto) -> str:
    """One branch of a residual Add has no pair."""
    add = next(n for n in model.graph.node if n.op_type == "Add" and not n.name.endswith(_rules.SHIFT))
    pair = next(n for n in model.graph.node if add.input[0] in n.output)
    codes = next(n for n in model.graph.node if pair.input[0] in n.output)
    add.input[0] = codes.input[0]
    return add.name


def result_in_float(model: ModelProto) -> str:
    """A Sigmoid that nothing quantizes stands before QuantizeLinear."""
    quantize = node(model, "downs.1.relu#quantize")
    made = helper.make_node("Sigmoid", [quantize.input[0]], ["island"], "island")
    quantize.input[0] = "island"
    model.graph.node.insert(list(model.graph.node).index(quantize), made)
    return "downs.1"


def shift_of_127(model: ModelProto) -> str:
    change(model, "image#shifted_by", lambda v: v * np.float32(127 / 128))
    return "image"


def opset_12(model: ModelProto) -> str:
    model.opset_import[0].version = 12
    return "opset 12"


VIOLATIONS: list[tuple[str, Callable[[ModelProto], str]]] = [
    ("zero-points", zero_point_of_one),
    ("zero-points", zero_point_unsigned),
    ("zero-points", zero_point_left_out),
    ("scales", scale_negative),
    ("scales", scale_in_double),
    ("per-tensor", scale_for_each_channel),
    ("weights", weight_on_the_wrong_axis),
    ("weights", weight_in_float),
    ("biases", bias_in_int32),
    ("pairs", codes_moved),
    ("pairs", pair_on_two_scales),
    ("inputs", input_in_float),
    ("operands", branch_in_float),
    ("results", result_in_float),
    ("ends", shift_of_127),
    ("opset", opset_12),
]


def test_an_export_keeps_every_rule(whole: Path) -> None:
    assert _rules.broken(onnx.load(whole)) == []


def test_every_rule_has_a_planted_violation() -> None:
    assert {rule.name for rule in _rules.RULES} == {name for name, _ in VIOLATIONS}
    assert all(rule.text and rule.source for rule in _rules.RULES)


@pytest.mark.parametrize(("rule", "violate"), VIOLATIONS, ids=lambda value: getattr(value, "__name__", value))
def test_a_violation_breaks_its_rule_and_is_named(whole: Path, rule: str, violate: Callable[[ModelProto], str]) -> None:
    model = onnx.load(whole)
    place = violate(model)
    lines = _rules.broken(model)
    assert any(place in line and f"rule {rule}:" in line for line in lines), lines


def test_what_is_kept_in_float_breaks_none(tmp_path: Path) -> None:
    from .. import manyops

    trunk = manyops.trunk_of(manyops.many(), TARGET.scheme, tmp_path / "t.onnx", frozenset({"deep", "opened"}))
    path = tmp_path / "kept.tensorrt.onnx"
    TARGET.convert(trunk, "int8", path)
    assert TARGET.check(path) == ()
    assert {op.name for op in TARGET.inspect(path).islands} == {"deep", "opened"}
