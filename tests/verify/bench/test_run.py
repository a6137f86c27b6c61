"""A whole folder timed in real processes: rows, ratios, gates, refusals, the file that is kept. No time is asserted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgemat import export
from edgemat.errors import BackendMissingError, InputError
from edgemat.export._target import Trunks
from edgemat.verify import exported, proof
from edgemat.verify.bench import peaks, run
from edgemat.verify.bench.peaks import Peaks
from edgemat.verify.bench.ratio import Gate
from edgemat.verify.bench.report import read
from edgemat.verify.bench.sampling import Settings
from edgemat.verify.exported import Entry, Exported, Failed

from . import bursts

SHORT = Settings(rounds=6, starts=2, calls=1)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, trunks: Trunks) -> Exported:
    """Return a folder of the small student: what ONNX Runtime and LiteRT run, but no float32 for LiteRT."""
    out, entries = tmp_path_factory.mktemp("out"), []
    for name, precision in (("onnx", "fp32"), ("onnx", "int8"), ("tflite", "int8")):
        target = export.get(name)
        trunk, path = trunks.get(target, precision), out / f"s-{precision}{target.suffix}"
        target.convert(trunk, precision, path)
        entries.append(Entry(target, precision, path, trunk))
    entries.append(Entry(export.get("coreml"), "fp16", out / "s.mlpackage", trunks.any()))
    return Exported(out, tuple(entries), trunks, (Failed("qnn", "int8", "unavailable", "not on this system"),), {})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no peaks: test_peaks does."""
    monkeypatch.setattr(peaks, "measure", lambda size: Peaks(1, 50e9, 200e9, 80e9))


def timed(found: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *gates: Gate, settings: Settings = SHORT):
    monkeypatch.setattr(exported, "read", lambda folder: found)
    return run.of_folder(found.folder, settings, gates, cache_dir=tmp_path)


def test_a_folder_is_timed_and_what_is_not_is_said(
    found: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report = timed(found, monkeypatch, tmp_path, settings=replace(SHORT, threads=(1, 2)))
    names = ["onnx fp32", "onnx int8", "tflite int8", "tflite fp32"]
    assert [(row.name, row.where) for row in report.rows] == [(n, w) for w in ("1 thread", "2 threads") for n in names]
    assert [(r.name, r.over) for r in report.ratios[:2]] == [("onnx int8", "onnx fp32"), ("tflite int8", "tflite fp32")]
    assert {u.name for u in report.untimed} == {"coreml fp16", "qnn int8", "mediapipe selfie"}
    assert not report.broken
    whole = {row.name: row.bound for row in report.rows if row.where == "1 thread"}
    assert whole["tflite int8"].milliseconds < whole["tflite fp32"].milliseconds  # type: ignore[union-attr]
    note = next(row.note for row in report.rows if row.name == "tflite fp32")
    assert note == "made to compare with; not in the folder"
    place = run.write(report, found.folder)
    assert place == found.folder / proof.FOLDER / proof.BENCH
    assert read(place) == report


def test_gates_decide(found: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lax, strict = Gate("onnx int8", "tflite int8", 1e6), Gate("tflite int8", "tflite fp32", 1e-6)
    report = timed(found, monkeypatch, tmp_path, lax, strict)
    assert [judged.state for judged in report.gates] == ["passed", "failed"]
    assert report.exit_code == 1


def test_a_gate_on_what_is_not_timed_is_refused_at_once(
    found: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run.sampling, "sample", lambda *_: pytest.fail("it timed first"))
    with pytest.raises(InputError, match=r"'coreml fp16' is not timed here; timed are: onnx fp32, onnx int8"):
        timed(found, monkeypatch, tmp_path, Gate("coreml fp16", "onnx fp32", 1.0))


def test_an_artefact_that_its_run_time_refuses_fails(
    found: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "s-int8.onnx"
    broken.write_bytes(b"no model")
    entries = (found.entries[0], replace(found.entries[1], path=broken))
    report = timed(replace(found, entries=entries), monkeypatch, tmp_path, Gate("onnx int8", "onnx fp32", 9.0))
    assert [one.name for one in report.broken] == ["onnx int8"]
    assert [row.name for row in report.rows] == ["onnx fp32"]
    assert report.exit_code == 1


def test_a_folder_of_which_nothing_runs_here_is_refused(
    found: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(BackendMissingError, match="no artefact can be timed here: coreml fp16: Core ML runs on a Mac"):
        timed(replace(found, entries=found.entries[3:]), monkeypatch, tmp_path)


def test_a_student_without_a_folder_is_timed(weights: Path, images: np.ndarray, tmp_path: Path) -> None:
    report = run.of_student(weights, images, SHORT, cache_dir=tmp_path)
    assert [row.name for row in report.rows] == ["onnx fp32", "onnx int8_byte_io", "tflite fp32", "tflite int8"]
    assert len(report.ratios) == 2


@pytest.mark.slow
@pytest.mark.parametrize("cores", [1, 2])
def test_five_runs_under_load_agree_within_five_per_cent_or_conclude_nothing(cores: int, tmp_path: Path) -> None:
    from edgemat import calib_data

    images = calib_data.load().resized(256, 256)
    concluded: dict[tuple[str, str], list[float]] = {}
    with bursts.load(cores):
        for _ in range(5):
            report = run.of_student(None, images, Settings(threads=(1, 2)), cache_dir=tmp_path)
            for ratio in report.ratios:
                if ratio.verdict != "inconclusive":
                    assert ratio.value is not None
                    concluded.setdefault((ratio.name, ratio.where), []).append(ratio.value)
    for key, values in concluded.items():
        assert max(abs(value / np.median(values) - 1) for value in values) <= 0.05, (key, values)
