"""Results are true or false, print well, and decide the exit code."""

from __future__ import annotations

import dataclasses
import json

import pytest

from edgemat.verify.report import COLUMNS, Comparison, OnGrid, Report, Result

GATE = {"max_abs": 1e-2, "mean_abs": 2e-4}
PASSED = Result(
    "coreml", "fp16", "passed", path="out/a.mlpackage", bytes=1_234_567,
    comparison=Comparison(3e-3, 1e-4, 65.4, 24), gate=GATE, convert_seconds=1.26,
)  # fmt: skip
GATED = dataclasses.replace(PASSED, state="gate", message="too far", exit_code=1)
UNSUPPORTED = Result("tflite", "fp32", "error", message="node x: Foo", exit_code=4)
ERROR = Result("tflite", "fp32", "error", message="no space", exit_code=2)
ABSENT = Result("coreml", "fp16", "unavailable", message="coremltools not installed", exit_code=3)


def report(*results: Result) -> Report:
    return Report(results, {"size": [64, 64]}, {"python": "3"}, "edgemat export")


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ((PASSED,), 0),
        ((PASSED, ABSENT), 3),
        ((ABSENT, ERROR), 2),
        ((ERROR, UNSUPPORTED, ABSENT), 4),
        ((UNSUPPORTED, GATED, PASSED), 1),
        ((), 2),
    ],
)
def test_exit_code(results: tuple[Result, ...], code: int) -> None:
    assert report(*results).exit_code == code
    assert bool(report(*results)) is (code == 0)


def test_rows() -> None:
    passed, absent = report(PASSED, ABSENT).rows()
    assert len(passed) == len(absent) == len(COLUMNS)
    assert passed == (
        "coreml", "fp16", "a.mlpackage", "1.23 MB", "3.00e-03", "1.00e-04", "-", "-", "0.01 / 0.0002", "1.3", "passed",
    )  # fmt: skip
    assert absent[-1] == "unavailable"
    integer = dataclasses.replace(
        PASSED, float_bytes=4_000_000, gate={"lsb": 1, "within_one": 0.99, "scales": 0.0},
        on_grid=OnGrid(1, "head", 23, 0.99912, 0.97, 0.0),
    )  # fmt: skip
    assert report(integer).rows()[0][3:9] == ("1.23 MB (0.309)", "3.00e-03", "1.00e-04", "1", "99.91%", "1 LSB, 99%")


def test_text_shows_the_messages() -> None:
    text = str(report(PASSED, GATED))
    assert text.splitlines()[0].split("  ")[0] == COLUMNS[0]
    assert all(name in text.splitlines()[0] for name in COLUMNS)
    assert text.endswith("coreml fp16: too far")


def test_json() -> None:
    value = json.loads(json.dumps(report(PASSED, ABSENT).to_json(), allow_nan=False))
    assert value["schema_version"] == 3
    assert value["passed"] is False
    assert value["results"][0]["comparison"] == {"max_abs": 3e-3, "mean_abs": 1e-4, "psnr": 65.4, "images": 24}
    assert value["results"][1]["state"] == "unavailable"


def test_a_result_cannot_say_two_things() -> None:
    with pytest.raises(ValueError, match="state 'fine'"):
        dataclasses.replace(PASSED, state="fine")
    with pytest.raises(ValueError, match="only a pass exits 0"):
        dataclasses.replace(GATED, exit_code=0)
    with pytest.raises(ValueError, match="only a pass exits 0"):
        dataclasses.replace(PASSED, exit_code=1)
    with pytest.raises(ValueError, match="needs the figures"):
        dataclasses.replace(PASSED, comparison=None)
