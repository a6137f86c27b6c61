"""A benchmark's report as cells of text: rows, ratios, and sentences below them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgemat.verify.bench.ratio import HERE, INCONCLUSIVE

if TYPE_CHECKING:
    from edgemat.verify.bench.report import BenchReport
    from edgemat.verify.bench.row import Row

WORDS = ("artefact", "runtime", "where")
MUCH_STOLEN = 0.01
"""Share of the cores' time from which a reader should know that other virtual machines had it."""
NUMBERS = ("median ms", "p90", "p99", "IQR", "load ms", "memory MB", "size MB", "of the roof")


def rows(report: BenchReport) -> list[list[str]]:
    """Return one line of cells a row, under `WORDS` and `NUMBERS`."""
    return [_row(row) for row in report.rows]


def _row(row: Row) -> list[str]:
    where = row.where if row.device == HERE else f"{row.where}, {row.device}"
    times = [_number(value, 2) for value in (row.median, row.p90, row.p99, row.iqr)]
    memory = "-" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.1f}"
    attained = "-" if row.attained is None else f"{row.attained:.0%}"
    return [row.name, row.runtime, where, *times, _number(row.load_ms, 1), memory, f"{row.bytes / 1e6:.2f}", attained]


def ratios(report: BenchReport) -> list[list[str]]:
    """Return one line of cells a ratio."""
    return [
        [r.name, r.over, r.where if r.device == HERE else f"{r.where}, {r.device}", str(r), r.verdict]
        for r in report.ratios
    ]


def notes(report: BenchReport) -> list[str]:
    """Return what has to be said beside the tables."""
    found = list(dict.fromkeys(_about(row) for row in report.rows if row.note))
    for row in report.rows:
        if row.placement:
            found.append(f"{row.name}, {row.where}: runs on {_placement(row)}")
        if row.settled is False:
            found.append(f"{row.name}, {row.where}: the times had not settled before the first round")
        if row.difference:
            figures = ", ".join(f"{key} {value:.3g}" for key, value in row.difference.items())
            found.append(f"{row.name}, {row.where}: alpha from the reference: {figures}")
    for name, reasons in report.reasons.items():
        found.append(f"{name}: int8 is not faster: {'; '.join(reasons)}")
    found += _inconclusive(report)
    found += _machine(report)
    found += [f"{one.name}: not timed here: {one.reason}" for one in report.untimed]
    return found


def _about(row: Row) -> str:
    """Return a row's note; what is said of an artefact here holds for any number of threads."""
    return f"{row.name}: {row.note}" if row.device == HERE else f"{row.name}, {row.where}: {row.note}"


def _inconclusive(report: BenchReport) -> list[str]:
    """Return one line a reason, with all that it holds for."""
    found: dict[tuple[str, str], list[str]] = {}
    for ratio in report.ratios:
        if ratio.verdict == INCONCLUSIVE:
            found.setdefault((ratio.where, ratio.reason), []).append(f"{ratio.name} / {ratio.over}")
    return [f"INCONCLUSIVE, {where}: {reason}: {', '.join(names)}" for (where, reason), names in found.items()]


def _placement(row: Row) -> str:
    """Return how many operators run where, and which do not run where most do."""
    counts = ", ".join(f"{unit} {count}" for unit, count in row.placement.items())
    most = max(row.placement, key=lambda unit: row.placement[unit])
    away = [f"{op['name']} ({op['op']}, {op['device']})" for op in row.operators if op["device"] != most]
    return (
        f"{counts}: away from {most} are {', '.join(away[:6])}{' and more' if len(away) > 6 else ''}"
        if away
        else counts
    )


def _machine(report: BenchReport) -> list[str]:
    """Return what the machine was, did meanwhile, and can do."""
    found = []
    waited = [row.free for row in report.rows if row.free is not None]
    busy, stolen = report.machine.get("busy"), report.machine.get("stolen")
    if waited:
        spent = f"; its cores were {busy:.0%} busy" if isinstance(busy, float) else ""
        if isinstance(stolen, float) and stolen > MUCH_STOLEN:
            spent += f", {stolen:.1%} of their time went to other virtual machines, which no call is told from"
        found.append(
            f"{report.machine['processor']}, {report.machine['cores']} cores{spent}; "
            f"{sum(waited) / len(waited):.0%} of the calls ran undisturbed"
        )
    if report.peaks is not None:
        found.append(
            f"one thread at best: {report.peaks.float_macs / 1e9:.0f} G multiply-accumulates a second in float32, "
            f"{report.peaks.int8_macs / 1e9:.0f} G in int8 ({report.peaks.int8_gain:.1f} times), "
            f"{report.peaks.bandwidth / 1e9:.0f} GB/s"
        )
    return found


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
