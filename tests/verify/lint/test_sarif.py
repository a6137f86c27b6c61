"""SARIF 2.1.0: the parts of the official schema that a lint's log uses, stated here and checked.

The whole official schema (OASIS, sarif-schema-2.1.0.json) is no package of the tests; these are its rules for what
`edgemat.verify.lint.sarif` writes: required members, allowed members, types, levels, and that indices point somewhere.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgemat.verify.lint import sarif
from edgemat.verify.lint.finding import LEVELS, Linted, LintReport
from edgemat.verify.lint.rules import rules

from .cases import CASES

MEMBERS: dict[str, tuple[set[str], set[str]]] = {
    "log": ({"version", "runs"}, {"$schema"}),
    "run": ({"tool"}, {"artifacts", "invocations", "results", "columnKind"}),
    "driver": ({"name"}, {"version", "semanticVersion", "informationUri", "rules"}),
    "rule": (
        {"id"},
        {"name", "shortDescription", "fullDescription", "help", "helpUri", "defaultConfiguration", "properties"},
    ),
    "result": (
        {"message"},
        {"ruleId", "ruleIndex", "level", "locations", "partialFingerprints", "properties"},
    ),
    "location": (set(), {"physicalLocation", "logicalLocations"}),
    "physical": (set(), {"artifactLocation", "region"}),
    "logical": (set(), {"name", "fullyQualifiedName", "kind"}),
    "invocation": ({"executionSuccessful"}, {"toolExecutionNotifications"}),
    "notification": ({"message"}, {"level"}),
    "artifact": (set(), {"location", "roles"}),
}
"""By object: required and further allowed members. The schema forbids all others."""


def checked(what: str, value: Any) -> Any:
    required, allowed = MEMBERS[what]
    assert isinstance(value, dict), what
    assert required <= set(value), f"{what} lacks {required - set(value)}"
    assert set(value) <= required | allowed, f"{what} has {set(value) - required - allowed}"
    return value


def message(value: Any) -> None:
    assert set(value) == {"text"}
    assert isinstance(value["text"], str)
    assert value["text"]


def validate(log: Any) -> None:
    """Check a log by the schema's rules for what it holds."""
    checked("log", log)
    assert log["version"] == "2.1.0"
    for run in log["runs"]:
        checked("run", run)
        driver = checked("driver", run["tool"]["driver"])
        assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
        for each in driver["rules"]:
            checked("rule", each)
            for key in ("shortDescription", "fullDescription", "help"):
                message(each[key])
            assert each["defaultConfiguration"]["level"] in LEVELS
            assert each.get("helpUri", "https:").startswith("https:")
        for artefact in run["artifacts"]:
            checked("artifact", artefact)
            assert "analysisTarget" in artefact["roles"]
        for invocation in run["invocations"]:
            for notification in checked("invocation", invocation)["toolExecutionNotifications"]:
                message(checked("notification", notification)["message"])
        for result in run["results"]:
            _result(checked("result", result), driver["rules"])


def _result(result: Any, known: Any) -> None:
    message(result["message"])
    assert result["level"] in LEVELS
    assert known[result["ruleIndex"]]["id"] == result["ruleId"]
    assert all(isinstance(v, str) and v for v in result["partialFingerprints"].values())
    for place in result["locations"]:
        physical = checked("physical", checked("location", place)["physicalLocation"])
        assert " " not in physical["artifactLocation"]["uri"]
        assert physical["region"]["startLine"] >= 1
        for logical in place.get("logicalLocations", ()):
            checked("logical", logical)


@pytest.fixture(scope="module")
def report() -> LintReport:
    """Return a report with a finding of every rule."""
    findings = [f for rule in rules() for f in rule.findings(CASES[rule.id][0])]
    return LintReport((Linted("a net.onnx", "onnx fp32", 3, ("nobody was asked",)),), tuple(findings), {}, rules())


def test_a_log_with_every_rule_is_valid(report: LintReport) -> None:
    log = json.loads(json.dumps(sarif.document(report), allow_nan=False))
    validate(log)
    (run,) = log["runs"]
    assert {result["ruleId"] for result in run["results"]} == {rule.id for rule in rules()}
    assert run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"].endswith("nobody was asked")
    assert run["artifacts"][0]["location"]["uri"] == "a%20net.onnx"


@pytest.mark.parametrize("fault", ["level", "extra", "index"])
def test_the_check_sees_a_fault(report: LintReport, fault: str) -> None:
    log = sarif.document(report)
    result = log["runs"][0]["results"][0]
    if fault == "level":
        result["level"] = "fatal"
    elif fault == "extra":
        result["colour"] = "red"
    else:
        result["ruleIndex"] = 3
    with pytest.raises(AssertionError):
        validate(log)


def test_a_finding_keeps_its_fingerprint_when_its_figures_change(report: LintReport) -> None:
    from dataclasses import replace

    first = report.findings[0]
    other = replace(report, findings=(replace(first, found="something else"), replace(first, tensor="elsewhere")))
    prints = [r["partialFingerprints"][sarif.FINGERPRINT] for r in sarif.document(other)["runs"][0]["results"]]
    assert prints[0] == sarif.document(report)["runs"][0]["results"][0]["partialFingerprints"][sarif.FINGERPRINT]
    assert prints[0] != prints[1]


def test_files_are_named_from_where_the_command_ran(report: LintReport) -> None:
    (run,) = sarif.document(report, "build/")["runs"]
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri.startswith("build/")
