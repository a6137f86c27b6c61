"""The layer rules fire: a planted import of a higher layer or of a back end is refused by ruff."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS = [
    ("edgemat/model", "edgemat.data"),
    ("edgemat/model", "edgemat.export"),
    ("edgemat/data", "edgemat.model"),
    ("edgemat/data", "edgemat.train"),
    ("edgemat/train", "edgemat.export"),
    ("edgemat/verify", "edgemat.train"),
    ("export", "edgemat.train"),
    ("export/coreml", "edgemat.data"),
    ("quantize", "edgemat.export"),
]
SOURCES = ["edgemat", "edgemat/model", "edgemat/data", "edgemat/train", "edgemat/verify", "export", "quantize"]
BACKENDS = [
    "accelerate",
    "ai_edge_litert",
    "coremltools",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "onnxsim",
    "rich",
    "tensorboard",
]


def ruff(path: str, code: str) -> str:
    """Check ``code`` as if it stood at ``path`` of the repository, with the repository's rules."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise"]
    command += ["--stdin-filename", str(ROOT / path), "-"]
    return subprocess.run(command, input=code, capture_output=True, text=True, check=False, cwd=ROOT).stdout


@pytest.mark.parametrize(("folder", "layer"), LAYERS)
def test_a_higher_layer_is_refused(folder: str, layer: str) -> None:
    parent, _, name = layer.rpartition(".")
    for line in (f"import {layer}", f"from {layer} import x", f"from {parent} import {name}"):
        assert f"TID251 `{layer}` is banned" in ruff(f"{folder}/planted.py", line), line


@pytest.mark.parametrize("folder", [*SOURCES, "calib_data", "export/tflite"])
def test_nothing_imports_the_command_line_or_pickle(folder: str) -> None:
    found = ruff(
        f"{folder}/planted.py", "import pickle\nimport torch\nfrom edgemat.cli import main\n\ntorch.load(main)\n"
    )
    for name in ("pickle", "torch.load", "edgemat.cli"):
        assert f"TID251 `{name}` is banned" in found


@pytest.mark.parametrize("folder", [*SOURCES, "edgemat/cli"])
def test_a_backend_at_module_level_is_refused(folder: str) -> None:
    lines = [f"import {backend}\n" for backend in BACKENDS]
    found = ruff(f"{folder}/planted.py", "".join(lines))
    for backend in BACKENDS:
        assert f"TID253 `{backend}` is banned" in found
    inside = "def f() -> None:\n" + "".join(f"    {line}" for line in lines)
    assert "TID253" not in ruff(f"{folder}/planted.py", inside)


@pytest.mark.parametrize("folder", ["edgemat", "edgemat/cli", "edgemat/data", "edgemat/verify", "export", "quantize"])
def test_torch_at_module_level_is_refused_outside_model_and_train(folder: str) -> None:
    assert "TID253 `torch` is banned" in ruff(f"{folder}/planted.py", "import torch\n")


def test_a_target_package_imports_its_backend_inside_only() -> None:
    assert "TID253" in ruff("export/coreml/__init__.py", "import coremltools\n")
    assert "TID253" not in ruff("export/coreml/_planted.py", "import coremltools\n")


def test_the_tree_is_clean() -> None:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", "."]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout
