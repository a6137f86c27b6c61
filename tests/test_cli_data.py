"""``edgemat data``: what is fetched, prepared and drawn, without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgemat.cli import main
from edgemat.data import faces, registry


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[object]:
    """Record what is asked of the library, in place of doing it."""
    done: list[object] = []

    def fetch(names: tuple[str, ...] | None, progress: registry.Progress) -> dict[str, Path]:
        done.append(names)
        found = {s.name: tmp_path / s.name for s in registry.SOURCES if names is None or s.name in names}
        for name in found:
            progress(name, 1, 1)
        return found

    monkeypatch.setattr(registry, "fetch", fetch)
    monkeypatch.setattr(faces, "prepare", lambda progress: done.append("prepare"))
    return done


def test_fetch_brings_all_and_prepares_the_faces(calls: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch"]) == 0
    assert calls == [None, "prepare"]
    captured = capsys.readouterr()
    assert all(source.name in captured.out for source in registry.SOURCES)
    assert "mediapipe: done" in captured.err


def test_fetch_of_one_source_prepares_nothing(calls: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", "--name", "mediapipe", "--json"]) == 0
    assert calls == [("mediapipe",)]
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert [s["name"] for s in document["sources"]] == ["mediapipe"]


def test_an_unknown_source_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", "--name", "mediapip"]) == 2
    assert "data source 'mediapip' is not known; known:" in capsys.readouterr().err


def test_preview_without_data_names_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEMAT_CACHE", str(tmp_path))
    assert main(["data", "preview", "--out", str(tmp_path / "sheet.png")]) == 2
    assert "edgemat data fetch" in capsys.readouterr().err
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.data
def test_preview_draws_a_sheet(tmp_path: Path) -> None:
    words = ["data", "preview", "--split", "val", "--count", "2", "--out", str(tmp_path / "sheet.png")]
    assert main(words) == 0
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
