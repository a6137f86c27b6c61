"""The bench command's calls run, and what cannot be timed is said. No time is asserted anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgemat.export._target import Trunk
from edgemat.verify import bench
from edgemat.verify.latency import Latency


def test_every_form_of_a_student_runs(trunk: Trunk, images: np.ndarray, tmp_path: Path) -> None:
    calls = bench.student_calls(trunk, bench.calibrated(trunk, images), 1, tmp_path)
    assert set(calls) == {bench.ORT_FP32, bench.ORT_INT8, bench.LITERT_FP32, bench.LITERT_INT8}
    for call in calls.values():
        call()


def test_ratios_compare_only_what_was_timed() -> None:
    latency = Latency({bench.ORT_FP32: (4.0, 4.0), bench.ORT_INT8: (2.0, 2.0), bench.PEER: (3.0, 3.0)}, warmup=0)
    result = bench.Bench(latency, {bench.LITERT_FP32: "no LiteRT"})
    assert result.ratios() == [(bench.ORT_FP32, bench.ORT_INT8, "2 [2, 2]")]
    assert result.to_json()["left_out"] == {bench.LITERT_FP32: "no LiteRT"}
