"""``edgemat lint`` as it is typed: exit codes, what it prints, what it leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgemat.cli import main
from edgemat.export import _frame, get
from edgemat.export._target import Trunk, Trunks


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, trunk: Trunk, images: npt.NDArray[np.uint8]) -> Path:
    folder = tmp_path_factory.mktemp("out")
    assert _frame.export(Trunks(trunk), [(get("onnx"), "fp32"), (get("onnx"), "fp16")], folder, images[:2])
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "out"))


@pytest.fixture
def bare(trunk: Trunk, tmp_path: Path) -> Path:
    """Return a file that two warnings are due for: it says nothing of itself."""
    model = onnx.load(trunk.path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "theirs.onnx")
    return tmp_path / "theirs.onnx"


def test_a_sound_folder_passes_and_holds_its_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(folder)]) == 0
    assert "2 artefacts: 0 errors, 0 warnings, 0 notes" in capsys.readouterr().out
    document = json.loads((folder / "proof" / "lint.json").read_text(encoding="utf-8"))
    assert document["passed"] is True
    assert [a["file"] for a in document["artefacts"]] == ["student-fp32.onnx", "student-fp16.onnx"]


def test_an_error_fails_and_says_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "student-fp32.onnx"
    path.write_bytes(path.read_bytes()[:-100])
    assert main(["lint", "--no-images", str(folder)]) == 1
    shown = capsys.readouterr()
    assert "EM001" in shown.out
    assert "EM006" in shown.out
    assert "2 artefacts: 2 errors" in shown.out, "the other artefact of the folder was still looked at"
    assert "Export again with edgemat export" in shown.err


def test_warnings_fail_only_where_asked(bare: Path) -> None:
    assert main(["lint", str(bare)]) == 0
    assert main(["lint", str(bare), "--fail-on", "warning"]) == 1
    ignored = ["--ignore", "EM003", "--ignore", "colour-order-missing"]
    assert main(["lint", str(bare), "--fail-on", "warning", *ignored]) == 0


def test_json_and_sarif_hold_the_same_findings(bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "lint.sarif"
    assert main(["lint", str(bare), "--json", "--sarif", str(log)]) == 0
    document = json.loads(capsys.readouterr().out)
    (run,) = json.loads(log.read_text(encoding="utf-8"))["runs"]
    assert [f["rule"] for f in document["findings"]] == [r["ruleId"] for r in run["results"]] == ["EM003", "EM004"]
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == bare.as_posix()
    assert not (bare.parent / "proof").exists(), "only an export folder gets a report"


def test_the_rules_are_listed_without_an_artefact(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "--rules"]) == 0
    assert "EM010" in capsys.readouterr().out
    assert main(["lint", "--rules", "--markdown"]) == 0
    assert "### EM010 resize-differs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ([], "no artefact given"),
        (["gone.onnx"], "gone.onnx: not found"),
        (["notes.txt"], "no such artefact"),
        (["gone.onnx", "--ignore", "EM999"], "EM999: no such rule"),
    ],
)
def test_what_cannot_be_linted_is_a_usage_error(
    words: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lint", "--no-images", *words]) == 2
    assert what in capsys.readouterr().err
