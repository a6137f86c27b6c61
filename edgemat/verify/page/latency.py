"""Latency: a bar an artefact and place, the ratios that may be concluded, and the reasons where integers do not win."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgemat.verify import proof
from edgemat.verify.bench.report import BenchReport
from edgemat.verify.bench.row import Row
from edgemat.verify.page import charts
from edgemat.verify.page.charts import Bar, Block
from edgemat.verify.page.gather import Proof
from edgemat.verify.page.markup import Child, Column, Html, bullets, details, el, join, mark, table
from edgemat.verify.page.overview import absent
from edgemat.verify.parity.words import number

_TONES = {"faster": "good", "slower": "bad", "same": "idle", "inconclusive": "warn", "passed": "good", "failed": "bad"}


def section(found: Proof) -> Html:
    """Return the chart, the ratios, the gates, the reasons and, folded, every figure."""
    bench = found.bench
    if bench is None:
        return absent(found, proof.BENCH)
    intro = el(
        "p",
        "Median time of one image; the whisker runs from the first to the third quartile, the dots are the 90th and "
        "the 99th percentile, the dashed line is the least time that this machine's arithmetic and memory allow.",
    )
    gates = [join([mark(_TONES[j.state], j.state), f": {j}"]) for j in bench.gates]
    reasons = [join([el("b", name), ": ", "; ".join(why)]) for name, why in bench.reasons.items()]
    broken = [mark("bad", f"{u.name}: could not be run: {u.reason}") for u in bench.broken]
    return join(
        [
            intro,
            bullets(broken),
            _chart(bench),
            bullets(gates),
            _ratios(bench),
            el("h3", "Why integers do not win there") if reasons else None,
            bullets(reasons),
            details("All figures", _figures(bench)) if bench.rows else None,
            *(_operators(row) for row in bench.rows if row.operators),
        ]
    )


def _chart(bench: BenchReport) -> Html | None:
    timed = [row for row in bench.rows if row.median is not None]
    if not timed:
        return el("p", "Nothing was timed.", class_="note")
    values = [v for row in timed for v in (row.median, row.q3, row.p90, row.p99) if v is not None]
    # One hiccup must not squeeze all bars: what is beyond twice the slowest median is cut at the edge.
    most = 2 * max(row.median for row in timed if row.median is not None)
    scale = charts.axis([min(value, most) for value in values], "ms")
    places = dict.fromkeys((row.device, row.where) for row in bench.rows)
    blocks = [
        Block(f"{device}, {where}", [_bar(row) for row in bench.rows if (row.device, row.where) == (device, where)])
        for device, where in places
    ]
    return charts.chart("Latency of one image", ("artefact", "milliseconds", "median", "p90, p99"), scale, blocks)


def _bar(row: Row) -> Bar:
    label = join([row.name, " ", el("small", row.runtime)])
    if row.median is None:
        return Bar(label, ("no quiet call", ""))
    dots = tuple((value, "late") for value in (row.p90, row.p99) if value is not None)
    late = f"{_ms(row.p90)}, {_ms(row.p99)}" if row.p90 is not None else "-"
    roof = None if row.bound is None else row.bound.milliseconds
    title = f"{row.name}: {row.note}" if row.note else row.name
    return Bar(label, (f"{_ms(row.median)} ms", late), row.median, 0, row.q1, row.q3, roof, dots=dots, title=title)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _ratios(bench: BenchReport) -> Html | None:
    if not bench.ratios:
        return None
    rows = [
        (f"{r.name} / {r.over}", f"{r.device}, {r.where}", str(r), mark(_TONES[r.verdict], r.verdict), r.reason)
        for r in bench.ratios
    ]
    where, verdict = Column("where", kind="whole"), Column("verdict", kind="state")
    columns = ("ratio of times", where, Column("value", right=True), verdict, Column("why", kind="prose"))
    return table("Ratios: below 1 is faster; with the interval that every start agrees on", columns, rows)


def _figures(bench: BenchReport) -> Html:
    heads = ("median", "p90", "p99", "IQR", "fastest", "load", "memory", "size", "of the roof")
    numbers = [Column(head, right=True) for head in heads]
    columns: list[Column | str] = ["artefact", "where", *numbers, Column("note", kind="prose")]
    return table("Latency in milliseconds, memory and size in MB", columns, map(_row, bench.rows))


def _operators(row: Row) -> Html:
    """Return where a device puts each operator, folded: what it says of itself, in its own words."""
    about = f"{row.name} on {row.device}, {row.where}: where each operator runs"
    heads = list(dict.fromkeys(str(key) for operator in row.operators for key in operator))
    rows = [[str(operator.get(head, "-")) for head in heads] for operator in row.operators]
    return details(about, table(about, heads, rows))


def _row(row: Row) -> Sequence[Child]:
    return (
        f"{row.name}, {row.runtime}",
        f"{row.device}, {row.where}",
        *(_ms(value) for value in (row.median, row.p90, row.p99, row.iqr, row.minimum, row.load_ms)),
        "-" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.1f}",
        f"{row.bytes / 1e6:.2f}",
        "-" if row.attained is None else f"{row.attained:.0%}",
        "; ".join(_notes(row)),
    )


def _notes(row: Row) -> Iterator[str]:
    if row.note:
        yield row.note
    if row.placement:
        yield ", ".join(f"{count} operators on {unit}" for unit, count in row.placement.items())
    for name, value in row.difference.items():
        yield f"{name.replace('_', ' ')} {number(value)} from the reference"
    if row.settled is False:
        yield "had not settled"
