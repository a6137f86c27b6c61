"""Reports are values: they count, sort out by level, serialise and come back."""

from __future__ import annotations

import dataclasses
import json

import pytest

from edgemat.verify.lint.finding import ERROR, NOTE, WARNING, Finding, Linted, LintReport

FOUND = Finding("EM001", "bytes-changed", ERROR, "a.onnx", "onnx fp32", "up (Resize)", "up", "found", "why.", "fix.")


def report(*levels: str) -> LintReport:
    return LintReport((Linted("a.onnx", "onnx fp32", 3),), tuple(dataclasses.replace(FOUND, level=x) for x in levels))


def test_a_report_is_true_without_errors_and_false_where_nothing_was_looked_at() -> None:
    assert report()
    assert report(WARNING, NOTE)
    assert not report(ERROR)
    assert not LintReport((), ())


def test_findings_are_counted_and_asked_for_by_level() -> None:
    found = report(NOTE, ERROR, WARNING, WARNING)
    assert found.counts() == {ERROR: 1, WARNING: 2, NOTE: 1}
    assert [len(found.at_least(level)) for level in (ERROR, WARNING, NOTE)] == [1, 3, 4]


def test_a_report_comes_back_from_its_document() -> None:
    made = report(NOTE, ERROR)
    document = json.loads(json.dumps(made.to_json()))
    assert document["schema_version"] == 1
    back = LintReport.from_json(document)
    assert (back.artefacts, back.findings) == (made.artefacts, made.findings)
    with pytest.raises(ValueError, match="schema version 9, expected 1"):
        LintReport.from_json({**document, "schema_version": 9})
    with pytest.raises(ValueError, match="not a whole lint report"):
        LintReport.from_json({"schema_version": 1})


def test_a_place_names_the_operator_and_what_it_makes() -> None:
    assert FOUND.place == "up (Resize)"  # the tensor is called like it
    assert dataclasses.replace(FOUND, tensor="other").place == "up (Resize), other"
    assert dataclasses.replace(FOUND, op="").place == "up"


@pytest.mark.parametrize("change", [{"level": "fatal"}, {"found": ""}, {"fix": ""}])
def test_a_finding_without_words_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="EM001"):
        dataclasses.replace(FOUND, **change)
