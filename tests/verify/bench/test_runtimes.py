"""Every target is either timed or has a reason; a new one is not timed by mistake."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgemat import export
from edgemat.verify.bench import runtimes
from edgemat.verify.bench.child import OPENERS
from edgemat.verify.bench.runtimes import Untimed
from edgemat.verify.bench.sampling import Subject
from edgemat.verify.exported import Entry


def entry(of: str, **changes: object) -> Entry:
    target = replace(export.get(of), **{"requires": (), **changes})  # type: ignore[arg-type]
    return Entry(target, target.default_precision, Path("file"), None, False)


@pytest.mark.parametrize("name", export.names())
def test_a_target_is_timed_or_says_why_not(name: str) -> None:
    found = runtimes.of(entry(name, platforms=()))
    if isinstance(found, Subject):
        assert found.runtime in OPENERS
    else:
        assert len(found.reason) > 20


def test_an_unknown_target_is_not_timed() -> None:
    assert runtimes.of(entry("onnx", name="new")) == Untimed("new fp32", runtimes.OTHER)


def test_a_run_time_that_is_not_installed_is_said_with_the_command() -> None:
    found = runtimes.of(entry("tflite", requires=("no_such_module",)))
    assert found == Untimed("tflite fp32", "no_such_module not installed; pip install 'edgemat[tflite]'")


def test_a_changed_artefact_is_said_to_be_one() -> None:
    found = runtimes.of(replace(entry("onnx"), changed=True))
    assert isinstance(found, Subject)
    assert "changed since the export" in found.note
