"""Tables and progress on a terminal and off it."""

from __future__ import annotations

import io

import pytest

from edgemat import console


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="has 1 cells, expected 2"):
        console.table([["a"]], ["one", "two"])


def test_plain_columns_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    console.table([["a", "1.5"], ["bcd", "10.25"]], ["name", console.Column("value", right=True)])
    assert capsys.readouterr().out == "name  value\na       1.5\nbcd   10.25\n"


def test_a_terminal_gets_the_same_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("COLUMNS", "100")
    console.table([["onnx", "[bold]1[/bold]"]], ["target", console.Column("value", right=True)])
    assert "onnx" in stream.getvalue()
    assert "[bold]1[/bold]" in stream.getvalue(), "cells are text, not markup"


def test_json_needs_a_schema_version() -> None:
    with pytest.raises(ValueError, match="schema_version"):
        console.print_json({"a": 1})


def test_json_refuses_nan() -> None:
    with pytest.raises(ValueError, match="JSON"):
        console.print_json({"schema_version": 1, "a": float("nan")})


def test_plain_progress_says_only_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress() as report:
        report("faces", 1, 2)
        report("unknown", 5, 0)
        report("faces", 2, 2)
    captured = capsys.readouterr()
    assert captured.err == "faces: done\n"
    assert captured.out == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    with console.progress() as report:
        report("faces", 1, 2)
        report("faces", 2, 2)
    assert "faces" in stream.getvalue()
    assert "100%" in stream.getvalue()
