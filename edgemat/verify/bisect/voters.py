"""Find what is to be bisected or to vote: an artefact of an export folder, and others of its trunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import BackendMissingError, InputError
from edgemat.export._target import IntegerGate
from edgemat.verify import exported
from edgemat.verify.exported import Entry

if TYPE_CHECKING:
    from edgemat.export._target import Target


def find(artefact: Path) -> Entry:
    """Return the entry of an artefact, whether it passed its gate or was kept aside as rejected.

    Args:
        artefact: A file or folder that ``edgemat export`` wrote.

    Raises:
        InputError: It is missing, or lies in no export folder, or that folder does not name it.
    """
    from edgemat import export

    if not artefact.exists():
        return exported.find(artefact)  # which says what to do
    folder = exported.read(artefact.parent)
    for result in folder.document["results"]:
        place = (result.get("path") or "").replace("\\", "/").rsplit("/", 1)[-1]
        if result["state"] != "passed" and place == artefact.name:
            target = export.get(result["target"])
            return Entry(target, result["precision"], artefact, folder.trunks.get(target, result["precision"]))
    return exported.find(artefact)


def others(entry: Entry, names: Sequence[str], folder: Path) -> list[Entry]:
    """Return an artefact with those of other targets at the same precision, of the same folder or made anew.

    Args:
        entry: The artefact; it votes whether it is named or not.
        names: Targets.
        folder: Where artefacts are made that the export folder does not hold.

    Raises:
        InputError: A target is not known, or does not make the precision from the same graph.
        BackendMissingError: A target's packages are not installed.
        UnsupportedOpError: A target cannot express the trunk.
    """
    from edgemat import export

    beside = _beside(entry.path)
    found = [entry]
    for name in dict.fromkeys(names):
        target = export.get(name)
        if target.name == entry.target.name:
            continue
        precision = _precision(entry, target)
        known = next((e for e in beside if (e.target.name, e.precision) == (target.name, precision)), None)
        found.append(known or _made(entry, target, precision, folder))
    return found


def _beside(path: Path) -> tuple[Entry, ...]:
    try:
        return exported.read(path.parent).entries
    except InputError:  # an artefact may be given with its trunk, and lie anywhere
        return ()


def _precision(entry: Entry, target: Target) -> str:
    """Return the precision of a target whose tensors are the same numbers as an artefact's."""
    is_integer = isinstance(entry.gate, IntegerGate)
    word = "int8" if is_integer else entry.precision
    precision = target.precision(word)
    if precision is None or isinstance(target.gates[precision], IntegerGate) != is_integer:
        raise InputError(
            f"--backends {target.name}: it makes {', '.join(target.gates)}, none of which computes what "
            f"{entry.name} computes; name another backend, or bisect another precision"
        )
    if is_integer and target.scheme != entry.target.scheme:
        raise InputError(
            f"--backends {target.name}: its grid is {target.scheme}, that of {entry.name} {entry.target.scheme}: "
            "their codes are not the same numbers; name another backend"
        )
    return precision


def _made(entry: Entry, target: Target, precision: str, folder: Path) -> Entry:
    gone = target.unavailable()
    if gone is not None:
        raise BackendMissingError(f"--backends {target.name}: {gone.reason}; {gone.install}")
    path = folder / f"{target.name}-{precision}{target.suffix}"
    target.convert(entry.trunk, precision, path)
    return replace(entry, target=target, precision=precision, path=path, changed=False)
