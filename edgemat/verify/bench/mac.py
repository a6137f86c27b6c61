"""Core ML's own times: the script that a Mac runs, and what it wrote, read back and validated."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgemat.errors import InputError
from edgemat.files import read_json
from edgemat.verify.bench import machine, ratio
from edgemat.verify.bench.report import BenchReport
from edgemat.verify.bench.row import Row
from edgemat.verify.bench.runtimes import Untimed

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgemat.export._target import Images
    from edgemat.verify.bench.ratio import Gate, Ratio
    from edgemat.verify.exported import Entry, Exported

SCHEMA_VERSION = 1
"""Of what the script writes."""
SUFFIX = ".mlpackage"
RUNTIME = "Core ML"
_AGAIN = "write the script with edgemat mac-script DIR, and run it on a Mac again"


def packages(found: Exported) -> tuple[Entry, ...]:
    """Return the artefacts that a Mac can run.

    Raises:
        InputError: There is none.
    """
    entries = tuple(entry for entry in found.entries if entry.path.suffix == SUFFIX)
    if not entries:
        raise InputError(f"{found.folder}: no {SUFFIX} in it; make one with: edgemat export --target coreml")
    return entries


def script() -> str:
    """Return the script's text: plain Python that needs no edgemat."""
    return Path(__file__).with_name("_mac_script.py").read_text(encoding="utf-8")


def write_script(found: Exported, images: Images, goal: Path) -> tuple[Path, Path]:
    """Write the script, and beside it the golden inputs with the alpha that each package has to return.

    Args:
        found: The export folder.
        images: RGB, uint8, (N, H, W, 3), at the artefacts' size; a few are enough.
        goal: The script's place, ending in ``.py``.

    Returns:
        The places of both files.

    Raises:
        InputError: There is no package, or the goal is no Python file.
        OutputError: They cannot be written.
    """
    from edgemat.files import atomic_path, sha256

    if goal.suffix != ".py":
        raise InputError(f"--out {goal}: expected a name that ends in .py")
    entries = packages(found)
    listed = [{"name": e.name, "file": e.path.name, "sha256": sha256(e.path), "gate": _gate(e)} for e in entries]
    arrays: dict[str, Any] = {"images": images}
    with tempfile.TemporaryDirectory() as scratch:
        for entry in entries:
            arrays[f"alpha:{entry.path.name}"] = _reference(entry, images, Path(scratch))
    index = {"packages": listed, "reference": _identity(entries)}
    arrays["index"] = np.array(json.dumps(index))
    golden = goal.with_suffix(".npz")
    with atomic_path(golden) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    with atomic_path(goal) as temporary:
        temporary.write_text(script(), encoding="utf-8")
    return goal, golden


def _gate(entry: Entry) -> dict[str, float]:
    """Return the limits of alpha: end to end, as Core ML shows nothing else."""
    from edgemat.export._target import IntegerGate

    gate = entry.gate
    return {"within_one": gate.within_one} if isinstance(gate, IntegerGate) else asdict(gate)


def _reference(entry: Entry, images: Images, scratch: Path) -> npt.NDArray[np.float32]:
    """Return the alpha that an artefact is held against: the float graph's, or the reference's on its grid."""
    from edgemat.export._compare import References
    from edgemat.export._target import IntegerGate

    references = References(images, scratch)
    if isinstance(entry.gate, IntegerGate):
        with entry.target.load(entry.path) as runner:
            return references.on_grid(entry.trunk, runner.rounding)
    stored = entry.precision in entry.target.stores
    return references.plain(references.stored(entry.trunk) if stored else entry.trunk)


def _identity(entries: Sequence[Entry]) -> str:
    """Return what tells one export's packages from another's."""
    from edgemat.files import sha256

    return hashlib.sha256("".join(sha256(entry.path) for entry in entries).encode()).hexdigest()


def merge(found: Exported, place: Path, gates: Sequence[Gate] = ()) -> BenchReport:
    """Return what a Mac found of the packages of a folder.

    Args:
        found: The export folder.
        place: What the script wrote.
        gates: Limits on ratios.

    Raises:
        InputError: It is no such file, of another version, of other packages, or not whole.
    """
    document = _read(place)
    known = {entry.name: entry for entry in packages(found)}
    try:
        facts = {str(key): str(value) for key, value in document["device"].items()}
        name = f"{facts['chip']} ({facts['model']})"
        artefacts = list(document["artefacts"])
        for one in artefacts:
            _refuse(one, known, place)
        rows = tuple(_row(one, name) for one in artefacts)
        ratios = _ratios(artefacts, name, gates)
        broken = tuple(_broken(document["errors"], artefacts))
        if not artefacts and not broken:
            raise InputError(f"{place}: it timed nothing; {_AGAIN}")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{place}: not whole ({type(error).__name__}: {error}); {_AGAIN}") from error
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    judged = ratio.judge(gates, ratios)
    return BenchReport(rows, tuple(ratios), judged, (), broken, {}, None, machine.facts(), {name: facts}, {}, command)


