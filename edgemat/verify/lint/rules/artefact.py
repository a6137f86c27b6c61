"""The artefact as a whole: its bytes, its metadata, what the export could not make."""

from __future__ import annotations

from collections.abc import Iterator

from edgemat.verify.lint.facts import Facts
from edgemat.verify.lint.finding import ERROR, WARNING, Place
from edgemat.verify.lint.rule import rule

_NEEDED = ("name", "version", "author", "license", "description")


@rule(
    "EM001",
    "bytes-changed",
    ERROR,
    "The artefact is not the one that the export wrote.",
    why="The report beside it, and every figure in it, is about other bytes.",
    fix="Export again with edgemat export, or take the file back from where it was exported.",
)
def changed(facts: Facts) -> Iterator[Place]:
    """Yield whether the SHA-256 differs from the report's."""
    if facts.changed:
        yield Place("its SHA-256 is not the one in report.json")


@rule(
    "EM002",
    "not-as-promised",
    ERROR,
    "A changed artefact breaks a promise of its target.",
    why="What an app reads of the file, or what a runtime makes of it, is not what the target promises.",
    fix="Export again with edgemat export.",
)
def promised(facts: Facts) -> Iterator[Place]:
    """Yield what the target's own check complains of; it is asked for artefacts that are not as exported."""
    for complaint in facts.complaints:
        yield Place(complaint)


@rule(
    "EM003",
    "metadata-missing",
    WARNING,
    "Metadata that the app team and a licence audit need are missing.",
    why="Nobody can tell later which weights these are, whose they are, and whether they may ship.",
    fix="Export with edgemat, which writes them, or add them to the ONNX file that you export from.",
)
def metadata(facts: Facts) -> Iterator[Place]:
    """Yield the fields that are empty or say that nothing was stated."""
    missing = [
        key for key in (_NEEDED if facts.described else ()) if facts.described.get(key, "") in ("", "not stated")
    ]
    if missing:
        yield Place(f"the file does not state: {', '.join(missing)}")


@rule(
    "EM004",
    "colour-order-missing",
    WARNING,
    "The file does not state the order of the colours or the range of its input.",
    why="BGR for RGB, or [0, 255] for [0, 1], gives a matte that looks plausible and is wrong.",
    fix="State both in the description of the input; edgemat export does.",
)
def colours(facts: Facts) -> Iterator[Place]:
    """Yield what the file is silent about."""
    wanted = ("colour order", "range") if facts.described else ()
    missing = [key for key in wanted if not facts.described[key]]
    if missing:
        yield Place(f"the file does not state: {' and '.join(missing)} of its input", tensor=_first(facts))


def _first(facts: Facts) -> str:
    return facts.inputs[0] if facts.inputs else ""


@rule(
    "EM006",
    "unreadable",
    ERROR,
    "The artefact cannot be read.",
    why="No app can load it, and nothing else could be looked at.",
    fix="Export again with edgemat export, or copy the file again.",
)
def unreadable(facts: Facts) -> Iterator[Place]:
    """Yield why no reader could make sense of the file."""
    if facts.broken:
        yield Place(facts.broken)


@rule(
    "EM005",
    "export-incomplete",
    WARNING,
    "The export could not make an artefact that it was asked for.",
    why="The folder looks whole, but a platform has no file, or the file of an earlier export.",
    fix="Read the message in report.json, mend it, and export again.",
)
def incomplete(facts: Facts) -> Iterator[Place]:
    """Yield the artefacts that are missing from a folder."""
    for line in facts.gone:
        yield Place(line)
