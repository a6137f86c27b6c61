"""What the commands print: tables and JSON on standard output, progress and notes on standard error.

A terminal gets `rich` tables and bars; a pipe, a file or a log gets plain aligned text, one line an event.
``NO_COLOR`` is honoured by both.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Progress = Callable[[str, int, int], None]
"""Called with a name, the units done so far and the units in all (0 when not known)."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: Its heading.
        right: Numbers: aligned to the right.
    """

    title: str
    right: bool = False


def table(rows: Sequence[Sequence[str]], columns: Sequence[Column | str]) -> None:
    """Print a table on standard output.

    Args:
        rows: Cells, row by row, each as long as ``columns``.
        columns: A `Column` each, or only its heading.

    Raises:
        ValueError: A row has another length than ``columns``.

    Example:
        >>> table([["onnx", "1.5"], ["coreml", "12.0"]], ["target", Column("seconds", right=True)])
        target  seconds
        onnx        1.5
        coreml     12.0
    """
    heads = [c if isinstance(c, Column) else Column(c) for c in columns]
    for row in rows:
        if len(row) != len(heads):
            raise ValueError(f"row {list(row)} has {len(row)} cells, expected {len(heads)}")
    if sys.stdout.isatty():
        _rich_table(rows, heads)
    else:
        print(_plain_table(rows, heads))


def _plain_table(rows: Sequence[Sequence[str]], columns: Sequence[Column]) -> str:
    lines = [[c.title for c in columns], *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in lines
    )


def _rich_table(rows: Sequence[Sequence[str]], columns: Sequence[Column]) -> None:
    import rich.box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=rich.box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in columns:
        grid.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console(file=sys.stdout).print(grid)


_STYLES = {"pass": "green", "ok": "green", "FAIL": "bold red", "mend": "yellow"}
"""Verdicts that stand out on a terminal; every other cell is printed as it is."""


def print_json(value: Mapping[str, object]) -> None:
    """Print one JSON document on standard output: what ``--json`` promises.

    Args:
        value: JSON-ready, with a ``schema_version``; floats must be finite.

    Raises:
        ValueError: ``schema_version`` is missing, or a float is NaN or infinite.

    Example:
        >>> print_json({"schema_version": 1})
        {
          "schema_version": 1
        }
    """
    if "schema_version" not in value:
        raise ValueError("a JSON document needs a schema_version")
    print(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))


def note(text: str) -> None:
    """Print one line on standard error."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """Yield a callback that shows progress on standard error: bars on a terminal, else a line when something is done.

    Example:
        >>> with progress() as report:
        ...     report("faces", 1, 2)
        ...     report("faces", 2, 2)
    """
    if not sys.stderr.isatty():
        yield _plain_progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(file=sys.stderr)) as bars:

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name)
            bars.update(tasks[name], completed=done, total=total or None)

        yield report


def _plain_progress(name: str, done: int, total: int) -> None:
    if total and done >= total:
        note(f"{name}: done")