def _read(place: Path) -> Mapping[str, Any]:
    document = read_json(place, _AGAIN)
    kind, version = (document.get(key) if isinstance(document, dict) else None for key in ("kind", "schema_version"))
    if kind != "mac-bench" or version != SCHEMA_VERSION:
        raise InputError(
            f"{place}: found {kind!r}, version {version!r}; expected 'mac-bench', version {SCHEMA_VERSION}; {_AGAIN}"
        )
    checked: Mapping[str, Any] = document
    return checked


def _refuse(one: Mapping[str, Any], known: Mapping[str, Entry], place: Path) -> None:
    """Refuse times of a package that is not in the folder, and times that cannot be."""
    from edgemat.files import sha256

    entry = known.get(one["name"])
    if entry is None or one["sha256"] != sha256(entry.path):
        raise InputError(
            f"{place}: it timed another {one['file']} than the folder holds ({str(one['sha256'])[:12]}...); {_AGAIN}"
        )
    times = np.array(one["samples"], np.float64)
    if times.ndim != 3 or not times.size or not (np.isfinite(times) & (times > 0)).all():
        raise InputError(
            f"{place}: {one['name']} on {one['unit']}: times of shape {times.shape}, expected (starts, rounds, calls) "
            f"of milliseconds above 0; {_AGAIN}"
        )


def _row(one: Mapping[str, Any], device: str) -> Row:
    times = np.array(one["samples"], np.float64)
    q1, median, q3, p90, p99, least = (float(cut) for cut in np.percentile(times, (25, 50, 75, 90, 99, 0)))
    operators = tuple(dict(operation) for operation in one.get("plan", ()))
    notes = [] if all(one["settled"]) else ["the times had not settled before the first round"]
    if one.get("passed") is False:
        notes.append("alpha is FAR FROM THE REFERENCE on this unit")
    if one.get("parted"):
        notes.append(f"it parts from the CPU at {', '.join(map(str, one['parted'][:4]))}")
    return Row(
        str(one["name"]),
        RUNTIME,
        device,
        str(one["unit"]),
        int(one["bytes"]),
        int(times.size),
        median,
        p90,
        p99,
        q1,
        q3,
        least,
        wall=median,
        settled=all(one["settled"]),
        load_ms=float(np.median(one["load_ms"])),
        placement=dict(sorted(Counter(str(op["device"]) for op in operators).items())),
        operators=operators,
        difference={key: float(value) for key, value in one.get("difference", {}).items()},
        note="; ".join(notes),
    )


def _ratios(artefacts: Sequence[Mapping[str, Any]], device: str, gates: Sequence[Gate]) -> list[Ratio]:
    """Compare each package with the float32 one on the same unit, and what gates name."""
    wanted = {(gate.name, gate.over) for gate in gates}
    found = []
    for top in artefacts:
        for bottom in artefacts:
            if top["unit"] != bottom["unit"] or top["name"] == bottom["name"]:
                continue
            if str(bottom["name"]).endswith(" fp32") or (top["name"], bottom["name"]) in wanted:
                first, second = (np.median(np.array(one["samples"], np.float64), axis=2) for one in (top, bottom))
                if first.shape == second.shape:
                    found.append(ratio.compare(top["name"], bottom["name"], top["unit"], first, second, device))
    return found


def _broken(errors: Sequence[Mapping[str, Any]], artefacts: Sequence[Mapping[str, Any]]) -> list[Untimed]:
    """Return what the Mac could not run, and what it ran far from the reference."""
    found = [Untimed(f"{e['name']}, {e['unit']}".removesuffix(", "), str(e["error"])) for e in errors]
    for one in artefacts:
        if one.get("passed") is False:
            figures = ", ".join(f"{key} {value:.3g}" for key, value in one["difference"].items())
            limits = ", ".join(f"{key} {value:g}" for key, value in one["gate"].items())
            found.append(Untimed(f"{one['name']}, {one['unit']}", f"alpha is beyond its gate ({limits}): {figures}"))
    return found
