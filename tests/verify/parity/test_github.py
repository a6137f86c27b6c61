"""GitHub's step summary and annotations: what they say, and that nothing in a report can break out of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemat.errors import OutputError
from edgemat.verify.parity import github
from edgemat.verify.parity.report import Figure, Outcome, ParityReport

GOOD = Figure("conversion", "max_abs", 0.005, limit=0.01)
BAD = Figure("conversion", "mean_abs", 0.5, limit=0.1, passed=False)


def outcome(state: str, *figures: Figure, precision: str = "int8", **more: object) -> Outcome:
    return Outcome("tflite", precision, "a.tflite", "00", state, figures=figures, **more)  # type: ignore[arg-type]


def report(*outcomes: Outcome, not_proven: tuple[str, ...] = ()) -> ParityReport:
    return ParityReport(outcomes, {"count": 32}, {}, {}, {}, not_proven, command="edgemat parity out")


def test_the_verdict_comes_first_then_a_row_an_artefact() -> None:
    lines = github.summary(report(outcome("passed", GOOD), not_proven=("No phone's GPU.",))).splitlines()
    assert lines[0] == "## ✅ edgemat parity"
    assert lines[2] == "**Passed: The one artefact (tflite int8) kept every limit on 32 images.**"
    assert lines[6].startswith("| tflite int8 | ✅ passed | largest difference: 0.005, at most 0.01 |")
    assert "- No phone's GPU." in lines
    assert lines[-1] == "Again: `edgemat parity out`"


def test_what_failed_is_told_with_its_findings() -> None:
    text = github.summary(report(outcome("passed", GOOD), outcome("gate", BAD, precision="x", findings=("its bias",))))
    assert text.startswith("## ❌")
    assert "### tflite x: FAILED: beyond a limit" in text
    assert "**conversion mean\\_abs: 0.5, at most 0.1**" in text
    assert "- its bias" in text


def test_nothing_in_a_report_is_read_as_markdown_or_html() -> None:
    nasty = "<script>alert(1)</script> | ![](http://x) `a` \n## heading"
    text = github.summary(report(outcome("error", message=nasty, tensor="a|b"), not_proven=(nasty,)))
    assert "<script>" not in text.replace("\\<script", "")
    assert "\n## heading" not in text
    assert "a\\|b" in text
    assert "\\!\\[\\]" in text


def test_it_is_appended_where_github_says_and_nowhere_else(tmp_path: Path) -> None:
    place = tmp_path / "summary.md"
    place.write_text("before\n")
    found = report(outcome("passed", GOOD))
    assert github.append_summary(found, {}) is None
    assert github.append_summary(found, {"GITHUB_STEP_SUMMARY": str(place)}) == place
    assert place.read_text(encoding="utf-8") == "before\n" + github.summary(found) + "\n"
    with pytest.raises(OutputError, match="GITHUB_STEP_SUMMARY"):
        github.append_summary(found, {"GITHUB_STEP_SUMMARY": str(tmp_path)})


def test_a_summary_that_is_too_long_is_cut_and_says_so(tmp_path: Path) -> None:
    place = tmp_path / "summary.md"
    github.append_summary(report(outcome("error", message="x" * 2_000_000)), {"GITHUB_STEP_SUMMARY": str(place)})
    assert place.stat().st_size < 1 << 20
    assert "holds no more" in place.read_text(encoding="utf-8")


def test_an_annotation_is_one_line_however_odd_its_words() -> None:
    lines = github.workflow_commands(report(outcome("crashed", message="100 %, died:\r\n::error::x")), Path("out"), {})
    assert lines == [
        "::error file=out/a.tflite,title=edgemat parity%3A tflite int8::crashed: 100 %25, died:%0D%0A::error::x"
    ]


def test_files_are_named_as_the_repository_does(tmp_path: Path) -> None:
    folder = tmp_path / "work" / "a,b:c"
    folder.mkdir(parents=True)
    found = report(outcome("gate", BAD))
    (line,) = github.workflow_commands(found, folder, {"GITHUB_WORKSPACE": str(tmp_path / "work")})
    assert line.startswith("::error file=a%2Cb%3Ac/a.tflite,")


def test_failures_are_errors_and_what_could_not_be_run_is_a_warning() -> None:
    found = report(
        outcome("unavailable", message="no Mac"),
        outcome("unavailable", message="no Mac", required=True, precision="x"),
        outcome("passed", GOOD, changed=True, precision="y"),
    )
    kinds = [line.partition(" ")[0] for line in github.workflow_commands(found, Path("out"), {})]
    assert kinds == ["::error", "::warning", "::warning"]


def test_more_than_github_shows_are_counted() -> None:
    found = report(outcome("gate", *[BAD] * 25))
    lines = github.workflow_commands(found, Path("out"), {})
    assert len(lines) == 10
    assert lines[-1] == "::error title=edgemat parity::and 16 more; see the step's summary"
