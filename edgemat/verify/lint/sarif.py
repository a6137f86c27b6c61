"""A lint report as SARIF 2.1.0, the form that code hosts and editors show beside a change.

Source: OASIS, Static Analysis Results Interchange Format 2.1.0 (sarif-schema-2.1.0.json).
"""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote

from edgemat.verify.lint.finding import Finding, LintReport, Rule
from edgemat.verify.lint.rules import family_of, rules

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
VERSION = "2.1.0"
FINGERPRINT = "edgemat/v1"
"""Key of what stays the same of a finding when the file is exported again."""


def document(report: LintReport, prefix: str = "") -> dict[str, Any]:
    """Return a SARIF log of one run, JSON-ready.

    Args:
        report: To be told.
        prefix: Put before every file, such as ``build/`` for artefacts that lie there in the repository.
    """
    from edgemat import __version__

    known = report.rules or rules()
    places = {rule.id: i for i, rule in enumerate(known)}
    driver = {
        "name": "edgemat lint",
        "version": __version__,
        "semanticVersion": __version__,
        "informationUri": "https://pypi.org/project/edgemat/",
        "rules": [_rule(rule) for rule in known],
    }
    artefacts = [{"location": {"uri": _uri(prefix, a.file)}, "roles": ["analysisTarget"]} for a in report.artefacts]
    notes = [
        {"level": "note", "message": {"text": f"{a.file}: not looked at: {reason}"}}
        for a in report.artefacts
        for reason in a.unknown
    ]
    return {
        "$schema": SCHEMA,
        "version": VERSION,
        "runs": [
            {
                "tool": {"driver": driver},
                "artifacts": artefacts,
                "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notes}],
                "results": [_result(f, places.get(f.rule, -1), prefix) for f in report.findings],
                "columnKind": "utf16CodeUnits",
            }
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule.title} {rule.why}"},
        "help": {"text": rule.fix},
        "defaultConfiguration": {"level": rule.level},
        "properties": {"tags": [family_of(rule)]},
    }
    return found | ({"helpUri": rule.source} if rule.source else {})


def _result(finding: Finding, place: int, prefix: str) -> dict[str, Any]:
    about = f"{finding.artefact}: " + (f"{finding.place}: " if finding.place else "")
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(prefix, finding.file)},
            "region": {"startLine": 1},  # an artefact has no lines, but a code host shows no result without one
        }
    }
    logical = [
        {"name": name, "fullyQualifiedName": f"{finding.file}::{name}", "kind": kind}
        for name, kind in ((finding.op, "function"), (finding.tensor, "variable"))
        if name
    ]
    if logical:
        location["logicalLocations"] = logical
    found = {
        "ruleId": finding.rule,
        "level": finding.level,
        "message": {"text": f"{about}{finding.found}. {finding.why} {finding.fix}"},
        "locations": [location],
        "partialFingerprints": {FINGERPRINT: _fingerprint(finding)},
        "properties": {"artefact": finding.artefact} | ({"source": finding.source} if finding.source else {}),
    }
    return found | ({"ruleIndex": place} if place >= 0 else {})


def _uri(prefix: str, file: str) -> str:
    return quote(f"{prefix}{file}")


def _fingerprint(finding: Finding) -> str:
    """Return what names a finding whatever its figures are."""
    words = "\0".join((finding.rule, finding.artefact, finding.op, finding.tensor))
    return hashlib.sha256(words.encode()).hexdigest()[:32]
