"""JUnit XML of a parity report: its form, its states, and what no XML may hold."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgemat.verify.parity import junit
from edgemat.verify.parity.report import Figure, Outcome, ParityReport

GOOD = Figure("conversion", "max_abs", 0.005, limit=0.01)
BAD = Figure("conversion", "mean_abs", 0.5, limit=0.1, passed=False)
SHOWN = Figure("quantization", "mad", 0.1, "%", region="skin: tan")

# What Jenkins' junit-10.xsd (jenkinsci/xunit-plugin) allows: attributes required, attributes optional, children.
FORM = {
    "testsuites": ((), ("name", "time", "tests", "failures", "errors"), ("testsuite",)),
    "testsuite": (("name", "tests", "failures", "errors"), ("time", "skipped"), ("properties", "testcase")),
    "properties": ((), (), ("property",)),
    "property": (("name", "value"), (), ()),
    "testcase": (("name",), ("classname", "time"), ("skipped", "error", "failure")),
    "failure": ((), ("type", "message"), ()),
    "error": ((), ("type", "message"), ()),
    "skipped": ((), ("type", "message"), ()),
}


def outcome(state: str, *figures: Figure, precision: str = "int8", **more: object) -> Outcome:
    return Outcome("tflite", precision, "a.tflite", "00", state, figures=figures, **more)  # type: ignore[arg-type]


def suites(*outcomes: Outcome) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(junit.document(ParityReport(outcomes, {}, {}, {}, {})).encode())
    check(root)
    return list(root)


def check(element: ElementTree.Element) -> None:
    required, optional, children = FORM[element.tag]
    assert set(required) <= set(element.attrib) <= {*required, *optional}, element.tag
    assert {child.tag for child in element} <= set(children), element.tag
    for child in element:
        check(child)


def every_state() -> ParityReport:
    states = (
        outcome("passed", GOOD, SHOWN, proves="the file in LiteRT"),
        outcome("gate", GOOD, BAD, findings=("its bias differs", "by 2 %"), tensor="conv_3", precision="a"),
        outcome("crashed", message="died of SIGSEGV", precision="b"),
        outcome("timeout", message="no answer in 60 s", precision="c"),
        outcome("error", message="NaN in 3 pixels", changed=True, precision="d"),
        outcome("unavailable", message="no Mac", precision="e"),
        outcome("unavailable", message="no Mac", required=True, precision="f"),
    )
    return ParityReport(states, {}, {}, {}, {})


def test_a_suite_an_artefact_and_a_case_a_judged_figure() -> None:
    (suite,) = suites(outcome("passed", GOOD, SHOWN))
    assert suite.get("name") == "tflite int8"
    assert [case.get("name") for case in suite.findall("testcase")] == [junit.RUNS, "conversion max_abs"]
    assert all(len(case) == 0 for case in suite.findall("testcase"))
    assert "time" not in suite.attrib


def test_each_state_is_what_a_ci_takes_it_for() -> None:
    found = suites(*every_state().outcomes)
    marks = [[child.tag for case in suite.findall("testcase") for child in case] for suite in found]
    assert marks == [[], ["failure"], ["error"], ["error"], ["error"], ["skipped"], ["failure"]]
    for suite in found:
        for count, tag in {"failures": "failure", "errors": "error", "skipped": "skipped"}.items():
            assert int(suite.attrib[count]) == len(suite.findall(f"testcase/{tag}"))


def test_a_failure_tells_the_figure_the_findings_and_the_tensor() -> None:
    (suite,) = suites(outcome("gate", BAD, findings=("its bias differs",), tensor="conv_3"))
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "conversion mean_abs: 0.5, at most 0.1"
    assert "its bias differs" in str(failure.text)
    assert "conv_3" in str(failure.text)


def test_what_xml_cannot_hold_is_replaced() -> None:
    nasty = "<script>&\"' ]]> \x00\x1b\ud800 \n second"
    (suite,) = suites(outcome("error", message=nasty, findings=(nasty,)))
    error = suite.find("testcase/error")
    assert error is not None
    assert error.get("message") == "<script>&\"' ]]> \ufffd\ufffd\ufffd second"


def test_the_same_report_gives_the_same_bytes_and_times_only_where_given(tmp_path: Path) -> None:
    report = every_state()
    assert junit.document(report) == junit.document(report)
    assert "time=" not in junit.document(report)
    assert 'time="1.500"' in junit.document(report, {"tflite int8": 1.5})
    junit.write(report, tmp_path / "deep" / "junit.xml")
    assert ElementTree.parse(tmp_path / "deep" / "junit.xml").getroot().get("errors") == "3"


def test_the_form_refuses_what_is_not_in_it() -> None:
    with pytest.raises(AssertionError):
        check(ElementTree.fromstring('<testsuites skipped="1"/>'))
    with pytest.raises(AssertionError):
        check(ElementTree.fromstring('<testsuites><testsuite name="a"/></testsuites>'))
