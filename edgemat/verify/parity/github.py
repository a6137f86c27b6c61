"""A parity report where GitHub shows it: the step's summary in Markdown, and annotations of what failed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgemat.errors import OutputError
from edgemat.verify.parity import words
from edgemat.verify.parity.report import Outcome, ParityReport

SUMMARY = "GITHUB_STEP_SUMMARY"
"""Environment variable that names the file to append the summary to."""
WORKSPACE = "GITHUB_WORKSPACE"
LEAST_SHOWN = 10
"""Annotations of one kind that GitHub shows of one step; it drops the rest without a word."""
_FAILED_SHOWN = 50
_LARGEST = 1_000_000
"""Bytes; GitHub refuses a summary of more than 1 MiB."""


def summary(report: ParityReport) -> str:
    """Return a report in GitHub's Markdown: the verdict, a table of the artefacts, what failed, what is not proven.

    Example:
        >>> summary(ParityReport((), {}, {}, {}, {})).splitlines()[0]
        '## ❌ edgemat parity'
    """
    mark = "✅" if report else "❌"
    lines = [f"## {mark} edgemat parity", "", f"**{_text(words.verdict(report))}**", "", *_table(report)]
    for outcome in report.outcomes:
        if outcome.failed or not outcome:
            lines += ["", *_failure(outcome)]
    if report.not_proven:
        lines += ["", "### What this does not prove", "", *(f"- {_text(line)}" for line in report.not_proven)]
    if report.command:
        lines += ["", f"Again: {_code(report.command)}"]
    return "\n".join(lines) + "\n"


def append_summary(report: ParityReport, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Append `summary` to the file that GitHub names; outside of GitHub nothing is written.

    Returns:
        The file; None where there is none.

    Raises:
        OutputError: It cannot be written.
    """
    if not (name := environment.get(SUMMARY)):
        return None
    text = summary(report)
    if len(text.encode()) > _LARGEST:
        kept = text.encode()[:_LARGEST].decode(errors="ignore").rpartition("\n")[0]
        text = kept + "\n\nThe rest is in the report itself: this page holds no more.\n"
    path = Path(name)
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")
    except OSError as error:
        raise OutputError(f"{path}: cannot be appended to ({error.strerror}); it is what {SUMMARY} names") from error
    return path


def workflow_commands(report: ParityReport, folder: Path, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return workflow commands that make GitHub show what failed beside the commit.

    An error a failed figure or artefact, the worst artefacts first by the export's order; a warning an artefact that
    could not be run, or whose bytes are not the export's; at most `LEAST_SHOWN` of a kind, the last of which counts the
    rest.

    Args:
        report: What parity found.
        folder: The export folder, for the files' names.
        environment: Tells the workspace that names are relative to.

    Example:
        >>> lost = Outcome("coreml", "fp16", "a.mlpackage", "", "crashed", "it died: 100 %")
        >>> workflow_commands(ParityReport((lost,), {}, {}, {}, {}), Path("out"), {})
        ['::error file=out/a.mlpackage,title=edgemat parity%3A coreml fp16::crashed: it died: 100 %25']
    """
    place = _relative(folder, environment)
    errors = [line for outcome in report.outcomes for line in _errors(outcome, place)]
    warnings = [line for outcome in report.outcomes for line in _warnings(outcome, place)]
    return [*_capped(errors, "error"), *_capped(warnings, "warning")]


def _errors(outcome: Outcome, place: str) -> Iterator[str]:
    if not outcome.failed:
        return
    why = "".join(f"\n{finding}" for finding in outcome.findings[:3])
    failed = [figure for figure in outcome.figures if not figure.passed]
    if outcome.state != "gate":
        yield _command("error", outcome, place, f"{outcome.state}: {outcome.message}{why}")
    for figure in failed:
        yield _command("error", outcome, place, f"{figure}{why}")


def _warnings(outcome: Outcome, place: str) -> Iterator[str]:
    if outcome.state == "unavailable" and not outcome.required:
        yield _command("warning", outcome, place, f"not run here, so nothing is proven of it: {outcome.message}")
    if outcome.changed:
        yield _command("warning", outcome, place, "its bytes are not those that the export wrote")


def _command(kind: str, outcome: Outcome, place: str, message: str) -> str:
    file = f"file={_property(f'{place}/{outcome.file}')}," if outcome.file else ""
    return f"::{kind} {file}title={_property(f'edgemat parity: {outcome.name}')}::{_data(message)}"


def _capped(lines: list[str], kind: str) -> list[str]:
    if len(lines) <= LEAST_SHOWN:
        return lines
    more = len(lines) - LEAST_SHOWN + 1
    return [*lines[: LEAST_SHOWN - 1], f"::{kind} title=edgemat parity::and {more} more; see the step's summary"]


def _data(text: str) -> str:
    """Escape a command's message, as the runner's own toolkit does (actions/toolkit, core/command)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _relative(folder: Path, environment: Mapping[str, str]) -> str:
    """Name a folder as the repository does: GitHub links what lies in the workspace."""
    workspace = environment.get(WORKSPACE)
    if workspace and folder.resolve().is_relative_to(Path(workspace).resolve()):
        folder = folder.resolve().relative_to(Path(workspace).resolve())
    return folder.as_posix()


def _table(report: ParityReport) -> Iterator[str]:
    yield "| artefact | result | nearest to its limit, or beyond it | first tensor that differs |"
    yield "| --- | --- | --- | --- |"
    for outcome in report.outcomes:
        worst = words.worst(outcome)
        figure = "" if worst is None else f"{words.title(worst)}: {words.measured(worst)}, {words.allowed(worst)}"
        mark = "✅" if outcome else "❌" if outcome.failed else "➖"  # noqa: RUF001
        changed = " (changed since the export)" if outcome.changed else ""
        cells = (outcome.name, f"{mark} {words.state(outcome)}{changed}", figure, outcome.tensor)
        yield "| " + " | ".join(_text(cell) for cell in cells) + " |"


def _failure(outcome: Outcome) -> Iterator[str]:
    yield f"### {_text(outcome.name)}: {_text(words.state(outcome))}"
    yield ""
    if outcome.message:
        yield f"- {_text(outcome.message)}"
    failed = [figure for figure in outcome.figures if not figure.passed]
    for figure in failed[:_FAILED_SHOWN]:
        yield f"- **{_text(str(figure))}**"
    if len(failed) > _FAILED_SHOWN:
        yield f"- and {len(failed) - _FAILED_SHOWN} more figures beyond their limits"
    for finding in outcome.findings:
        yield f"- {_text(finding)}"


def _text(text: str) -> str:
    """Escape what Markdown or HTML would read as its own, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&$@!])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Return text as inline code, between more backticks than it holds."""
    line = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"
