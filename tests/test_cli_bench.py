"""``edgemat bench`` and ``edgemat mac-script``: which options go together, what is asked for, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgemat.cli import main
from edgemat.verify import exported, proof
from edgemat.verify.bench import mac, machine, phone, run
from edgemat.verify.bench.ratio import Gate, compare, judge
from edgemat.verify.bench.report import BenchReport
from edgemat.verify.bench.row import Row

QUIET = np.full((3, 20), 4.0)
FAST = compare("tflite int8", "tflite fp32", "1 thread", QUIET / 2, QUIET)
UNKNOWN = compare("tflite int8", "tflite fp32", "1 thread", QUIET, QUIET * np.nan)


def report(ratio: Any, gates: tuple[Gate, ...] = ()) -> BenchReport:
    row = Row("tflite int8", "LiteRT", "this machine", "1 thread", 1000, 9, 2.0)
    return BenchReport((row,), (ratio,), judge(gates, [ratio]), (), (), {}, None, {}, {}, {}, "edgemat bench out")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the commands ask the library for, played with a quiet machine of two cores."""
    seen: dict[str, Any] = {"ratio": FAST}

    def play(name: str) -> Any:
        def called(*words: Any, **more: Any) -> BenchReport:
            seen[name] = words
            gates = next((tuple(w) for w in words if isinstance(w, list)), ())
            return report(seen["ratio"], gates)

        return called

    monkeypatch.setattr(run, "of_folder", play("folder"))
    monkeypatch.setattr(run, "of_student", play("student"))
    monkeypatch.setattr(phone, "bench", play("phone"))
    monkeypatch.setattr(mac, "merge", play("merge"))
    monkeypatch.setattr(exported, "read", lambda folder: f"read {folder}")
    monkeypatch.setattr(machine, "cores", lambda: 2)
    return seen


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["out", "--weights", "w"], "--weights is for a benchmark without FOLDER"),
        (["--device", "adb:X"], "need FOLDER"),
        (["--merge", "mac.json"], "need FOLDER"),
        (["out", "--device", "adb:X", "--merge", "m"], "one at a time"),
        (["out", "--device", "X"], "expected adb:SERIAL"),
        (["out", "--device", "adb:"], "expected adb:SERIAL"),
        (["out", "--benchmark-binary", "b"], "needs --device"),
        (["--gate", "nonsense"], "expected NAME/NAME<=RATIO"),
        (["--threads", "0"], "expected numbers from 1, or all"),
        (["--threads", "many"], "expected numbers from 1, or all"),
        (["--rounds", "1"], "not in the range"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    words: list[str], said: str, asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words]) == 2
    assert said in capsys.readouterr().err
    assert set(asked) == {"ratio"}


def test_a_folder_is_timed_on_one_thread_and_on_all_and_kept(
    asked: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(tmp_path), "--json"]) == 0
    folder, settings, gates = asked["folder"]
    assert (folder, settings.threads, settings.rounds, gates) == (tmp_path, (1, 2), 60, [])
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((tmp_path / proof.FOLDER / proof.BENCH).read_text())
    assert shown["ratios"][0]["verdict"] == "faster"


def test_without_a_folder_a_student_is_timed_on_one_thread(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--threads", "2,all,1", "--rounds", "9"]) == 0
    weights, images, settings, _ = asked["student"]
    assert (weights, images.shape[1:], settings.threads, settings.rounds) == (None, (256, 256, 3), (2, 1), 9)
    assert "0.500 [0.500, 0.500]  faster" in capsys.readouterr().out
    assert main(["bench"]) == 0
    assert asked["student"][2].threads == (1,)


@pytest.mark.parametrize(("limit", "code", "word"), [("0.6", 0, "passed"), ("0.4", 1, "FAILED"), ("0.5", 0, "passed")])
def test_a_gate_gives_the_exit_code(
    limit: str, code: int, word: str, asked: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(tmp_path), "--gate", f"tflite int8/tflite fp32<={limit}"]) == code
    assert word in capsys.readouterr().err


def test_a_busy_machine_gives_5(asked: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked["ratio"] = UNKNOWN
    assert main(["bench", str(tmp_path)]) == 5
    assert "INCONCLUSIVE, 1 thread: no round ran undisturbed" in capsys.readouterr().err
    assert main(["bench", str(tmp_path), "--gate", "tflite int8/tflite fp32<=0.6"]) == 5
    assert "INCONCLUSIVE: tflite int8/tflite fp32<=0.6" in capsys.readouterr().err


def test_a_phone_is_planned_from_the_options(asked: dict[str, Any], tmp_path: Path) -> None:
    words = ["--device", "adb:192.168.1.7:5555", "--accelerator", "cpu,gpu", "--benchmark-flag", "gpu_backend=cl"]
    assert main(["bench", str(tmp_path), *words, "--threads", "4", "--benchmark-binary", "b"]) == 0
    found, plan, _, _ = asked["phone"]
    assert found == f"read {tmp_path}"
    assert (plan.serial, plan.accelerators, plan.threads) == ("192.168.1.7:5555", ("cpu", "gpu"), (4,))
    assert (plan.binary, plan.more, plan.runs) == (Path("b"), ("--gpu_backend=cl",), 60)
    assert main(["bench", str(tmp_path), "--device", "adb:X"]) == 0
    assert asked["phone"][1].threads is None


def test_a_mac_s_result_is_merged(asked: dict[str, Any], tmp_path: Path) -> None:
    assert main(["bench", str(tmp_path), "--merge", "mac.json"]) == 0
    assert asked["merge"] == (f"read {tmp_path}", Path("mac.json"), [])


def test_a_script_for_no_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mac-script", str(tmp_path)]) == 2
    assert "make the folder with: edgemat export" in capsys.readouterr().err
