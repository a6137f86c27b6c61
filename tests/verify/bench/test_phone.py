"""A whole benchmark on a fake phone: the exact calls, rows, ratios, and what a failure of one file leaves."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from edgemat import export
from edgemat.errors import InputError
from edgemat.export._target import Trunks
from edgemat.verify.bench import adb, phone
from edgemat.verify.bench.phone import Plan
from edgemat.verify.bench.ratio import Gate
from edgemat.verify.bench.report import from_json
from edgemat.verify.exported import Entry, Exported

from . import phones

if sys.platform == "win32":
    pytest.skip("the fake adb is a script", allow_module_level=True)


GATE = Gate("tflite int8", "tflite fp32", 0.6)


@pytest.fixture
def folder(tmp_path: Path) -> Exported:
    """Return an export folder with what a phone takes, and with what it does not."""
    out = tmp_path / "out"
    (out / "s-int8.litert_qualcomm").mkdir(parents=True)
    (out / "s-int8.litert_qualcomm" / "SM8650.tflite").write_bytes(b"npu")
    entries = []
    for target, precision, name in (
        ("tflite", "fp32", "s-fp32.tflite"), ("tflite", "int8", "s-int8.tflite"), ("onnx", "fp32", "s-fp32.onnx"),
    ):  # fmt: skip
        (out / name).write_bytes(b"file")
        entries.append(Entry(export.get(target), precision, out / name, None))
    entries.append(Entry(export.get("litert_qualcomm"), "int8", out / "s-int8.litert_qualcomm", None))
    return Exported(out, tuple(entries), Trunks(None), (), {})


def replay(**medians: float) -> dict[str, list[str]]:
    return {f"s-{name}.tflite": [phones.output(median)] for name, median in medians.items()}


def test_files_are_pushed_timed_in_turn_and_removed(
    folder: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = phones.plug(tmp_path / "adb", monkeypatch, outputs=replay(fp32=8000.0, int8=2000.0))
    report = phone.bench(folder, Plan(phones.SERIAL, threads=(1,), runs=40), [GATE])
    graphs = [shlex.split(run)[1].rpartition("-s-")[2] for run in fake.runs]
    first, second = ["fp32.tflite", "int8.tflite"], ["int8.tflite", "fp32.tflite"]
    assert graphs == first + second + first
    assert shlex.split(fake.runs[0]) == [
        phones.TOOL, f"--graph={adb.FOLDER}/out-s-fp32.tflite", "--num_threads=1", "--num_runs=40", "--warmup_runs=10",
        "--warmup_min_secs=0.5", "--min_secs=0.5", "--max_secs=60",
    ]  # fmt: skip
    assert [row.median for row in report.rows] == [8.0, 2.0]
    row = report.rows[0]
    assert (row.device, row.where, row.calls) == (f"Pixel 8 ({phones.SERIAL})", "1 thread", 150)
    assert (row.load_ms, row.peak_bytes, row.placement) == (4.478, 8 << 20, {"TfLiteXNNPackDelegate": 77})
    (ratio,) = report.ratios
    assert (ratio.value, ratio.verdict, ratio.starts) == (0.25, "faster", (0.25, 0.25, 0.25))
    assert (report.verdict, report.exit_code) == ("passed", 0)
    assert report.devices[row.device]["soc_model"] == "SM8650"
    assert {u.name for u in report.untimed} == {"onnx fp32", "litert_qualcomm int8"}
    assert fake.calls[-1][-1].startswith(f"rm -rf {adb.FOLDER}")
    assert from_json(json.loads(json.dumps(report.to_json()))) == report


def test_each_accelerator_has_its_flag_and_the_npu_the_file_for_its_chip(
    folder: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = {**replay(fp32=8000.0, int8=2000.0), "SM8650.tflite": [phones.output(500.0)]}
    fake = phones.plug(tmp_path / "adb", monkeypatch, outputs=outputs)
    more = ("--dispatch_library_path=/data/local/tmp",)
    report = phone.bench(folder, Plan(phones.SERIAL, accelerators=("cpu", "gpu", "npu"), passes=2, more=more))
    places = {(row.name, row.where): row.median for row in report.rows}
    assert places == {
        ("tflite fp32", "1 thread"): 8.0, ("tflite fp32", "8 threads"): 8.0, ("tflite fp32", "gpu"): 8.0,
        ("tflite int8", "1 thread"): 2.0, ("tflite int8", "8 threads"): 2.0, ("tflite int8", "gpu"): 2.0,
        ("litert_qualcomm int8", "npu"): 0.5,
    }  # fmt: skip
    npu = next(run for run in fake.runs if "SM8650" in run)
    assert "--use_npu=true" in npu
    assert npu.endswith("--dispatch_library_path=/data/local/tmp")
    assert sum("--use_gpu=true" in run for run in fake.runs) == 4
    assert {(r.where, r.verdict) for r in report.ratios} == {(w, "faster") for w in ("1 thread", "8 threads", "gpu")}


def test_passes_that_disagree_are_inconclusive(
    folder: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = replay(fp32=8000.0)
    outputs["s-int8.tflite"] = [phones.output(median) for median in (4500.0, 5000.0, 6500.0)]  # it throttles
    phones.plug(tmp_path / "adb", monkeypatch, outputs=outputs)
    report = phone.bench(folder, Plan(phones.SERIAL, threads=(1,)), [GATE])
    assert (report.ratios[0].verdict, report.exit_code) == ("inconclusive", 5)
    assert report.gates[0].state == "inconclusive"


def test_one_that_crashes_or_falls_back_fails_and_the_others_finish(
    folder: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = replay(fp32=8000.0, int8=2000.0)
    refused = "Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.\n"
    outputs["s-int8.tflite"] = [phones.output(2000.0, refused)]
    phones.plug(tmp_path / "adb", monkeypatch, outputs=outputs)
    report = phone.bench(folder, Plan(phones.SERIAL, accelerators=("gpu",)))
    assert [row.name for row in report.rows] == ["tflite fp32"]
    assert [one.name for one in report.broken] == ["tflite int8, gpu"]
    assert "the CPU ran it" in report.broken[0].reason
    assert report.exit_code == 1
    phones.plug(tmp_path / "again", monkeypatch, outputs=replay(fp32=8000.0, int8=1.0), exit={"s-int8": 139})
    report = phone.bench(folder, Plan(phones.SERIAL, threads=(1,)))
    assert "crashed with signal 11" in report.broken[0].reason


def test_a_gate_on_what_crashed_is_not_passed(
    folder: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phones.plug(tmp_path / "adb", monkeypatch, outputs=replay(fp32=8000.0, int8=1.0), exit={"s-int8": 139})
    report = phone.bench(folder, Plan(phones.SERIAL, threads=(1,)), [GATE])
    assert report.exit_code == 1
    assert report.gates == ()


def test_a_gate_that_names_nothing_is_refused_before_the_phone_runs(
    folder: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = phones.plug(tmp_path / "adb", monkeypatch, outputs=replay(fp32=8000.0, int8=2000.0))
    with pytest.raises(InputError, match=r"--gate tflite int9/tflite fp32<=1"):
        phone.bench(folder, Plan(phones.SERIAL, threads=(1,)), [Gate("tflite int9", "tflite fp32", 1.0)])
    assert fake.runs == []


def test_a_folder_without_a_file_for_a_phone_is_refused(
    folder: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = phones.plug(tmp_path / "adb", monkeypatch)
    empty = Exported(folder.folder, folder.entries[2:3], folder.trunks, (), {})
    with pytest.raises(InputError, match="nothing for a phone in it"):
        phone.bench(empty, Plan(phones.SERIAL))
    assert fake.calls[-1][-1].startswith("rm -rf"), "it is cleaned nevertheless"
