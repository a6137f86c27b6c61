"""Planted faults are caught and named, and nothing untouched is failed: a little always, all of it with --slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemat import export
from edgemat.verify.parity.report import Outcome

from . import table
from .campaign import Trial, trials
from .planters import FAULTS
from .untouched import SEEDS, Untouched, run_all


def test_a_kind_is_caught_and_named_in_each_format(tmp_path: Path) -> None:
    wanted = [(export.get("onnx"), "int8"), (export.get("coreml"), "fp32"), (export.get("tflite"), "int8")]
    kinds = [fault for fault in FAULTS if fault.name == "weight_scaled"]
    found = list(trials(tmp_path, kinds, ["late"], wanted))
    assert len(found) == 3
    for trial in found:
        assert trial.is_caught, (trial.target, trial.outcome)
        assert trial.names_tensor, (trial.target, trial.outcome.tensor, trial.outcome.findings)


@pytest.mark.slow
def test_an_untouched_student_is_not_failed(tmp_path: Path) -> None:
    found = list(run_all(tmp_path, 1))
    assert len(found) == 12
    assert [one for one in found if one.is_false_alarm] == []


def test_a_campaign_that_catches_too_little_does_not_pass() -> None:
    fault = FAULTS[0]
    good = Trial(
        fault, "late", "onnx", "int8", Outcome("onnx", "int8", "a", "", "error", "bad", (), "x"), frozenset("x")
    )
    silent = Trial(fault, "late", "onnx", "int8", Outcome("onnx", "int8", "a", "", "unavailable"), frozenset("x"))
    elsewhere = Trial(
        fault, "late", "onnx", "int8", Outcome("onnx", "int8", "a", "", "error", "bad", (), "y"), frozenset("x")
    )
    assert table.passes([good] * 20, [])
    assert not table.passes([good] * 18 + [silent] * 2, [])
    assert table.passes([good] * 16 + [elsewhere] * 4, [])
    assert not table.passes([good] * 15 + [elsewhere] * 5, [])
    assert not table.passes([good], [Untouched(0, Outcome("onnx", "int8", "a", "", "error", "bad"))])
    assert "NOT CAUGHT" in table.page([silent], [], "x", "y")


@pytest.mark.slow
def test_the_whole_campaign(tmp_path: Path) -> None:
    found = list(trials(tmp_path))
    untouched = list(run_all(tmp_path, SEEDS))
    assert table.passes(found, untouched), table.page(found, untouched, "pytest --slow tests/campaign", "here")
