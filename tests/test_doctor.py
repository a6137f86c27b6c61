"""The doctor finds what is missing, too old or damaged, and names the command that mends it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from edgemat import doctor, export
from edgemat.cli import main
from edgemat.doctor import Check, Diagnosis
from edgemat.export._target import Target


def found(diagnosis: Diagnosis, name: str) -> Check:
    return next(check for check in diagnosis.checks if check.name == name)


def test_it_looks_at_everything() -> None:
    diagnosis = doctor.examine()
    assert {c.area for c in diagnosis.checks} == {"system", "package", "data", "weights", "target"}
    assert {c.name for c in diagnosis.checks if c.area == "target"} == set(export.names())
    assert all(c.fix or c.ok for c in diagnosis.checks), "whatever is wrong has a remedy"


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "coremltools":
            raise importlib.metadata.PackageNotFoundError(name)
        return "99.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    check = found(doctor.examine(), "coremltools")
    assert not check.ok
    assert check.fix == "pip install 'edgemat[coreml]'"


def test_an_old_package_is_not_good_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0.1+cpu")
    check = found(doctor.examine(), "numpy")
    assert not check.ok
    assert "too old" in check.found


@pytest.mark.parametrize(("installed", "ok"), [("1.0.0b3", True), ("1.0.0b4", False), ("2.0", False)])
def test_another_release_of_a_beta_is_told(installed: str, ok: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    real, wanted = importlib.metadata.requires, ["coreai-core==1.0.0b3; extra == 'coreai'", "numpy>=2.1.0"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted if name == "edgemat" else real(name))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: installed)
    check = found(doctor.examine(), "coreai-core")
    assert check.ok is ok
    if not ok:
        assert check.found == f"{installed}, not 1.0.0b3: the only one that is tested"
        assert check.fix == "pip install 'edgemat[coreai]'"


def test_the_old_runtime_s_environment_is_asked_or_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(doctor.OLD_RUNTIME, raising=False)
    check = found(doctor.examine(), "tflite-runtime")
    assert not check.ok
    assert "tflite-runtime==2.14.0 'numpy<2'" in check.fix
    assert doctor.OLD_RUNTIME in check.fix
    python = tmp_path / "python"
    for script, says in (
        ("echo 2.14.0 numpy 1.26.4", "2.14.0 numpy 1.26.4"),
        ("echo ModuleNotFoundError >&2; exit 1", "ModuleNotFoundError"),
        ("exit 3", "exit code 3"),
    ):
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        monkeypatch.setenv(doctor.OLD_RUNTIME, str(python))
        check = found(doctor.examine(), "tflite-runtime")
        assert check.ok is ("numpy" in says)
        assert says in check.found
    monkeypatch.setenv(doctor.OLD_RUNTIME, str(tmp_path / "none"))
    assert "cannot be run" in found(doctor.examine(), "tflite-runtime").found


@pytest.mark.parametrize("content", [None, b"", b"not safetensors", b"\xff" * 64])
def test_missing_or_damaged_weights_are_found(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgemat.model import weights

    path = tmp_path / "student.safetensors"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(weights, "shipped", lambda: path)
    check = found(doctor.examine(), "student.safetensors")
    assert not check.ok
    assert "cannot be read" in check.found


def test_it_exits_3_when_nothing_can_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Target, "missing", lambda self: ("backend_",))
    assert main(["doctor"]) == 3
    assert "backend_ not installed" in capsys.readouterr().out


def test_it_exits_0_when_something_can_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "edgemat" in capsys.readouterr().out


def test_a_diagnosis_is_true_when_a_target_runs() -> None:
    assert Diagnosis((Check("target", "a", True, ""), Check("target", "b", False, "", "x")))
    assert not Diagnosis((Check("target", "a", False, "", "x"), Check("system", "python", True, "")))
