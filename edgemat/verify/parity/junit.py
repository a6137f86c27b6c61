"""A parity report as JUnit XML, which every CI shows: a suite an artefact, a case a judged figure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from edgemat.files import atomic_path
from edgemat.verify.parity import words
from edgemat.verify.parity.report import Figure, Outcome, ParityReport

RUNS = "runs"
"""Name of each suite's first case: whether the artefact could be run at all."""
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, even escaped."""


def document(report: ParityReport, timings: Mapping[str, float] | None = None) -> str:
    """Return a report as JUnit XML in the form that Jenkins, GitLab, Azure and GitHub's readers share.

    A figure beyond its limit is a failure; an artefact that raised, crashed or hung is an error; one that cannot be run
    here is skipped, or a failure where it was required. The same report gives the same bytes.

    Args:
        report: What parity found.
        timings: Seconds by the artefact's name, for ``time``; none are stated without them.

    Example:
        >>> judged = Figure("conversion", "max_abs", 0.02, limit=0.01, passed=False)
        >>> text = document(ParityReport((Outcome("onnx", "fp16", "", "", "gate", figures=(judged,)),), {}, {}, {}, {}))
        >>> ElementTree.fromstring(text.encode()).attrib["failures"]
        '1'
    """
    root = ElementTree.Element("testsuites", name="edgemat parity")
    suites = [_suite(outcome, (timings or {}).get(outcome.name)) for outcome in report.outcomes]
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    root.extend(suites)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def write(report: ParityReport, path: Path, timings: Mapping[str, float] | None = None) -> None:
    """Write `document` to a file.

    Raises:
        OutputError: It cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(document(report, timings), encoding="utf-8")


def _suite(outcome: Outcome, seconds: float | None) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=_legal(outcome.name))
    _properties(suite, outcome)
    _runs(_case(suite, outcome, RUNS), outcome)
    for figure in outcome.figures:
        if figure.limit is not None:
            _judge(_case(suite, outcome, figure.key), figure, outcome)
    counts = {"tests": "testcase", "failures": "testcase/failure", "errors": "testcase/error"}
    for name, path in (*counts.items(), ("skipped", "testcase/skipped")):
        suite.set(name, str(len(suite.findall(path))))
    if seconds is not None:
        suite.set("time", f"{seconds:.3f}")
    return suite


def _properties(suite: ElementTree.Element, outcome: Outcome) -> None:
    facts = {"file": outcome.file, "sha256": outcome.sha256, "tensor": outcome.tensor, "proves": outcome.proves}
    facts["changed"] = "since the export" if outcome.changed else ""
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in facts.items():
        if value:
            ElementTree.SubElement(properties, "property", name=name, value=_legal(value))
    if not len(properties):
        suite.remove(properties)


def _case(suite: ElementTree.Element, outcome: Outcome, name: str) -> ElementTree.Element:
    # A class name with dots becomes a tree in most viewers: edgemat, parity, then the artefact.
    return ElementTree.SubElement(
        suite, "testcase", classname=_legal(f"edgemat.parity.{outcome.name}"), name=_legal(name)
    )


def _runs(case: ElementTree.Element, outcome: Outcome) -> None:
    if outcome.state in ("passed", "gate"):
        return
    away = "failure" if outcome.required else "skipped"
    tag = away if outcome.state == "unavailable" else "error"
    found = ElementTree.SubElement(case, tag, message=_line(outcome.message or words.state(outcome)))
    if tag != "skipped":
        found.set("type", outcome.state)
        found.text = _legal("\n".join([outcome.message, *outcome.findings]))


def _judge(case: ElementTree.Element, figure: Figure, outcome: Outcome) -> None:
    if figure.passed:
        return
    failure = ElementTree.SubElement(case, "failure", type="gate", message=_line(str(figure)))
    why = [*outcome.findings, f"first tensor that differs: {outcome.tensor}" if outcome.tensor else ""]
    failure.text = _legal("\n".join([str(figure), *filter(None, why)]))


def _line(text: str) -> str:
    return _legal(" ".join(text.split()))


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)
