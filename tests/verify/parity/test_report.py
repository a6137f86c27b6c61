"""A parity report says one thing, survives JSON, and refuses what is impossible."""

import json
from dataclasses import replace

import pytest

from edgemat.errors import InputError
from edgemat.verify.parity.report import Figure, Outcome, ParityReport

GOOD = Figure("conversion", "max_abs", 1e-6, limit=1e-5)
BAD = Figure("quantization", "mad", 2.5, "%", "skin: tan", 1.5, 3.5, 2.0, passed=False, detail="4 faces")
PASSED = Outcome("onnx", "fp32", "student-fp32.onnx", "0" * 64, "passed", figures=(GOOD,))
FAILED = Outcome("tflite", "int8", "student-int8.tflite", "1" * 64, "gate", "too far", ("look",), "conv1", (GOOD, BAD))
ABSENT = Outcome("coreml", "fp16", "", "", "unavailable", "coremltools not installed")


def report(*outcomes: Outcome) -> ParityReport:
    return ParityReport(outcomes, {"count": 2}, {"name": "student"}, {}, {}, ("no phone",), timings={"all": 1.0})


@pytest.mark.parametrize(
    ("outcomes", "passed", "code"),
    [
        ((PASSED,), True, 0),
        ((PASSED, ABSENT), True, 0),
        ((PASSED, FAILED), False, 1),
        ((PASSED, replace(ABSENT, required=True)), False, 1),
        ((ABSENT,), False, 3),
        ((), False, 1),
        ((PASSED, replace(PASSED, state="crashed", figures=())), False, 1),
    ],
)
def test_verdict(outcomes: tuple[Outcome, ...], passed: bool, code: int) -> None:
    found = report(*outcomes)
    assert bool(found) is passed
    assert found.exit_code == code


def test_it_survives_json() -> None:
    found = report(PASSED, FAILED, ABSENT)
    assert ParityReport.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_a_figure_prints_in_one_line() -> None:
    assert str(BAD) == "quantization mad (skin: tan): 2.5 % [1.5, 3.5], at most 2 %; 4 faces"


@pytest.mark.parametrize(
    "change",
    [{"schema_version": 9}, {"passed": True}, {"outcomes": [{}]}, {"unknown": 1}, {"outcomes": None}],
)
def test_another_document_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"here: .*edgemat parity"):
        ParityReport.from_json({**report(FAILED).to_json(), **change}, "here")


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="fails without a limit"):
        replace(GOOD, limit=None, passed=False)
    with pytest.raises(ValueError, match="finite"):
        replace(GOOD, value=float("nan"))
    with pytest.raises(ValueError, match="passed with 1 failed"):
        replace(FAILED, state="passed")
    with pytest.raises(ValueError, match="nothing or too little"):
        replace(PASSED, figures=())
    with pytest.raises(ValueError, match="every figure keeps its limit"):
        replace(FAILED, figures=(GOOD,))
    with pytest.raises(ValueError, match="state 'fine'"):
        replace(PASSED, state="fine")
