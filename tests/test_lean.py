"""What is light stays light: help, listing and parsing load neither torch, numpy nor any back end."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "PIL", "accelerate", "ai_edge_litert", "coremltools", "cv2", "flatbuffers", "matplotlib", "numpy", "onnx",
    "onnxruntime", "onnxscript", "onnxsim", "rich", "safetensors", "scipy", "skimage", "tensorboard", "torch",
    "ethosu", "nncf", "onnxruntime_qnn", "openvino", "tensorrt",
)  # fmt: skip
LIGHT = (
    "edgemat", "edgemat.cli", "edgemat.console", "edgemat.data.archive", "edgemat.data.registry", "edgemat.doctor",
    "edgemat.errors", "edgemat.export", "edgemat.export._target", "edgemat.files", "edgemat.quantize",
)  # fmt: skip
"""Modules that anyone may import in a bare environment: standard library and click."""

_REPORT = f"\nimport sys\nprint(sorted(set({HEAVY!r}) & {{n.partition('.')[0] for n in sys.modules}}))"


def loaded_by(code: str) -> str:
    """Return what of `HEAVY` a fresh interpreter holds after ``code``."""
    done = subprocess.run([sys.executable, "-c", code + _REPORT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_the_guard_itself_sees_a_heavy_import() -> None:
    assert loaded_by("import numpy") == "['numpy']"


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_imports_nothing_heavy(module: str) -> None:
    assert loaded_by(f"import {module}") == "[]"


@pytest.mark.parametrize(
    "words", ["--help", "--version", "targets --help", "export --help", "doctor --help", "data fetch --help",
              "targets", "targets --json", "completion zsh", "misspelt"],
)  # fmt: skip
def test_a_command_that_only_answers_loads_nothing_heavy(words: str) -> None:
    assert loaded_by(f"from edgemat.cli import main\nmain({words.split()!r})") == "[]"


def test_every_target_is_listed_without_its_backend() -> None:
    code = "from edgemat import export\nassert len(export.targets()) == len(export.names()) > 0"
    assert loaded_by(code) == "[]"
