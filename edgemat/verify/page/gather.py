"""What was left in an export folder by the commands that judge it, each document read strictly and missed leniently."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgemat.errors import EdgematError, InputError
from edgemat.files import read_json
from edgemat.verify import proof

if TYPE_CHECKING:
    from edgemat.verify.bench.report import BenchReport
    from edgemat.verify.lint.finding import LintReport
    from edgemat.verify.page.strips import Strips
    from edgemat.verify.parity.report import ParityReport
    from edgemat.verify.waterfall import Waterfall

T = TypeVar("T")

COMMANDS = {
    proof.PARITY: "edgemat parity",
    proof.STRIPS: "edgemat parity",
    proof.WATERFALL: "edgemat waterfall",
    proof.BENCH: "edgemat bench",
    proof.LINT: "edgemat lint",
}
"""What makes each document."""


@dataclass(frozen=True)
class Made:
    """What the export says of one artefact.

    Attributes:
        bytes: Its size.
        device_bytes: The largest part that one device loads; 0 where that is the whole.
        float_bytes: Of the float32 ONNX graph.
        sha256: Of what was written.
    """

    bytes: int
    device_bytes: int
    float_bytes: int
    sha256: str


@dataclass(frozen=True)
class Proof:
    """Everything that was found in an export folder.

    Attributes:
        name: The folder's.
        made: By ``target precision``.
        parity: None where it is absent or unusable, as for all that follow.
        waterfall: The error budget.
        bench: Latencies.
        lint: Findings in the files.
        strips: Pictures.
        absent: A document's name to why it is not shown, and what to do.
    """

    name: str
    made: Mapping[str, Made] = field(default_factory=dict)
    parity: ParityReport | None = None
    waterfall: Waterfall | None = None
    bench: BenchReport | None = None
    lint: LintReport | None = None
    strips: Strips | None = None
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def stale(self) -> tuple[str, ...]:
        """Names of artefacts that were exported again since parity judged them."""
        if self.parity is None:
            return ()
        judged = [o for o in self.parity.outcomes if o.sha256 and not o.changed and o.name in self.made]
        return tuple(o.name for o in judged if self.made[o.name].sha256 != o.sha256)


def gather(folder: Path) -> Proof:
    """Read what is in ``folder/proof``.

    A document that is missing, damaged or of another version is told of and left out.

    Args:
        folder: Of an export, with ``proof/`` in it.

    Raises:
        InputError: There is no such folder, or nothing in it that could be shown.
    """
    place = folder / proof.FOLDER
    if not place.is_dir():
        raise InputError(f"{place}: not found; measure something first: edgemat parity {folder}")
    absent: dict[str, str] = {}

    def read(name: str, load: Callable[[Path], T]) -> T | None:
        path = place / name
        if not path.exists():
            absent[name] = f"not measured; run: {COMMANDS[name]} {folder}"
            return None
        try:
            return load(path)
        except (EdgematError, ValueError) as error:
            absent[name] = f"cannot be shown: {error}"
            return None

    found = Proof(
        folder.resolve().name,
        _made(folder),
        read(proof.PARITY, _parity),
        read(proof.WATERFALL, _waterfall),
        read(proof.BENCH, _bench),
        read(proof.LINT, _lint),
        read(proof.STRIPS, _strips),
        absent,
    )
    if len(absent) == len(COMMANDS):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
        raise InputError(f"{place}: nothing to show: {reasons}")
    return found


def document(path: Path) -> Mapping[str, Any]:
    """Return a JSON object.

    Raises:
        InputError: It cannot be read, or is something else.
    """
    value = read_json(path, f"make it again with: {_again(path)}")
    if not isinstance(value, dict):
        raise InputError(f"{path}: found {type(value).__name__}, expected an object; make it again: {_again(path)}")
    return value


def _again(path: Path) -> str:
    return f"{COMMANDS.get(path.name, 'edgemat export')} {path.parent.parent}"


def _parity(path: Path) -> ParityReport:
    from edgemat.verify.parity.report import ParityReport

    return ParityReport.from_json(document(path), str(path))


def _waterfall(path: Path) -> Waterfall:
    from edgemat.verify.waterfall import Waterfall

    return Waterfall.from_json(document(path))


def _bench(path: Path) -> BenchReport:
    from edgemat.verify.bench.report import read

    return read(path)


def _lint(path: Path) -> LintReport:
    from edgemat.verify.lint.finding import LintReport

    return LintReport.from_json(document(path))


def _strips(path: Path) -> Strips:
    from edgemat.verify.page import strips

    return strips.load(path)


def _made(folder: Path) -> Mapping[str, Made]:
    """Return sizes of the export's own report; empty where it is gone: the page does without them."""
    from edgemat.verify.exported import REPORT

    try:
        results = document(folder / REPORT)["results"]
        return {
            f"{r['target']} {r['precision']}": Made(
                int(r["bytes"]), int(r["device_bytes"]), int(r["float_bytes"]), str(r["sha256"])
            )
            for r in results
            if r["state"] == "passed"
        }
    except (InputError, KeyError, TypeError, ValueError):
        return {}
