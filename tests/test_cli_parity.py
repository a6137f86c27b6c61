"""``edgemat parity``: exit codes, what it prints and leaves, and that a second run leaves the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.cli import main
from edgemat.export import _frame, get
from edgemat.export._target import Trunk, Trunks
from edgemat.verify.page.strips import load

# of a random network int8 moves more of a frame than of a trained one
LOOSE = ["--images", "calibration", "--limit", "2", "--gate", "composite.share=90", "--gate", "composite.worst=95"]


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, trunk: Trunk, int_trunk: Trunk, images: npt.NDArray[np.uint8]
) -> Path:
    folder = tmp_path_factory.mktemp("made")
    assert int_trunk.grid is not None
    trunks = Trunks(trunk, {int_trunk.grid.scheme.name: int_trunk})
    assert _frame.export(trunks, [(get("onnx"), "fp32"), (get("tflite"), "int8")], folder, images)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return Path(shutil.copytree(made, tmp_path / "out"))


def break_fp32(folder: Path) -> None:
    """Scale one convolution of the float artefact by a per cent."""
    import onnx
    from onnx import numpy_helper

    (path,) = folder.glob("*-fp32.onnx")
    model = onnx.load(path)
    tensor = [t for t in model.graph.initializer if len(t.dims) == 4][2]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))
    onnx.save(model, path)


def documents(folder: Path) -> dict[str, bytes]:
    """Return what was left, without the report's timings."""
    found = {path.name: path.read_bytes() for path in (folder / "proof").iterdir()}
    report = json.loads(found["parity.json"])
    report.pop("timings")
    return {**found, "parity.json": json.dumps(report).encode()}


def test_a_pass_leaves_its_documents_and_a_second_run_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["parity", *LOOSE]) == 0
    out, err = capsys.readouterr()
    heads, *rows = out.splitlines()
    assert heads.split()[:3] == ["target", "precision", "result"]
    assert [row.split()[:3] for row in rows] == [["onnx", "fp32", "passed"], ["tflite", "int8", "passed"]]
    assert "WARNING: these images have no truth" in err
    assert "not proven: Quality was not measured" in err
    assert err.splitlines()[-2] == "Passed: All 2 artefacts kept every limit on 2 images."
    first = documents(folder)
    assert set(first) == {"parity.json", "junit.xml", "strips.npz", "report.html"}
    assert list(load(folder / "proof" / "strips.npz").alphas) == ["onnx fp32", "tflite int8"]
    assert main(["parity", *LOOSE]) == 0
    assert documents(folder) == first


def test_a_fault_is_exit_code_1_and_told_on_stderr(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_fp32(folder)
    junit = folder / "elsewhere.xml"
    words = ["parity", "out", *LOOSE, "--targets", "onnx", "--junit", str(junit), "--out", "other", "--json"]
    assert main(words) == 1
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["passed"] is False
    assert report["outcomes"][0]["changed"] is True
    tensor = report["outcomes"][0]["tensor"]
    assert tensor
    assert f"  first differs at {tensor}" in err
    assert "onnx fp32: FAILED: beyond a limit: a conversion bug" in err
    assert 'type="gate"' in junit.read_text()
    assert (Path("other") / "proof" / "parity.json").exists()
    assert not (folder / "proof").exists()


def test_the_ratchet_from_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parity", *LOOSE, "--out", "old"]) == 0
    old = Path("old") / "proof" / "parity.json"
    assert main(["parity", *LOOSE, "--baseline", str(old)]) == 0
    document = json.loads(old.read_text())
    for outcome in document["outcomes"]:
        for figure in outcome["figures"]:
            if figure["name"] == "within_one":
                figure["value"] += 5.0  # better than anything can be
    old.write_text(json.dumps(document))
    capsys.readouterr()
    assert main(["parity", *LOOSE, "--baseline", str(old)]) == 1
    assert "worse than the baseline: conversion within_one" in capsys.readouterr().err
    assert main(["parity", "--images", "calibration", "--limit", "3", "--baseline", str(old)]) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "this is no export folder"),
        (["out", "--config", "none.toml"], "cannot be read as TOML"),
        (["out", "--gate", "mad=3"], "expected SECTION.NAME=NUMBER"),
        (["out", "--baseline", "none.json"], "cannot be read"),
        (["out", *LOOSE, "--targets", "coreml"], "holds onnx, tflite"),
        (["out", *LOOSE, "--require", "coremll"], "did you mean 'coreml'"),
        (["out", "--images", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_used_is_exit_code_2(
    words: list[str], told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["parity", *words]) == 2
    assert told in capsys.readouterr().err


def test_nothing_that_can_be_run_is_exit_code_3_and_1_where_required(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgemat.verify.parity import isolate

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "verify" / "parity"))
    monkeypatch.setattr(isolate, "OPENER", "parity_child:lacking")
    assert main(["parity", *LOOSE]) == 3
    assert "not run here" in capsys.readouterr().out
    Path("edgemat.toml").write_text('[parity]\nrequire = ["tflite"]\n')
    assert main(["parity", *LOOSE]) == 1
    assert "FAILED: required, but not run here" in capsys.readouterr().out


def test_github_gets_its_summary_and_annotations(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    break_fp32(folder)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    assert main(["parity", *LOOSE, "--targets", "onnx"]) == 1
    assert "edgemat parity" in (tmp_path / "summary.md").read_text()
    assert "::error file=out/student-fp32.onnx" in capsys.readouterr().err
