"""What artefacts for NPUs share: a folder with one compiled file a chip, the int8 source of all, and a report."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export._isolated import IsolatedError
from edgemat.files import sha256, write_json

if TYPE_CHECKING:
    from edgemat.export._target import Trunk

SCHEMA_VERSION = 1
REPORT = "report.json"
QUALCOMM = {"SM8450": 36, "SM8550": 43, "SM8650": 57, "SM8750": 69, "SM8850": 87}
"""Snapdragon 8 Gen 1, Gen 2, Gen 3, Elite and Elite Gen 5: the chips' names, and their numbers in QNN."""
HTP = {"SM8450": 69, "SM8550": 73, "SM8650": 75, "SM8750": 79, "SM8850": 81}
"""The version of each chip's HTP."""
_MADE_FOR = re.compile(rb"soc_type=[^;]*;arch=(\d+)")
TIMEOUT = 300.0
"""Seconds that a compiler may take for one chip."""
_TAIL = 2000


@dataclass(frozen=True)
class Compiled:
    """One compiled file.

    Attributes:
        chip: What it is for.
        file: Its name in the folder.
        npu: Operators of the source that the accelerator runs.
        cpu: Operators that are left to the CPU.
        facts: What else its compiler says, JSON-ready.
    """

    chip: str
    file: str
    npu: int
    cpu: int
    facts: Mapping[str, object] = field(default_factory=dict)


def refuse_kept(trunk: Trunk, target: str) -> None:
    """Refuse a grid with float nodes: these accelerators compute in int8 alone.

    Raises:
        UnsupportedOpError: All of these nodes.
    """
    if trunk.grid is not None and trunk.grid.kept:
        kept = sorted(trunk.grid.kept)
        raise UnsupportedOpError(
            f"{target}: {len(kept)} nodes are kept in float, and the NPU computes in int8 alone: {', '.join(kept)}; "
            "quantize the network without --keep and --budget"
        )


def write_report(
    folder: Path,
    target: str,
    trunk: Trunk,
    source: str,
    compiled: Sequence[Compiled],
    versions: Mapping[str, str],
    notes: Sequence[str],
) -> None:
    """Write what a folder holds.

    Args:
        folder: With the source and all compiled files.
        target: What made it.
        trunk: What it was made from; files are weighed against its float ONNX.
        source: Name of the int8 file that was compiled.
        compiled: One a chip.
        versions: Tools and their versions.
        notes: What a reader has to know.
    """
    whole = trunk.path.stat().st_size

    def weighed(file: str) -> dict[str, object]:
        size = (folder / file).stat().st_size
        return {"file": file, "bytes": size, "of_float_onnx": round(size / whole, 4), "sha256": sha256(folder / file)}

    entries = [
        {
            "chip": each.chip,
            **weighed(each.file),
            "fully_compiled": each.cpu == 0,
            "operators": {"npu": each.npu, "cpu": each.cpu},
            **each.facts,
        }
        for each in compiled
    ]
    report = {
        "schema_version": SCHEMA_VERSION,
        "target": target,
        "name": trunk.info.name,
        "version": trunk.info.version,
        "precision": "int8",
        "size": [trunk.height, trunk.width],
        "float_onnx_bytes": whole,
        "source": weighed(source),
        "compiled": entries,
        "versions": dict(versions),
        "notes": list(notes),
    }
    write_json(folder / REPORT, report)


def read_report(folder: Path, chips: Collection[str]) -> dict[str, Any]:
    """Return a folder's report.

    Args:
        folder: The artefact.
        chips: Those that its target knows.

    Raises:
        InputError: There is no such folder, or its report is not whole.
    """
    path = folder / REPORT
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        named = [report["source"]["file"], *(entry["file"] for entry in report["compiled"])]
        made_for = [entry["chip"] for entry in report["compiled"]]
        known = report["schema_version"] == SCHEMA_VERSION and len(made_for) > 0 and set(made_for) <= set(chips)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the folder that export made") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a whole report ({error!r}); export the model again") from error
    if not known or any(Path(str(name)).name != name for name in named):
        raise InputError(f"{path}: not a report of version {SCHEMA_VERSION}; export the model again")
    return dict(report)


def complaints(folder: Path, report: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a folder's files; none when each is the one that the report tells of."""
    entries = [report["source"], *report["compiled"]]
    wrong = []
    for entry in entries:
        path = folder / entry["file"]
        if not path.is_file():
            wrong.append(f"{entry['file']} is missing")
        elif sha256(path) != entry.get("sha256"):
            wrong.append(f"{entry['file']} is not the file that {REPORT} tells of: its SHA-256 differs")
    for entry in report["compiled"]:
        operators = entry.get("operators", {})
        if not entry.get("fully_compiled") or operators.get("cpu") != 0 or not operators.get("npu"):
            wrong.append(f"{entry['file']}: not fully compiled ({operators}), expected every operator on the NPU")
    found = {path.name for path in folder.iterdir()}
    wrong += [
        f"{name}: {REPORT} does not tell of it" for name in sorted(found - {REPORT, *(e["file"] for e in entries)})
    ]
    return wrong


def htp_complaints(binary: bytes, chip: str) -> Iterator[str]:
    """Yield what is wrong with a compiled binary, which says itself what it was made for."""
    found = {int(version) for version in _MADE_FOR.findall(binary)}
    if found != {HTP[chip]}:
        words = ", ".join(f"v{version}" for version in sorted(found)) or "none"
        yield f"its binary is for HTP {words}, expected v{HTP[chip]} of {chip}"


def on_device(folder: Path) -> int:
    """Return the bytes of the largest compiled file of a folder: what one device gets at most.

    Raises:
        InputError: There is no such folder, or its report is not whole.
    """
    path = folder / REPORT
    try:
        return max(int(entry["bytes"]) for entry in json.loads(path.read_text(encoding="utf-8"))["compiled"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a whole report ({error!r}); export the model again") from error


def notes(report: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a line for each compiled file, for ``edgemat inspect``."""
    return tuple(
        f"{entry['file']}: {entry['operators']['npu']} operators on the NPU, {entry['operators']['cpu']} on the CPU, "
        f"{entry['bytes']} bytes ({entry['of_float_onnx']:.2f} of the float ONNX)"
        for entry in report["compiled"]
    )


def run_tool(
    command: Sequence[str], about: str, environment: Mapping[str, str] | None = None, timeout: float = TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Run a compiler in a process of its own and return what it said; it may have refused.

    Args:
        command: Program and arguments.
        about: What it works on, for errors.
        environment: All of its variables; None for ours.
        timeout: Seconds until it is killed.

    Raises:
        IsolatedError: It crashed or hung.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=None if environment is None else dict(environment),
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise IsolatedError(f"{about}: {name} gave no answer within {timeout:g} s and was stopped") from error
    if done.returncode < 0:
        raise IsolatedError(f"{about}: {name} crashed with {_signal(-done.returncode)}{said(done)}")
    return done


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Return the end of what a tool said, for an error."""
    text = f"{done.stdout}\n{done.stderr}".strip()[-_TAIL:]
    return f"; its last words:\n{text}" if text else ""


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of installed packages."""
    return {name: metadata.version(name) for name in packages}
