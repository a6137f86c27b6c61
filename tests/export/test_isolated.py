"""A back end's process: what goes in comes out, and no way of dying there is one here."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgemat.errors import InputError, UnsupportedOpError
from edgemat.export import _isolated
from edgemat.export._isolated import Child, IsolatedError, IsolatedRunner, call


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def test_a_call_runs_elsewhere_with_few_threads() -> None:
    sent = {
        "scalar": np.float32(0.1) + np.zeros((), np.float32),
        "empty": np.zeros((0, 3), np.int8),
        "transposed": np.arange(6, dtype=np.uint8).reshape(2, 3).T,
        "nan": np.array([np.nan, np.inf, -0.0]),
    }
    found, arrays = call("isolated_child:where", {"text": "ü", "list": [1, None, 0.1]}, sent)
    assert found["pid"] != os.getpid()
    assert found["threads"] == "1"
    assert found["text"] == "ü"
    assert found["list"] == [1, None, 0.1]
    assert list(arrays) == list(sent)
    for name, array in sent.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()


def test_the_current_folder_shadows_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    found, _ = call("isolated_child:where")
    assert "" not in found["path"]
    assert str(tmp_path) not in found["path"]


def test_what_a_back_end_prints_disturbs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert call("isolated_child:chatty", {"a": 1})[0] == {"a": 1}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_a_crash_is_named_with_its_last_words(name: str) -> None:
    with pytest.raises(IsolatedError, match=rf"isolated_child:crash crashed with {name}(?s:.*)before the crash"):
        call("isolated_child:crash", {"signal": name})


def test_an_exit_without_an_answer_is_an_error() -> None:
    with pytest.raises(IsolatedError, match=r"ended without an answer \(exit code 3\)"):
        call("isolated_child:leave")


def test_a_hang_ends() -> None:
    start = time.monotonic()
    with pytest.raises(IsolatedError, match=r"isolated_child:hang gave no answer within 1 s and was stopped"):
        call("isolated_child:hang", timeout=1.0)
    assert time.monotonic() - start < 20


def test_our_errors_come_through_and_others_are_told() -> None:
    with pytest.raises(UnsupportedOpError, match=r"^node a: Einsum$"):
        call("isolated_child:refuse")
    with pytest.raises(IsolatedError, match=r"raised ZeroDivisionError: by zero(?s:.*)in fail"):
        call("isolated_child:fail")
    with pytest.raises(IsolatedError, match="raised ModuleNotFoundError: No module named 'no_such_module'"):
        call("no_such_module:f")
    with pytest.raises(IsolatedError, match="objects holds objects"):
        call("isolated_child:unpackable")


def test_no_objects_and_no_nan_in_json() -> None:
    with pytest.raises(TypeError, match="x holds objects"):
        call("isolated_child:where", {}, {"x": np.array([{}])})
    with pytest.raises(ValueError, match="JSON compliant"):
        call("isolated_child:where", {"x": float("nan")})


def test_a_runner_keeps_its_process() -> None:
    images = np.full((2, 3, 4, 3), 51, np.uint8)
    with IsolatedRunner("isolated_child:open_model", Path("a.bin"), rounding="litert") as runner:
        assert runner.rounding == "litert"
        np.testing.assert_array_equal(runner.run(images), np.full((2, 3, 4), 0.2, np.float32))
        codes = runner.codes(images[0])
        assert codes["image"].dtype == np.int32
        assert codes["a#b/ü"].shape == (0, 2)
        assert runner.trace(images[0]) == {}
    with pytest.raises(IsolatedError, match=r"a\.bin: the process of isolated_child:open_model has ended"):
        runner.run(images)


def test_a_runner_that_cannot_open_raises_the_reason_and_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    start = _isolated.subprocess.Popen
    monkeypatch.setattr(_isolated.subprocess, "Popen", lambda *a, **k: started.append(start(*a, **k)) or started[-1])
    with pytest.raises(InputError, match=r"^a\.bin: broken$"):
        IsolatedRunner("isolated_child:open_model", Path("a.bin"), {"strict": True})
    assert started[0].returncode is not None


def test_a_crash_in_the_middle_is_told_once_and_for_all() -> None:
    with IsolatedRunner("isolated_child:open_model", Path("a.bin")) as runner:
        with pytest.raises(IsolatedError, match=r"a\.bin: the process of .* crashed with SIGSEGV"):
            runner.run(np.full((1, 2, 2, 3), 255, np.uint8))
        with pytest.raises(IsolatedError, match="has ended"):
            runner.run(np.zeros((1, 2, 2, 3), np.uint8))


def test_a_forgotten_child_is_ended() -> None:
    child = Child("isolated_child:where")
    process = child._process
    del child
    assert process.returncode is not None


def test_an_interrupt_kills_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(stream: object) -> None:
        raise KeyboardInterrupt

    with Child("isolated_child:hang") as child:
        monkeypatch.setattr(_isolated.frames, "unpack", interrupted)
        with pytest.raises(KeyboardInterrupt):
            child.ask("call", {}, {})
        assert child._process.wait(10) != 0


def test_it_imports_nothing_heavy() -> None:
    code = "import sys, edgemat.export._isolated; print('numpy' in sys.modules)"
    done = _isolated.subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
