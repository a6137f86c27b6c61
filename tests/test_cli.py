"""The command line: exit codes, streams, suggestions, JSON, terminals, interruption."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import edgemat
from edgemat import errors, export
from edgemat.cli import app, main
from edgemat.export import _trunk
from edgemat.export._target import Gate, ModelInfo, Runner, Target, Trunk
from edgemat.images import write_png
from edgemat.inspection import Inspection, OpFact

SIZE = 32


class Mean(Runner):
    """Alpha is the mean of the channels, plus what the artefact says."""

    def __init__(self, path: Path) -> None:
        self.offset = float(path.read_text())

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.clip(images.mean(3) / 255 + self.offset, 0, 1).astype(np.float32)


def fake_target(name: str = "fake", offset: float = 0.0, requires: tuple[str, ...] = ()) -> Target:
    def convert(trunk: Trunk, precision: str, path: Path) -> None:
        path.write_text(str(offset))

    return Target(
        name=name, title="A fake.", suffix=f".{name}", gates={"fp32": Gate(1e-4, 1e-4), "fp16": Gate(1e-2, 1e-3)},
        extra="dev", requires=requires, proves="nothing", convert=convert, load=Mean, check=lambda path: (),
        inspect=lambda path: Inspection(str(path), "fake", (OpFact("sum", "Sum", "float32"),), {"float32": 1}),
    )  # fmt: skip


def tiny_trunk(path: Path) -> Trunk:
    """Write a graph without weights: alpha is the mean of the channels."""
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=1),
            helper.make_node("Clip", ["mean", "low", "high"], ["alpha"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, SIZE, SIZE))],
        [helper.make_tensor_value_info("alpha", TensorProto.FLOAT, (1, 1, SIZE, SIZE))],
        [
            helper.make_tensor("axes", TensorProto.INT64, (1,), [1]),
            helper.make_tensor("low", TensorProto.FLOAT, (), [0.0]),
            helper.make_tensor("high", TensorProto.FLOAT, (), [1.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return Trunk(path, SIZE, SIZE, ModelInfo("tiny", "1", "the tests", "Apache-2.0", "A mean."))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Export a tiny trunk to fake targets; returns the words that every such export needs."""
    listing = {t.name: t for t in (fake_target(), fake_target("broken", 0.25), fake_target("absent", 0, ("nope_",)))}
    monkeypatch.setattr(export, "names", lambda: tuple(listing))
    monkeypatch.setattr(export, "targets", lambda: tuple(listing.values()))
    monkeypatch.setattr(_trunk, "from_student", lambda weights, height, width, out, images: tiny_trunk(out))
    monkeypatch.setattr(export, "get", get_from(listing))
    images = tmp_path / "images"
    write_png(images / "a.png", np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8))
    return ["export", "--size", f"{SIZE}x{SIZE}", "--calibration", str(images), "--out", str(tmp_path / "out")]


def get_from(listing: dict[str, Target]):  # type: ignore[no-untyped-def]
    real = export.get

    def get(name: str) -> Target:
        return listing[name] if name in listing else real(name)

    return get


# --- help, version, suggestions


@pytest.mark.parametrize("name", sorted(app.commands))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: edgemat {name}")


def test_the_help_page_says_each_command_in_one_whole_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "..." not in out.replace("[ARGS]...", "")
    assert [w for w in app.commands if f"\n  {w} " not in out] == []


@pytest.mark.parametrize("module", ["edgemat", "edgemat.cli"])
def test_it_runs_as_a_module(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"edgemat {edgemat.__version__}\n"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("exprot", "Did you mean 'export'?"),
        ("doctor --jsn", "Did you mean '--json'?"),
        ("export --target corml", "did you mean 'coreml'?"),
        ("export --target onnx,tflight", "did you mean 'tflite'?"),
        ("export", f"Choose from: {', '.join(export.names())}, all."),
        ("completion bsh", "'bash', 'zsh', 'fish'"),
    ],
)
def test_a_misspelt_word_gets_a_suggestion(words: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    captured = capsys.readouterr()
    assert hint in captured.err
    assert "error: " in captured.err
    assert captured.out == ""


def test_nothing_at_all_shows_the_help_and_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.count("Usage: edgemat") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_EDGEMAT_COMPLETE" in capsys.readouterr().out


def test_completion_knows_the_targets() -> None:
    words = {"COMP_WORDS": "edgemat export --target onnx,c", "COMP_CWORD": "3", "_EDGEMAT_COMPLETE": "bash_complete"}
    code = "import sys; from edgemat.cli import main; sys.exit(main([]))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **words}, capture_output=True, text=True, check=True
    )
    assert "onnx,coreml" in done.stdout


