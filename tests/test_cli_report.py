"""``edgemat report``: writes what is asked for of what is there, and judges nothing."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgemat.cli import main
from edgemat.files import write_json
from edgemat.verify import proof
from edgemat.verify.lint.finding import Linted, LintReport
from edgemat.verify.parity.report import Figure, Outcome, ParityReport


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an export folder whose one artefact failed, with a lint that found nothing."""
    figure = Figure("conversion", "max_abs", 0.5, limit=0.1, passed=False)
    outcome = Outcome("tflite", "fp32", "a.tflite", "00", "gate", "beyond", ("its bias",), "conv", (figure,))
    place = tmp_path / "out" / proof.FOLDER
    write_json(place / proof.PARITY, ParityReport((outcome,), {"count": 2}, {}, {}, {}).to_json())
    write_json(place / proof.LINT, LintReport((Linted("a.tflite", "tflite fp32"),), ()).to_json())
    return place.parent


def test_the_page_is_written_although_the_proof_failed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(folder)]) == 0
    page = folder / proof.FOLDER / proof.PAGE
    assert capsys.readouterr().out == f"{page}\n"
    assert "Failed: 1 of 1 artefact on 2 images: tflite fp32." in page.read_text(encoding="utf-8")


def test_junit_and_sarif_are_written_where_asked(folder: Path, tmp_path: Path) -> None:
    junit, sarif, page = (tmp_path / name for name in ("j.xml", "l.sarif", "p.html"))
    assert main(["report", str(folder), "--out", str(page), "--junit", str(junit), "--sarif", str(sarif)]) == 0
    assert ElementTree.parse(junit).getroot().get("failures") == "1"
    assert '"version": "2.1.0"' in sarif.read_text()
    assert page.exists()
    assert not (folder / proof.FOLDER / proof.PAGE).exists()


def test_github_gets_a_summary_and_annotations(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    assert main(["report", str(folder), "--github"]) == 0
    assert (tmp_path / "summary.md").read_text(encoding="utf-8").startswith("## ❌ edgemat parity")
    assert "::error file=" in capsys.readouterr().out
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    assert main(["report", str(folder), "--github"]) == 0
    assert "GITHUB_STEP_SUMMARY is not set" in capsys.readouterr().err


def test_what_is_not_there_is_told_with_the_next_command(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "edgemat parity" in capsys.readouterr().err
    (folder / proof.FOLDER / proof.LINT).write_text('{"schema_version": 99}')
    assert main(["report", str(folder), "--sarif", str(tmp_path / "l.sarif")]) == 2
    assert "edgemat lint" in capsys.readouterr().err
    (folder / proof.FOLDER / proof.PARITY).unlink()
    assert main(["report", str(folder), "--junit", str(tmp_path / "j.xml")]) == 2
    assert "edgemat parity" in capsys.readouterr().err
