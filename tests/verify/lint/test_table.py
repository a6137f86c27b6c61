"""Tables of accelerators: whole, with sources, and judged by their conditions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgemat.verify.lint import table
from edgemat.verify.lint.facts import Facts, Op, Value

GPU, ANE = table.load(table.GPU_DELEGATE), table.load(table.ANE)


def facts(op: Op, *values: Value) -> Facts:
    known = {name: Value(name, "float32", (1, 8, 8, 3)) for name in (*op.inputs, *op.outputs)}
    return Facts("f", "f", "TFLite", ops=(op,), values={**known, **{value.name: value for value in values}})


@pytest.mark.parametrize("name", table.NAMES)
def test_every_row_has_a_reason_and_an_address(name: str) -> None:
    for row in table.load(name).rows:
        assert row.kinds
        assert row.reason
        assert row.source.startswith("https://")


@pytest.mark.parametrize("name", table.NAMES)
def test_no_kind_is_said_twice_without_a_condition(name: str) -> None:
    plain = [kind for row in table.load(name).rows if not (row.only or row.excluded) for kind in row.kinds]
    assert sorted(plain) == sorted(set(plain))


def test_a_row_that_nobody_reads_is_refused() -> None:
    with pytest.raises(ValueError, match="unheard"):
        table._row({"kinds": ["A"], "reason": "r", "source": "s", "unheard": 1}, {"s": "https://x"})


@pytest.mark.parametrize(
    "op",
    [
        Op("a", "SEGMENT_SUM", ("x", "y"), ("a",)),
        Op("a", "DEPTH_TO_SPACE", ("x",), ("a",), {"blockSize": 1}),
        Op("a", "SOFTMAX", ("x",), ("a",), {"beta": 0.5}),
        Op("a", "RESIZE_BILINEAR", ("x", "size"), ("a",)),  # its size is no constant
        Op("a", "MEAN", ("x", "axes"), ("a",)),
        Op("a", "STRIDED_SLICE", ("x", "y", "z", "w"), ("a",), {"shrinkAxisMask": 1}),
        Op("a", "ADD", ("x", "y", "z"), ("a",)),
    ],
    ids=lambda op: op.kind,
)
def test_the_gpu_delegate_leaves_what_its_own_check_refuses(op: Op) -> None:
    (left,) = table.place(facts(op), GPU).left
    assert op.kind in left.op
    assert left.source in GPU.sources.values()


@pytest.mark.parametrize(
    "op",
    [
        Op("a", "CONV_2D", ("x", "w", "b"), ("a",)),
        Op("a", "DEPTH_TO_SPACE", ("x",), ("a",), {"blockSize": 4}),
        Op("a", "SOFTMAX", ("x",), ("a",), {"beta": 1.0}),
        Op("a", "RESIZE_BILINEAR", ("x", "w"), ("a",)),
        Op("a", "ADD", ("x", "w"), ("a",)),
    ],
    ids=lambda op: op.kind,
)
def test_the_gpu_delegate_takes_what_its_own_check_takes(op: Op) -> None:
    constants = (Value(name, "int32", (2,), None, np.zeros(2, np.int32)) for name in ("w", "b"))
    assert table.place(facts(op, *constants), GPU).left == ()


def test_the_gpu_delegate_wants_8_bits_or_floats() -> None:
    op = Op("a", "ADD", ("x", "y"), ("a",))
    (left,) = table.place(facts(op, Value("x", "int32", (1, 8, 8, 3))), GPU).left
    assert left.reason.startswith("int32: ")


def test_what_no_table_knows_is_unknown_not_left() -> None:
    found = table.place(facts(Op("a", "some_new_op", ("x",), ("a",))), ANE)
    assert (found.left, found.unknown) == ((), ("some_new_op",))


def test_the_neural_engine_by_kind_parameter_and_generation() -> None:
    recurrent = table.place(facts(Op("a", "lstm", ("x",), ("a",))), ANE)
    assert [left.op for left in recurrent.left] == ["a (lstm)"]
    cast = Op("a", "cast", ("x",), ("a",), {"dtype": "int32"})
    assert len(table.place(facts(cast), ANE).left) == 1
    assert table.place(facts(dataclasses.replace(cast, attributes={"dtype": "fp16"})), ANE).left == ()
    reflect = Op("a", "pad", ("x",), ("a",), {"mode": "reflect"})
    assert table.place(facts(reflect), ANE).left == ()
    assert len(table.place(facts(reflect), ANE, (table.OLDER,)).left) == 1
    constant = dataclasses.replace(reflect, attributes={"mode": "constant"})
    assert table.place(facts(constant), ANE, (table.OLDER,)).left == ()