# --- export: results, exit codes, streams


def test_an_export_that_passes(use: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([*use, "--target", "fake"]) == 0
    captured = capsys.readouterr()
    head, row = captured.out.splitlines()
    assert head.split()[:3] == ["target", "precision", "file"]
    assert row.split()[:2] == ["fake", "fp32"]
    assert row.endswith("passed")
    assert str(tmp_path / "out" / "preview.png") in captured.err
    assert (tmp_path / "out" / "report.json").is_file()


def test_a_failed_gate_exits_1_with_a_diagnosis(use: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*use, "--target", "fake", "--target", "broken"]) == 1
    captured = capsys.readouterr()
    assert "passed" in captured.out
    assert "FAILED" in captured.out
    assert "error: broken fp32: alpha differs by max 0.25" in captured.err, captured.err


def test_a_missing_backend_is_no_pass(use: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*use, "--target", "fake,absent"]) == 3
    captured = capsys.readouterr()
    assert "unavailable" in captured.out
    assert "nope_ not installed" in captured.err
    assert "pip install 'edgemat[dev]'" in captured.err


def test_all_means_every_target_once(use: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*use, "--target", "all", "--target", "fake", "--json"]) == 1
    captured = capsys.readouterr()
    assert [r["target"] for r in json.loads(captured.out)["results"]] == ["fake", "broken"]
    assert "absent: left out, nope_ not installed; pip install 'edgemat[dev]'" in captured.err


def test_all_leaves_out_what_does_not_make_the_precision(
    use: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = export.get("fake")
    half = dataclasses.replace(fake, name="half", gates={"fp16": fake.gates["fp16"]})
    monkeypatch.setattr(export, "targets", lambda: (fake, half))
    assert main([*use, "--target", "all", "--precision", "fp32", "--json"]) == 0
    captured = capsys.readouterr()
    assert [r["target"] for r in json.loads(captured.out)["results"]] == ["fake"]
    assert "half: left out, it makes fp16, not fp32" in captured.err


@pytest.mark.parametrize("words", ["--target fake", "--target fake,broken"])
def test_json_is_one_document_and_nothing_else(words: str, use: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = main([*use, *words.split(), "--json"])
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["schema_version"] == 3
    assert report["passed"] is (code == 0)
    assert "trunk: make and check" in captured.err


@pytest.mark.parametrize(("command", "version"), [("targets", 2), ("doctor", 1)])
def test_the_other_json_documents(command: str, version: int, capsys: pytest.CaptureFixture[str]) -> None:
    main([command, "--json"])
    assert json.loads(capsys.readouterr().out)["schema_version"] == version


@pytest.mark.parametrize(("words", "code"), [([], 0), (["--ops"], 0), (["--expect-int8"], 1)])
def test_inspect(
    words: list[str], code: int, use: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["inspect", str(tmp_path / "some.fake"), *words]) == code
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1].endswith("fake, computes in float32")
    assert ("sum" in captured.out) == (words == ["--ops"])
    assert ("expected integers alone" in captured.err) == bool(code)


def test_inspect_names_the_islands(
    use: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ops = (OpFact("first", "Conv", "int8", {"int8": 9}), OpFact("resize", "Resize", "float32"))
    mixed = dataclasses.replace(export.get("fake"), inspect=lambda path: Inspection("x", "fake", ops, {"int8": 1}))
    monkeypatch.setattr(export, "get", lambda name: mixed)
    assert main(["inspect", str(tmp_path / "x"), "--target", "fake", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["islands"] == ["resize"]
    assert main(["inspect", str(tmp_path / "x"), "--target", "fake", "--expect-int8"]) == 1
    assert "1 float islands: resize (Resize, float32)" in capsys.readouterr().out


def test_inspect_of_an_unknown_kind_of_file(use: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "model.caffe"]) == 2
    assert "no target's files end like this" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "256"], "'256' is no height and width in pixels, such as 256x256"),
        (["--size", "0x256"], "'0x256' is no height"),
        (["--size", "-1x256"], "is no height"),
        (["--precision", "int8"], "target fake makes fp32, fp16, not int8"),
        (["--weights", "a.safetensors", "--model", "b.onnx"], "exclude each other"),
        (["--calibration", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_wrong_usage_exits_2_before_anything_is_made(
    words: list[str], message: str, use: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*use, "--target", "fake", *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert not (tmp_path / "out").exists()


def test_an_empty_calibration_folder_is_refused(
    use: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main([*use, "--target", "fake", "--calibration", str(tmp_path / "empty")]) == 2
    assert "holds no .png" in capsys.readouterr().err


def test_an_output_folder_that_cannot_be(use: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("here first")
    assert main([*use, "--target", "fake", "--out", str(tmp_path / "file" / "out")]) == 2
    assert "file" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "here first"


# --- errors


def raising(error: BaseException):  # type: ignore[no-untyped-def]
    def listing() -> tuple[Target, ...]:
        raise error

    return listing


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InputError("no"), 2),
        (errors.BackendMissingError("no"), 3),
        (errors.UnsupportedOpError("no"), 4),
        (errors.OutputError("no"), 2),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("no"), 70),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 3),
        (ModuleNotFoundError("No module named 'edgemat.x'", name="edgemat.x"), 70),
        (ModuleNotFoundError("a part of another version", name="torch.part"), 70),
    ],
)
def test_an_error_has_its_exit_code_and_one_line(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "targets", raising(error))
    assert main(["targets"]) == code
    captured = capsys.readouterr()
    assert captured.err.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_a_bug_shows_its_traceback_with_debug_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "targets", raising(ZeroDivisionError("no")))
    assert main(["targets", "--json"]) == 70
    assert "edgemat --debug targets --json" in capsys.readouterr().err
    assert main(["--debug", "targets"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(export, "targets", raising(ModuleNotFoundError("no", name="torch")))
    assert main(["targets"]) == 3
    assert "pip install 'edgemat[export]'" in capsys.readouterr().err


# --- terminals


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    pty = pytest.importorskip("pty", reason="no pseudo-terminal on this system")
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)


def on_a_terminal(**environment: str) -> str:
    """Return what ``edgemat targets`` prints on a terminal."""
    with terminal() as (ours, theirs):
        env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
        env |= {"TERM": "xterm-256color", "COLUMNS": "200", **environment}
        command = [sys.executable, "-m", "edgemat", "targets"]
        process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=env)
        os.close(theirs)
        shown = b""
        try:
            while block := os.read(ours, 65536):
                shown += block
        except OSError:  # Linux: the other end was closed
            pass
        assert process.wait(timeout=60) == 0
    return shown.decode()


