"""An export folder as it lies on disk: its artefacts, each with what it was made from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemat.errors import InputError
from edgemat.files import sha256

if TYPE_CHECKING:
    from edgemat.export._target import Gate, IntegerGate, Target, Trunk, Trunks

REPORT = "report.json"
_AGAIN = "make the folder with: edgemat export --target all --out"


@dataclass(frozen=True)
class Entry:
    """One artefact.

    Attributes:
        target: What made it.
        precision: One of the target's.
        path: Where it lies.
        trunk: What it was made from; with a grid where the precision takes one.
        changed: Whether its bytes are not those that the export wrote.
    """

    target: Target
    precision: str
    path: Path
    trunk: Trunk
    changed: bool = False

    @property
    def name(self) -> str:
        """Target and precision, such as ``tflite int8``."""
        return f"{self.target.name} {self.precision}"

    @property
    def gate(self) -> Gate | IntegerGate:
        """The limits that the target promises to keep."""
        return self.target.gates[self.precision]


@dataclass(frozen=True)
class Failed:
    """What an export was asked for and could not make.

    Attributes:
        target: The target's name.
        precision: One of its precisions.
        state: One of `edgemat.verify.report.STATES`, never ``passed``.
        message: Why, and what to do.
    """

    target: str
    precision: str
    state: str
    message: str


@dataclass(frozen=True)
class Exported:
    """A folder that ``edgemat export`` wrote.

    Attributes:
        folder: Where it lies.
        entries: Its artefacts, in the order of the export; one that failed its gate is left out.
        trunks: What they were made from.
        failed: What the export could not make, or kept aside.
        document: The export's own report.
    """

    folder: Path
    entries: tuple[Entry, ...]
    trunks: Trunks
    failed: tuple[Failed, ...]
    document: Mapping[str, Any]


def read(folder: Path) -> Exported:
    """Read an export folder; no artefact is opened.

    An artefact that was changed since is still listed: judging it is what a caller is for. The folder may have been
    moved.

    Args:
        folder: With ``report.json`` and ``reference/``.

    Raises:
        InputError: It is not such a folder, its report is of another version, or an artefact is gone.
    """
    from edgemat.export import _reference

    document = _document(folder / REPORT)
    trunks = _reference.load(folder / _reference.FOLDER)
    made = [result for result in document["results"] if result["state"] == "passed"]
    entries = tuple(_entry(folder, result, trunks) for result in made)
    return Exported(folder, entries, trunks, tuple(_failed(document)), document)


def find(artifact: Path) -> Entry:
    """Return the entry of one artefact, by the ``report.json`` beside it.

    Args:
        artifact: A file or folder that an export wrote.

    Raises:
        InputError: It is missing, or lies in no export folder, or that folder does not name it.
    """
    if not artifact.exists():
        raise InputError(f"{artifact}: not found; {_AGAIN} {artifact.parent}")
    found = read(artifact.parent)
    for entry in found.entries:
        if entry.path.name == artifact.name:
            return entry
    known = ", ".join(entry.path.name for entry in found.entries)
    raise InputError(f"{artifact}: {artifact.parent / REPORT} does not name it; it names {known or 'no artefact'}")


def _document(place: Path) -> Mapping[str, Any]:
    from edgemat.verify.report import SCHEMA_VERSION

    try:
        document = json.loads(place.read_text(encoding="utf-8"))
        version = document["schema_version"]
        if not isinstance(document["results"], list):
            raise TypeError("results is no list")
    except FileNotFoundError as error:
        raise InputError(f"{place}: not found, so this is no export folder; {_AGAIN} {place.parent}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{place}: cannot be read ({type(error).__name__}: {error}); {_AGAIN} {place.parent}"
        ) from error
    if version != SCHEMA_VERSION:
        raise InputError(f"{place}: schema version {version}, expected {SCHEMA_VERSION}; {_AGAIN} {place.parent}")
    found: Mapping[str, Any] = document
    return found


def _entry(folder: Path, result: Mapping[str, Any], trunks: Trunks) -> Entry:
    from edgemat import export

    target = export.get(result["target"])
    if result["precision"] not in target.gates:
        known = ", ".join(target.gates)
        raise InputError(f"{folder / REPORT}: target {target.name} makes {known}, found {result['precision']}")
    path = folder / result["path"].replace("\\", "/").rsplit("/", 1)[-1]
    if not path.exists():
        raise InputError(f"{path}: gone since the export; {_AGAIN} {folder}")
    trunk = trunks.get(target, result["precision"])
    return Entry(target, result["precision"], path, trunk, sha256(path) != result["sha256"])


def _failed(document: Mapping[str, Any]) -> Iterator[Failed]:
    for result in document["results"]:
        if result["state"] != "passed":
            yield Failed(result["target"], result["precision"], result["state"], result["message"])
