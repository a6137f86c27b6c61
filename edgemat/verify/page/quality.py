"""What precision costs: one table of all artefacts, then bars with intervals and limits, stratum by stratum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgemat.metrics import METRICS
from edgemat.verify import proof
from edgemat.verify.page import charts
from edgemat.verify.page.charts import Bar, Block
from edgemat.verify.page.gather import Proof
from edgemat.verify.page.markup import Child, Column, Html, details, el, join, mark, table
from edgemat.verify.page.overview import absent
from edgemat.verify.parity import words
from edgemat.verify.parity.report import COMPOSITE, QUANTIZATION, Figure, Outcome

SHOWN = ("mad", "grad", "conn", "dtssd")
"""Metrics of the first table."""
NOTHING = 0.1
"""Per cent; artefacts all of whose figures stay below have no bars."""
WIDEST = 3.0
"""Times a limit; what is beyond is drawn to the edge of its chart."""
_OVERALL = ("", "unknown")
"""Regions that are no strata."""


def section(found: Proof) -> Html:
    """Return the table and, folded, the bars; artefacts whose figures are the same share them."""
    if found.parity is None:
        return absent(found, proof.PARITY)
    groups = list(grouped(found.parity.outcomes))
    if not groups:
        return el("p", "Not measured: no artefact has figures on ground truth.", class_="note")
    intro = el(
        "p",
        "Change against the float network on the same images, in per cent of its error; more is worse. Intervals "
        "(95 %) are over faces. Artefacts with the same figures share a row.",
    )
    heads = [Column(METRICS[key].name, right=True) for key in SHOWN]
    columns: list[Column | str] = [
        "artefacts",
        *heads,
        Column("worst stratum", kind="worst"),
        Column("pixels of the filtered frame off by more than 2/255", kind="filter", right=True),
    ]
    rows = [_row(group) for group in groups]
    whole = table("Cost of precision over all images, in the worst stratum, and in the filtered frame", columns, rows)
    seen = [group for group in _by_loss(groups) if _moved(group[0]) >= NOTHING]
    still = [outcome for group in groups if _moved(group[0]) < NOTHING for outcome in group]
    folded = [_bars(group, opened=place == 0) for place, group in enumerate(seen)]
    rest = el("p", f"No figure of these moves by {NOTHING} % over all images: ", _names(still), ".") if still else None
    return join([intro, whole, *folded, rest])


def grouped(outcomes: Sequence[Outcome]) -> Iterator[Sequence[Outcome]]:
    """Yield outcomes that have figures on ground truth, those with the same figures together."""
    found: dict[tuple[object, ...], list[Outcome]] = {}
    for outcome in outcomes:
        key = tuple((f.key, words.measured(f), f.passed) for f in outcome.figures if f.question == QUANTIZATION)
        if key:
            found.setdefault(key, []).append(outcome)
    yield from found.values()


def _by_loss(groups: Sequence[Sequence[Outcome]]) -> Sequence[Sequence[Outcome]]:
    """Return the groups whose judged figures use most of their limits first."""
    return sorted(groups, key=lambda group: -max((words.used(f) for f in _quality(group[0])), default=0.0))


def _quality(outcome: Outcome) -> list[Figure]:
    return [figure for figure in outcome.figures if figure.question == QUANTIZATION]


def _moved(outcome: Outcome) -> float:
    """Return the largest change over all images, per cent; infinite where a figure is beyond its limit."""
    figures = _quality(outcome)
    if not all(figure.passed for figure in figures):
        return float("inf")
    whole = [v for f in figures if f.region in _OVERALL for v in (f.value, f.low, f.high) if v is not None]
    return max(map(abs, whole), default=0.0)


def _row(group: Sequence[Outcome]) -> Sequence[Child]:
    figures = _quality(group[0])
    whole = {figure.name: figure for figure in figures if figure.region == ""}
    strata = [f for f in figures if f.region not in _OVERALL and f.limit is not None]
    worst = max(strata, key=lambda f: (not f.passed, words.used(f), f.value or 0.0), default=None)
    return (
        _names(group),
        *(_cell(whole.get(key)) for key in SHOWN),
        "-" if worst is None else join([words.title(worst), el("br"), _cell(worst)]),
        _frames(group[0]),
    )


def _names(group: Sequence[Outcome]) -> Html:
    return join((el("span", outcome.name, class_="whole") for outcome in group), ", ")


def _cell(figure: Figure | None) -> Child:
    if figure is None:
        return "-"
    said, bracket, ends = words.measured(figure).partition(" [")
    value = mark("bad", said) if not figure.passed else said
    return join([value, el("br"), el("small", bracket.strip() + ends, class_="whole")])


def _frames(outcome: Outcome) -> Child:
    """Return the worst filter's share of pixels that are off."""
    shares = [f for f in outcome.figures if f.question == COMPOSITE and f.limit is not None]
    worst = max(shares, key=words.used, default=None)
    if worst is None:
        return "-"
    return join([_cell(worst), el("br"), el("small", worst.region)])


def _bars(group: Sequence[Outcome], opened: bool) -> Html:
    figures = _quality(group[0])
    parts = [_chart(group, "Over all images", [f for f in figures if f.region in _OVERALL])]
    judged = [f.name for f in figures if f.limit is not None and f.region not in _OVERALL]
    for name in dict.fromkeys(judged):
        chosen = [f for f in figures if f.name == name and f.region not in _OVERALL]
        parts.append(_chart(group, f"{METRICS[name].name if name in METRICS else name} by stratum", chosen))
    return details(join([_names(group), ": bars"]), *parts, opened=opened)


def _chart(group: Sequence[Outcome], caption: str, figures: Sequence[Figure]) -> Html | None:
    if not figures:
        return None
    scale = charts.axis(_shown(figures), "%")
    blocks = [Block(title, [_bar(figure) for figure in chosen]) for title, chosen in _blocks(figures)]
    said = f"{caption}: change in per cent, with its interval and its limit (dashed)"
    return charts.chart(said, ("", "change", "change", "limit"), scale, blocks, group[0].name)


def _shown(figures: Sequence[Figure]) -> list[float]:
    """Return what an axis holds: one interval that is far wider than any limit must not squeeze all bars."""
    values = [v for f in figures for v in (f.value, f.low, f.high, f.limit) if v is not None]
    most = WIDEST * max((abs(f.limit) for f in figures if f.limit is not None), default=float("inf"))
    most = max([most, *(abs(f.value) for f in figures if f.value is not None and not f.passed)])
    return [min(most, max(-most, value)) for value in values]


def _blocks(figures: Sequence[Figure]) -> Iterator[tuple[str, list[Figure]]]:
    """Yield figures by the kind of their region, such as ``occluder``."""
    found: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.region in _OVERALL:
            title = "unknown region, the band around edges" if figure.region else "whole frame"
        else:
            title = figure.region.partition(":")[0]
        found.setdefault(title, []).append(figure)
    yield from found.items()


def _bar(figure: Figure) -> Bar:
    region = figure.region.partition(":")[2].strip() or figure.region
    name = METRICS[figure.name].name if figure.name in METRICS else figure.name
    label = name if figure.region in _OVERALL else region
    tone = "bad" if not figure.passed else "plain" if figure.limit is not None else "idle"
    return Bar(
        label,
        (words.measured(figure), words.allowed(figure) or "not judged"),
        figure.value,
        low=figure.low,
        high=figure.high,
        limit=figure.limit,
        tone=tone,
        title=f"{label}: {figure.detail}",
    )