def test_a_terminal_gets_colour_unless_it_asks_for_none() -> None:
    assert "\x1b[32m" in on_a_terminal()
    assert "\x1b[3" not in on_a_terminal(NO_COLOR="1")


def test_a_pipe_gets_plain_text() -> None:
    done = subprocess.run([sys.executable, "-m", "edgemat", "targets"], capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout
    assert done.stdout.isascii()


# --- interruption

SLOW = """
import signal, sys, time
from pathlib import Path
import test_cli as t
from edgemat import export
from edgemat.cli import main
from edgemat.export import _trunk
import dataclasses

def convert(trunk, precision, path):
    path.write_text("half")
    print("half-way", flush=True)
    time.sleep(600)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is started without one
slow = dataclasses.replace(t.fake_target(), convert=convert)
export.get = lambda name: slow
export.names = lambda: ("fake",)
_trunk.from_student = lambda weights, height, width, out, images: t.tiny_trunk(out)
sys.exit(main(sys.argv[1:]))
"""


def written(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder, by its path in it."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_in_the_middle_leaves_earlier_artefacts_intact(
    kind: signal.Signals, use: list[str], tmp_path: Path
) -> None:
    assert main([*use, "--target", "fake"]) == 0
    out = tmp_path / "out"
    before = written(out)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", textwrap.dedent(SLOW), *use, "--target", "fake"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half-way\n"
        process.send_signal(kind)
        try:
            code = process.wait(timeout=60)
        finally:
            process.kill()
    assert code == (130 if kind is signal.SIGINT else -signal.SIGKILL)
    assert {name: content for name, content in written(out).items() if ".part" not in name} == before
    left = [path.name for path in out.iterdir() if path.name.startswith(".")]
    assert all(name.endswith(".part") for name in left), left
    assert kind is signal.SIGKILL or left == []


def test_a_full_disk_leaves_earlier_artefacts_intact(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from .full_disk import a_full_disk  # here: the kill's script imports this file by itself

    words = ["export", "--target", "onnx", "--size", "64x64", "--weights", str(weights), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    before = written(tmp_path / "out")
    capsys.readouterr()
    with a_full_disk(10_000):
        assert main(words) == 2
    assert "cannot be written (File too large)" in capsys.readouterr().err
    assert written(tmp_path / "out") == before
