"""Charts that are tables: every row has its name, its picture in SVG and its figures, in one place and one order.

A picture is drawn in per cent of its own width and in pixels of its height, so that it is crisp at any width and its
text, which is HTML, never shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from edgemat.verify.page.markup import Child, Html, el

HEIGHT = 24
"""Of a row's picture, pixels."""
_TICKS = 5


@dataclass(frozen=True)
class Axis:
    """What the width of a chart stands for.

    Attributes:
        low: Its left end.
        high: Its right end, above ``low``.
        unit: After the last tick.
        ticks: Where lines are drawn.
    """

    low: float
    high: float
    unit: str = ""
    ticks: tuple[float, ...] = ()

    def at(self, value: float) -> float:
        """Return where a value lies, per cent of the width, cut to what is drawn."""
        return min(100.0, max(0.0, 100 * (value - self.low) / (self.high - self.low)))


def axis(values: Sequence[float], unit: str = "", zero: bool = True) -> Axis:
    """Return an axis that holds all values, with round ticks and some air.

    Args:
        values: Finite ones; others are left out.
        unit: Of the values.
        zero: Whether it holds 0, as bars need.

    Example:
        >>> axis([1.0, 9.0], "ms").ticks
        (0.0, 2.0, 4.0, 6.0, 8.0)
    """
    kept = [v for v in values if math.isfinite(v)] + ([0.0] if zero else [])
    low, high = (min(kept), max(kept)) if kept else (0.0, 1.0)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-9):
        pad = abs(high) or 1.0
        low, high = low - pad * (not zero or low < 0), high + pad
    air = 0.04 * (high - low)
    low, high = (low - air if low < 0 or not zero else low), (high + air if high > 0 or not zero else high)
    step = _round(high - low)
    first = math.ceil(low / step - 1e-9)
    ticks = tuple(round(i * step, 12) + 0.0 for i in range(first, math.floor(high / step + 1e-9) + 1))
    return Axis(low, high, unit, ticks)


def _round(span: float) -> float:
    """Return a step of 1, 2 or 5 times a power of ten that parts a span into about five."""
    rough = span / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


@dataclass(frozen=True)
class Bar:
    """One row of a chart.

    Attributes:
        label: What it shows.
        figures: Cells beside the picture.
        end: Where the bar ends; None draws none.
        start: Where it begins.
        low: Lower end of its interval; None without one.
        high: Upper end.
        limit: A line that it should not pass; None without one.
        tone: ``plain``, ``good``, ``bad`` or ``idle``.
        dots: Further points, each with a class for the style sheet.
        title: What is told where the pointer rests.
    """

    label: Child
    figures: tuple[Child, ...]
    end: float | None = None
    start: float = 0.0
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    tone: str = "plain"
    dots: tuple[tuple[float, str], ...] = ()
    title: str = ""


@dataclass(frozen=True)
class Block:
    """Rows under a heading of their own.

    Attributes:
        title: The heading; empty draws none.
        bars: The rows.
    """

    title: str
    bars: Sequence[Bar] = field(default_factory=tuple)


def chart(caption: str, heads: Sequence[str], scale: Axis, blocks: Sequence[Block], about: str = "") -> Html:
    """Return a chart.

    Args:
        caption: What it shows, in one sentence.
        heads: Heads of the names, of the pictures, and of each figure.
        scale: Of all rows.
        blocks: Rows, block by block.
        about: What tells it from another chart of the same caption, for ids within the page.
    """
    label, picture, *figures = heads
    grid = f"g{sha256(f'{about} {caption}'.encode()).hexdigest()[:8]}"
    head = el(
        "tr",
        el("th", label, scope="col", role="columnheader", class_="label"),
        el(
            "th", el("span", picture, class_="sr"), _ticks(scale, grid), scope="col", role="columnheader", class_="plot"
        ),
        *(el("th", text, scope="col", role="columnheader", class_="right") for text in figures),
        role="row",
    )
    bodies = [el("tbody", *_rows(block, scale, figures, grid), role="rowgroup") for block in blocks]
    # The style sheet lays rows out anew on a phone, which would take a table's meaning away: the roles keep it.
    whole = el(
        "table",
        el("caption", el("span", caption)),
        el("thead", head, role="rowgroup"),
        *bodies,
        class_="chart",
        role="table",
    )
    return el("div", whole, class_="scroll")


