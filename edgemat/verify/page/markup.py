"""HTML in which everything is escaped but what this module itself made, so that no name or message can be markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

VOID = frozenset({"img", "meta", "br", "circle", "line", "rect", "use"})
"""Elements without an end tag; those of SVG close themselves."""
_SVG = frozenset({"circle", "line", "rect", "use"})


class Html(str):
    """Markup that is already safe; any other string is text."""

    __slots__ = ()


Child = str | Html | None
Attribute = str | int | float | bool | None


def el(name: str, /, *children: Child, **attributes: Attribute) -> Html:
    """Return an element; children that are no `Html` and all attributes are escaped.

    Args:
        name: Of the element.
        children: Text or markup; None is left out.
        attributes: A trailing ``_`` is dropped (``class_``) and other ``_`` become ``-``; None and False leave it out,
            True states it without a value.

    Example:
        >>> el("p", "a < b", el("b", "c"), class_="note", hidden=True)
        '<p class="note" hidden>a &lt; b<b>c</b></p>'
    """
    stated = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Html(f"<{name}{stated}{'/' if name in _SVG else ''}>")
    return Html(f"<{name}{stated}>{join(children)}</{name}>")


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    return f' {name}="{html.escape(clean(str(value)))}"'


def join(children: Iterable[Child], between: str = "") -> Html:
    """Return children one after another, escaped unless they are `Html`.

    Example:
        >>> join(["a & b", el("br"), None])
        'a &amp; b<br>'
    """
    return Html(between.join(_safe(child) for child in children if child is not None))


def _safe(child: Child) -> str:
    return child if isinstance(child, Html) else html.escape(clean(str(child)), quote=False)


_IMPOSSIBLE = re.compile("[^\t\n\u0020-\u007e\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """Return text without the characters that HTML cannot hold."""
    return _IMPOSSIBLE.sub("\N{REPLACEMENT CHARACTER}", text)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: Its head.
        right: Numbers: aligned to the right.
        kind: A class of its cells, for the style sheet.
    """

    title: str
    right: bool = False
    kind: str = ""

    @property
    def classes(self) -> str | None:
        """The ``class`` of its cells."""
        return " ".join(filter(None, ("right" if self.right else "", self.kind))) or None


def table(caption: str, columns: Sequence[Column | str], rows: Iterable[Sequence[Child]]) -> Html:
    """Return a table that scrolls within itself where it is too wide; the first cell of a row is its head.

    Args:
        caption: What it shows, one line; read out first.
        columns: A `Column` each, or only its title.
        rows: Cells, row by row.
    """
    heads = [c if isinstance(c, Column) else Column(c) for c in columns]
    head = el("tr", *(el("th", c.title, scope="col", class_=c.classes) for c in heads))
    body = [el("tr", *_cells(heads, row)) for row in rows]
    whole = el("table", el("caption", el("span", caption)), el("thead", head), el("tbody", *body))
    return el("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _cells(columns: Sequence[Column], row: Sequence[Child]) -> Iterable[Html]:
    for place, (column, cell) in enumerate(zip(columns, row, strict=True)):
        if place:
            yield el("td", cell, class_=column.classes)
        else:
            yield el("th", cell, scope="row", class_=column.classes)


def bullets(items: Iterable[Child]) -> Html:
    """Return a list; nothing where there are no items."""
    found = [el("li", item) for item in items]
    return el("ul", *found) if found else Html("")


def details(summary: Child, *children: Child, opened: bool = False) -> Html:
    """Return what is folded away until it is asked for; it needs no script."""
    return el("details", el("summary", summary), *children, open_=opened)


def mark(tone: str, text: str) -> Html:
    """Return words with a sign and a colour: ``good``, ``bad``, ``warn`` or ``idle``; the words alone suffice.

    Example:
        >>> print(mark("good", "passed").replace("\N{NO-BREAK SPACE}", " "))
        <span class="mark good"><span aria-hidden="true">✓ </span>passed</span>
    """
    signs = {"good": "✓", "bad": "✗", "warn": "!", "idle": "·"}
    return el("span", el("span", f"{signs[tone]}\N{NO-BREAK SPACE}", aria_hidden="true"), text, class_=f"mark {tone}")
