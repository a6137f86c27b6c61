"""Each reason why int8 does not win, planted alone."""

from __future__ import annotations

import numpy as np
import pytest

from edgemat.inspection import MOVES, Inspection, OpFact
from edgemat.verify.bench.peaks import Peaks
from edgemat.verify.bench.ratio import Ratio, compare
from edgemat.verify.bench.reasons import why_not_faster
from edgemat.verify.bench.roofline import Bound

FAST, WEAK = Peaks(1, 50e9, 200e9, 80e9), Peaks(1, 50e9, 60e9, 80e9)
COMPUTE = Bound(1.0, 10, 3_000_000, 0.1), Bound(4.0, 10, 12_000_000, 0.1)
MEMORY = Bound(1.0, 10, 3_000_000, 0.9), Bound(1.2, 10, 12_000_000, 0.9)
CLEAN = Inspection("f", "TFLite", tuple(OpFact(f"conv{i}", "CONV_2D", "int8") for i in range(8)), {})
ISLANDS = Inspection("f", "TFLite", (*CLEAN.ops, OpFact("head", "RESIZE", "float32")), {})
MOVING = Inspection("f", "ONNX", (*CLEAN.ops, *(OpFact(f"t{i}", "Transpose", MOVES) for i in range(5))), {})
FLOAT = Inspection("f", "Core ML", (OpFact("conv", "conv", "float16"),), {})


def ratio(factor: float) -> Ratio:
    quiet = np.full((3, 20), 4.0)
    return compare("tflite int8", "tflite fp32", "1 thread", quiet * factor, quiet)


@pytest.mark.parametrize(
    ("inspection", "stores", "peaks", "bounds", "flags", "said"),
    [
        (
            ISLANDS,
            False,
            FAST,
            COMPUTE,
            ["avx512_vnni"],
            "1 operators compute in float between integers: head (RESIZE",
        ),
        (
            MOVING,
            False,
            FAST,
            COMPUTE,
            ["avx512_vnni"],
            "5 of 13 operators only move, lay out or convert",
        ),
        (FLOAT, True, FAST, COMPUTE, [], "it stores weights as integers and computes in float"),
        (FLOAT, False, FAST, COMPUTE, ["avx512_vnni"], "no operator computes in integers"),
        (CLEAN, False, WEAK, COMPUTE, [], "only 1.2 times as fast as in float32 here, which has no dot product"),
        (CLEAN, False, FAST, MEMORY, ["avx512_vnni"], "layers that wait for memory make up 90% of its least time"),
        (CLEAN, False, FAST, COMPUTE, ["avx512_vnni"], "nothing in the file or the processor explains it"),
    ],
    ids=["islands", "moves", "stores", "no integers", "no VNNI", "memory", "none"],
)
def test_a_planted_reason_is_the_one_that_is_given(
    inspection: Inspection, stores: bool, peaks: Peaks, bounds: tuple[Bound, Bound], flags: list[str], said: str
) -> None:
    (found,) = why_not_faster(ratio(1.1), inspection, stores, peaks, bounds, flags)
    assert said in found


def test_a_processor_with_dot_products_is_not_said_to_lack_them() -> None:
    (found,) = why_not_faster(ratio(1.1), CLEAN, False, WEAK, COMPUTE, ["avx_vnni"])
    assert "which has no" not in found


def test_what_wins_needs_no_reason_and_what_is_unknown_gets_none() -> None:
    assert why_not_faster(ratio(0.5), ISLANDS, False, FAST, COMPUTE, []) == ()
    noise = np.random.default_rng(0).lognormal(0, 0.6, (3, 20))
    unknown = compare("tflite int8", "tflite fp32", "1 thread", noise, np.ones((3, 20)))
    assert why_not_faster(unknown, ISLANDS, False, FAST, COMPUTE, []) == ()
