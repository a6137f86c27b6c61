"""Reports: verdicts and exit codes, the way through JSON, refusals, and putting devices together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgemat.errors import InputError
from edgemat.verify.bench import report, table
from edgemat.verify.bench.peaks import Peaks
from edgemat.verify.bench.ratio import Gate, compare, judge
from edgemat.verify.bench.report import BenchReport, combine, from_json, read
from edgemat.verify.bench.roofline import Bound
from edgemat.verify.bench.row import Row, of_sample
from edgemat.verify.bench.runtimes import Untimed
from edgemat.verify.bench.sampling import Sample, Subject

QUIET = np.full((3, 20), 4.0)
NOISE = np.random.default_rng(0).lognormal(0, 0.6, (3, 20))
FAST = compare("tflite int8", "tflite fp32", "1 thread", QUIET / 2, QUIET)
UNKNOWN = compare("tflite int8", "tflite fp32", "2 threads", QUIET * NOISE, QUIET)
ROW = Row(
    "tflite int8", "LiteRT", report.HERE, "1 thread", 1000, 180, 2.0, 2.1, 2.2, 1.9, 2.05, 1.8, 2.0, 0.9, False, 5.0,
    10, Bound(1.0, 10, 20, 0.5), note="so it is",
)  # fmt: skip
MAC = Row(
    "coreml fp16", "Core ML", "Apple M4 (Mac16,1)", "CPU_AND_NE", 1000, 180, 0.5, placement={"CPU": 1, "NE": 2},
    operators=({"name": "last", "op": "resize", "device": "CPU", "cost": 0.1},), difference={"max_abs": 0.001},
)  # fmt: skip
MACHINE = {"processor": "P", "cores": 2, "busy": 0.5}


def made(**changes: Any) -> BenchReport:
    plain: dict[str, Any] = {
        "rows": (ROW,),
        "ratios": (FAST,),
        "gates": (),
        "untimed": (Untimed("coreml fp16", "no Mac"),),
        "broken": (),
        "reasons": {"tflite int8, 1 thread": ("islands",)},
        "peaks": Peaks(1, 50e9, 200e9, 80e9),
        "machine": MACHINE,
        "devices": {},
        "settings": {"rounds": 60},
        "command": "edgemat bench out",
    }
    return BenchReport(**{**plain, **changes})


def gated(limit: float, *ratios: Any) -> dict[str, Any]:
    return {"ratios": ratios, "gates": judge([Gate("tflite int8", "tflite fp32", limit)], ratios)}


@pytest.mark.parametrize(
    ("changes", "verdict", "code"),
    [
        ({}, "passed", 0),
        ({"ratios": (FAST, UNKNOWN)}, "inconclusive", 5),
        (gated(0.6, FAST), "passed", 0),
        (gated(0.4, FAST), "failed", 1),
        (gated(0.6, FAST, compare("a", "b", "1 thread", QUIET * NOISE, QUIET)), "passed", 0),
        (gated(1.0, UNKNOWN), "inconclusive", 5),
        (gated(0.4, FAST, UNKNOWN), "failed", 1),
        ({"broken": (Untimed("onnx int8", "crashed"),)}, "failed", 1),
        ({"ratios": ()}, "passed", 0),
    ],
)
def test_the_verdict_and_its_exit_code(changes: dict[str, Any], verdict: str, code: int) -> None:
    found = made(**changes)
    assert (found.verdict, found.exit_code, bool(found)) == (verdict, code, code == 0)


def test_json_gives_everything_back(tmp_path: Path) -> None:
    found = made(rows=(ROW, MAC), **gated(0.6, FAST, UNKNOWN), devices={MAC.device: {"chip": "M4"}})
    (tmp_path / "bench.json").write_text(json.dumps(found.to_json(), allow_nan=False))
    assert read(tmp_path / "bench.json") == found


@pytest.mark.parametrize("changes", [{"schema_version": 1}, {"kind": "parity"}, {"schema_version": None}])
def test_another_kind_or_version_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"expected 'bench', version 2; write it again with: edgemat bench DIR"):
        from_json({**made().to_json(), **changes})


@pytest.mark.parametrize("key", ["rows", "ratios", "gates", "untimed", "peaks", "machine", "settings"])
def test_a_document_that_is_not_whole_is_refused(key: str) -> None:
    value = dict(made().to_json())
    del value[key]
    with pytest.raises(InputError, match="not whole"):
        from_json(value)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text("[1]")
    with pytest.raises(InputError, match="no JSON object"):
        read(tmp_path / "bench.json")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "gone.json")


def test_a_time_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="median is 0"):
        replace(ROW, median=0.0)


def test_devices_are_put_together_and_replace_themselves() -> None:
    mac_ratio = replace(FAST, device=MAC.device, where=MAC.where)
    mac = made(
        rows=(MAC,), ratios=(mac_ratio,), untimed=(), peaks=None, machine={}, settings={}, devices={MAC.device: {}}
    )
    both = combine(made(), mac)
    assert both.rows == (MAC, ROW)
    assert both.ratios == (mac_ratio, FAST)
    assert both.untimed == (), "coreml fp16 has been timed"
    assert both.peaks is not None
    assert both.machine["processor"] == "P"
    again = combine(both, made(rows=(replace(ROW, median=3.0),)))
    assert [row.median for row in again.rows] == [3.0, 0.5]
    assert again.devices == {MAC.device: {}}


def test_a_row_sums_a_sample_up() -> None:
    wall = np.full((2, 5, 2), 4.0)
    waited = np.zeros_like(wall)
    waited[0, 0, 0] = 1.0
    sample = Sample(
        Subject("a", "LiteRT", Path("a")),
        1,
        wall,
        waited,
        wall[:, :, 0] * 0,
        (True, False),
        (5.0, 7.0),
        (10, 30),
    )
    row = of_sample(sample, 99, Bound(1.0, 1, 1, 0.0))
    assert (row.median, row.minimum, row.wall, row.calls) == (4.0, 3.0, 4.0, 20)
    assert (row.free, row.settled, row.load_ms, row.peak_bytes) == (0.95, False, 6.0, 20)
    assert row.attained == 0.25
    several = of_sample(replace(sample, threads=2, waited=waited + 1.0), 99, None)
    assert (several.median, several.free, several.wall) == (None, 0.0, 4.0)


def test_the_tables_show_what_was_found_and_what_was_not() -> None:
    found = made(rows=(ROW, MAC), ratios=(FAST, UNKNOWN))
    first, second = table.rows(found)
    assert first == ["tflite int8", "LiteRT", "1 thread", "2.00", "2.10", "2.20", "0.15", "5.0", "0.0", "0.00", "50%"]
    assert second[2] == "CPU_AND_NE, Apple M4 (Mac16,1)"
    assert [cells[-1] for cells in table.ratios(found)] == ["faster", "inconclusive"]
    notes = "\n".join(table.notes(found))
    for said in (
        "tflite int8: so it is",
        "the times had not settled",
        "runs on CPU 1, NE 2: away from NE are last (resize, CPU)",
        "alpha from the reference: max_abs 0.001",
        "int8 is not faster: islands",
        "INCONCLUSIVE, 2 threads: noise drowns it",
        "P, 2 cores; its cores were 50% busy; 90% of the calls ran undisturbed",
        "200 G in int8 (4.0 times)",
        "coreml fp16: not timed here: no Mac",
    ):
        assert said in notes


def test_time_that_other_virtual_machines_took_is_said() -> None:
    assert "3.0% of their time went to other" in "\n".join(table.notes(made(machine={**MACHINE, "stolen": 0.03})))
    assert "went to other" not in "\n".join(table.notes(made(machine={**MACHINE, "stolen": 0.001})))