def _rows(block: Block, scale: Axis, figures: Sequence[str], grid: str) -> Iterator[Html]:
    if block.title:
        yield el(
            "tr",
            el("th", block.title, colspan=2 + len(figures), scope="rowgroup", role="rowheader", class_="block"),
            role="row",
        )
    for bar in block.bars:
        yield el(
            "tr",
            el("th", bar.label, scope="row", role="rowheader", class_="label"),
            el("td", _picture(bar, scale, grid), role="cell", class_="plot"),
            *(
                el("td", text, role="cell", class_="right", data_head=head)
                for head, text in zip(figures, bar.figures, strict=True)
            ),
            role="row",
        )


def _picture(bar: Bar, scale: Axis, grid: str) -> Html:
    middle = HEIGHT / 2
    parts = [el("title", bar.title)] if bar.title else []
    parts.append(el("use", href=f"#{grid}"))
    if bar.end is not None:
        left, right = sorted((scale.at(bar.start), scale.at(bar.end)))
        parts.append(
            el(
                "rect",
                x=_pc(left),
                y=6,
                width=_pc(max(right - left, 0.3)),
                height=HEIGHT - 12,
                class_=f"bar {bar.tone}",
            )
        )
    if bar.low is not None and bar.high is not None:
        low, high = scale.at(bar.low), scale.at(bar.high)
        parts.append(el("line", x1=_pc(low), x2=_pc(high), y1=middle, y2=middle, class_="whisker"))
        ends = [end for end in (bar.low, bar.high) if scale.low <= end <= scale.high]  # one beyond the edge has no cap
        parts += [_line(scale.at(end), middle - 4, middle + 4, "whisker") for end in ends]
    parts += [el("circle", cx=_pc(scale.at(value)), cy=middle, r=4, class_=f"dot {kind}") for value, kind in bar.dots]
    if bar.limit is not None and scale.low <= bar.limit <= scale.high:
        parts.append(_line(scale.at(bar.limit), 1, HEIGHT - 1, "limit"))
    return el("svg", *parts, width="100%", height=HEIGHT, aria_hidden="true", focusable="false")


def meter(share: float, tone: str) -> Html:
    """Return a small bar: how much of a limit is used; beyond it the bar is full.

    Args:
        share: 1 is the limit.
        tone: As in `Bar`.
    """
    width = 100 * min(1.0, share)
    track = el("rect", x=0, y=0, width="100%", height=6, rx=3, class_="track")
    bar = el("rect", x=0, y=0, width=_pc(max(width, 1.0)), height=6, rx=3, class_=f"bar {tone}") if share > 0 else None
    return el("svg", track, bar, width="100%", height=6, class_="meter", aria_hidden="true", focusable="false")


def _ticks(scale: Axis, grid: str) -> Html:
    """Return the axis; it also holds the grid, which every row uses."""
    texts = []
    for place, tick in enumerate(scale.ticks):
        at = scale.at(tick)
        anchor = "start" if at < 4 else "end" if at > 92 else "middle"
        last = place == len(scale.ticks) - 1
        text = f"{tick:g}".replace("-", "\N{MINUS SIGN}") + (f" {scale.unit}" if last and scale.unit else "")
        texts.append(el("text", text, x=_pc(at), y=14, text_anchor=anchor))
    lines = [_line(scale.at(tick), 0, HEIGHT, "zero" if tick == 0 else "grid") for tick in scale.ticks]
    held = el("defs", el("g", *lines, id=grid))
    return el("svg", held, *texts, width="100%", height=20, class_="ticks", aria_hidden="true", focusable="false")


def _line(at: float, top: float, bottom: float, kind: str) -> Html:
    return el("line", x1=_pc(at), x2=_pc(at), y1=top, y2=bottom, class_=kind)


def _pc(value: float) -> str:
    return f"{value:.2f}%"
