"""What an export found: values that print well, serialise with a schema version, and are true or false."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

SCHEMA_VERSION = 3
STATES = ("passed", "gate", "error", "unavailable")
"""``gate``: made and run, too far from the reference. ``error``: not made, not run, or not as promised."""


@dataclass(frozen=True)
class Comparison:
    """How far alpha is from its reference, over all pixels of all images.

    Attributes:
        max_abs: Largest absolute difference, in [0, 1].
        mean_abs: Mean absolute difference, in [0, 1].
        psnr: Peak signal-to-noise ratio in dB, 10 log10(1 / mean square difference); None when nothing differs.
        images: How many images were compared.
    """

    max_abs: float
    mean_abs: float
    psnr: float | None
    images: int


@dataclass(frozen=True)
class OnGrid:
    """How an integer artefact is from the reference on the same grid.

    Attributes:
        lsb: Largest difference of a code from what the reference makes of the same inputs, over all tensors shown.
        tensor: Where that is; empty when nothing differs.
        tensors: How many tensors were compared.
        within_one: Share of alpha's pixels within one code of the reference, end to end, in [0, 1].
        identical: Share of alpha's pixels that are the reference's.
        scales: Largest relative difference of a scale in the file from the grid's.
    """

    lsb: int
    tensor: str
    tensors: int
    within_one: float
    identical: float
    scales: float


@dataclass(frozen=True)
class Result:
    """One artefact of one target: made, read back, run and compared, or why not.

    Attributes:
        target: Name of the target.
        precision: ``fp32``, ``fp16``, ``int8``...
        state: One of `STATES`.
        message: Why it did not pass, and what to do; empty when it passed.
        path: Where the artefact lies; None when there is none.
        sha256: Of the artefact as it was written (`edgemat.files.sha256`); empty when there is none.
        bytes: Size of the artefact, all files of a folder together.
        device_bytes: Size of what one device gets: less than ``bytes`` where the artefact holds a file for each chip.
        float_bytes: Size of the float32 graph that it was made from.
        comparison: None when it did not run. An integer artefact's reference is on the same grid.
        on_grid: What an integer artefact was judged by; None for a float one.
        gate: The limits that it had to keep.
        convert_seconds: Wall time of the conversion.
        run_seconds: Wall time of the run on all images, loading excluded.
        exit_code: What ``edgemat`` exits with because of this result alone.
    """

    target: str
    precision: str
    state: str
    message: str = ""
    path: str | None = None
    sha256: str = ""
    bytes: int = 0
    device_bytes: int = 0
    float_bytes: int = 0
    comparison: Comparison | None = None
    on_grid: OnGrid | None = None
    gate: Mapping[str, float] = field(default_factory=dict)
    convert_seconds: float = 0.0
    run_seconds: float = 0.0
    exit_code: int = 0

    def __post_init__(self) -> None:
        """Refuse a result that says two things."""
        if self.state not in STATES:
            raise ValueError(f"state {self.state!r}, expected one of {', '.join(STATES)}")
        if (self.state == "passed") != (self.exit_code == 0):
            raise ValueError(f"state {self.state!r} with exit code {self.exit_code}: only a pass exits 0")
        if self.state == "passed" and self.comparison is None:
            raise ValueError("a passed result needs the figures of its comparison")

    def __bool__(self) -> bool:
        """Return whether the artefact passed."""
        return self.state == "passed"


COLUMNS = ("target", "precision", "file", "size", "max", "mean", "LSB", "within 1", "gate", "seconds", "result")
"""Heads of `Report.rows`. LSB: worst code of any tensor, given the same inputs; within 1: share of alpha's pixels."""


@dataclass(frozen=True)
class Report:
    """Everything one export found.

    Attributes:
        results: One a target, in the order asked for.
        trunk: Facts of the trunk: size, name, version, SHA-256.
        machine: Facts of the machine and the versions of the packages that took part.
        command: What was typed.
        preview: The picture's path; None when nothing could be shown.
    """

    results: tuple[Result, ...]
    trunk: Mapping[str, object]
    machine: Mapping[str, object]
    command: str
    preview: str | None = None

    @property
    def passed(self) -> bool:
        """Whether there are results and every one passed; what could not be run did not pass."""
        return bool(self.results) and all(self.results)

    def __bool__(self) -> bool:
        """Return `passed`."""
        return self.passed

    @property
    def exit_code(self) -> int:
        """0 when all passed; else a failed gate (1) before an unsupported operator (4), an error (2), a backend (3)."""
        codes = {result.exit_code for result in self.results} or {2}
        return next((code for code in (1, 4, 2, 3) if code in codes), 0)

    def rows(self) -> tuple[tuple[str, ...], ...]:
        """Return one row of text cells a result, under `COLUMNS`."""
        return tuple(_row(result) for result in self.results)

    def to_json(self) -> dict[str, object]:
        """Return a JSON-ready mapping with its schema version; no NaN, no infinity."""
        return {"schema_version": SCHEMA_VERSION, "passed": self.passed, **dataclasses.asdict(self)}

    def __str__(self) -> str:
        """Return the table as plain text, then the messages."""
        table = (COLUMNS, *self.rows())
        widths = [max(len(row[i]) for row in table) for i in range(len(COLUMNS))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]
        messages = [f"{r.target} {r.precision}: {r.message}" for r in self.results if r.message]
        return "\n".join([*lines, *messages])


def _row(result: Result) -> tuple[str, ...]:
    name = result.path.replace("\\", "/").rsplit("/", 1)[-1] if result.path else "-"
    size = _size(result)
    figures = ("-", "-")
    if result.comparison is not None:
        figures = (f"{result.comparison.max_abs:.2e}", f"{result.comparison.mean_abs:.2e}")
    grid = ("-", "-")
    if result.on_grid is not None:
        grid = (str(result.on_grid.lsb), f"{result.on_grid.within_one:.2%}")
    word = {"passed": "passed", "gate": "FAILED", "error": "ERROR", "unavailable": "unavailable"}[result.state]
    seconds = f"{result.convert_seconds:.1f}"
    return (result.target, result.precision, name, size, *figures, *grid, _limit(result.gate), seconds, word)


def _size(result: Result) -> str:
    """Return megabytes on one device and, where the float graph's are known, the ratio to them."""
    if not result.path:
        return "-"
    shown = result.device_bytes or result.bytes
    ratio = f" ({shown / result.float_bytes:.3f})" if result.float_bytes else ""
    return f"{shown / 1e6:.2f} MB{ratio}"


def _limit(gate: Mapping[str, float]) -> str:
    if "lsb" in gate:
        return f"{gate['lsb']} LSB, {gate['within_one']:.0%}"
    return f"{gate['max_abs']:g} / {gate['mean_abs']:g}" if gate else "-"
