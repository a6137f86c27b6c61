"""What a benchmark found: a row an artefact and place, ratios, gates, what was not timed; a value that a file holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgemat.errors import InputError
from edgemat.files import read_json
from edgemat.verify.bench.peaks import Peaks
from edgemat.verify.bench.ratio import FAILED, HERE, INCONCLUSIVE, PASSED, Gate, Judged, Ratio
from edgemat.verify.bench.row import Row as Row
from edgemat.verify.bench.runtimes import Untimed

SCHEMA_VERSION = 2
_CODES = {PASSED: 0, FAILED: 1, INCONCLUSIVE: 5}


@dataclass(frozen=True)
class BenchReport:
    """Everything one benchmark found.

    Attributes:
        rows: Artefact by artefact, place by place.
        ratios: What was compared with what.
        gates: Limits, judged.
        untimed: What was not timed, each with its reason.
        broken: What should have been timed, but could not be run.
        reasons: ``NAME, WHERE`` of an integer artefact that is not faster, to the reasons.
        peaks: What one thread does at best; None where nothing was measured here.
        machine: Facts of this machine and of its load meanwhile.
        devices: What other devices tell of themselves, by the name that rows have.
        settings: How much was timed.
        command: What was typed.
    """

    rows: tuple[Row, ...]
    ratios: tuple[Ratio, ...]
    gates: tuple[Judged, ...]
    untimed: tuple[Untimed, ...]
    broken: tuple[Untimed, ...]
    reasons: Mapping[str, Sequence[str]]
    peaks: Peaks | None
    machine: Mapping[str, object]
    devices: Mapping[str, Mapping[str, object]]
    settings: Mapping[str, object]
    command: str

    @property
    def verdict(self) -> str:
        """``passed``, ``failed`` or ``inconclusive``: of the gates where there are any, else whether every ratio holds.

        What could not be run fails in either case.
        """
        if self.broken:
            return FAILED
        states = {judged.state for judged in self.gates}
        if not self.gates:
            states = {INCONCLUSIVE if r.verdict == INCONCLUSIVE else PASSED for r in self.ratios}
        return next((state for state in (FAILED, INCONCLUSIVE) if state in states), PASSED)

    def __bool__(self) -> bool:
        """Return whether it passed."""
        return self.verdict == PASSED

    @property
    def exit_code(self) -> int:
        """0 passed, 1 a gate failed, 5 inconclusive."""
        return _CODES[self.verdict]

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values with ``schema_version``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "bench",
            "verdict": self.verdict,
            "unit": "ms",
            "rows": [row.to_json() for row in self.rows],
            "ratios": [ratio.to_json() for ratio in self.ratios],
            "gates": [
                {
                    **asdict(j.gate),
                    "text": str(j.gate),
                    "device": j.ratio.device,
                    "where": j.ratio.where,
                    "state": j.state,
                }
                for j in self.gates
            ],
            "untimed": [u.to_json() for u in self.untimed],
            "broken": [u.to_json() for u in self.broken],
            "reasons": {name: list(reasons) for name, reasons in self.reasons.items()},
            "peaks": None if self.peaks is None else self.peaks.to_json(),
            "machine": dict(self.machine),
            "devices": {name: dict(facts) for name, facts in self.devices.items()},
            "settings": dict(self.settings),
            "command": self.command,
        }


def from_json(value: Mapping[str, Any], origin: str = "bench.json") -> BenchReport:
    """Return what `BenchReport.to_json` wrote.

    Args:
        value: The document.
        origin: Its file, for errors.

    Raises:
        InputError: It is of another kind or version, or not whole.
    """
    again = "write it again with: edgemat bench DIR"
    if value.get("kind") != "bench" or value.get("schema_version") != SCHEMA_VERSION:
        found = f"{value.get('kind')!r}, version {value.get('schema_version')!r}"
        raise InputError(f"{origin}: found {found}; expected 'bench', version {SCHEMA_VERSION}; {again}")
    try:
        ratios = tuple(Ratio.from_json(r) for r in value["ratios"])
        return BenchReport(
            tuple(Row.from_json(r) for r in value["rows"]),
            ratios,
            tuple(_judged(g, ratios) for g in value["gates"]),
            _untimed(value["untimed"]),
            _untimed(value["broken"]),
            {name: tuple(reasons) for name, reasons in value["reasons"].items()},
            None if value["peaks"] is None else Peaks.from_json(value["peaks"]),
            value["machine"],
            value["devices"],
            value["settings"],
            value["command"],
        )
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise InputError(f"{origin}: not whole ({type(error).__name__}: {error}); {again}") from error


def _untimed(values: Sequence[Mapping[str, str]]) -> tuple[Untimed, ...]:
    return tuple(Untimed(value["name"], value["reason"]) for value in values)


def _judged(value: Mapping[str, Any], ratios: Sequence[Ratio]) -> Judged:
    gate = Gate(value["name"], value["over"], value["limit"])
    wanted = (gate.name, gate.over, value["device"], value["where"])
    ratio = next(r for r in ratios if (r.name, r.over, r.device, r.where) == wanted)
    return Judged(gate, ratio, value["state"])


def combine(old: BenchReport, new: BenchReport) -> BenchReport:
    """Return a report that holds what was timed anew, and what an older one has of other devices.

    Args:
        old: What stood in the folder.
        new: What was just measured; its devices replace themselves, its gates and its command stand.
    """
    fresh = {row.device for row in new.rows}
    here = HERE in fresh
    rows = (*new.rows, *(row for row in old.rows if row.device not in fresh))
    timed = {row.name for row in rows}
    untimed = {u.name: u for u in (*old.untimed, *new.untimed) if u.name not in timed}
    return replace(
        new,
        rows=rows,
        ratios=(*new.ratios, *(r for r in old.ratios if r.device not in fresh)),
        untimed=tuple(untimed.values()),
        reasons=new.reasons if here else old.reasons,
        peaks=new.peaks if here else old.peaks,
        machine=new.machine if here else old.machine,
        devices={**{d: f for d, f in old.devices.items() if d not in fresh}, **new.devices},
        settings=new.settings if here else old.settings,
    )


def read(path: Path) -> BenchReport:
    """Read a report from its file.

    Raises:
        InputError: It cannot be read, or is of another kind.
    """
    value = read_json(path, "write it with: edgemat bench DIR")
    if not isinstance(value, dict):
        raise InputError(f"{path}: no JSON object; write it with: edgemat bench DIR")
    return from_json(value, str(path))
