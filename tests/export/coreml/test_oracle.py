"""Apple's Core AI runtime, which nobody here wrote, runs what the saved package holds and agrees with the trunk.

The package is translated back to ONNX; coreai-onnx turns that into an .aimodel, which coreai-core runs on Linux too.
Set it up in an environment of its own and say where that is:

    python -m venv coreai && coreai/bin/pip install coreai-core==1.0.0b3 coreai-torch==0.4.3 coreai-onnx==1.2.1
    EDGEMAT_COREAI_PYTHON=coreai/bin/python pytest --slow tests/export/coreml/test_oracle.py
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.export import _trunk
from edgemat.export._target import Trunk
from edgemat.export.coreml import TARGET, _back

Images = npt.NDArray[np.uint8]
SCRIPT = Path(__file__).with_name("coreai_oracle.py")
LIMIT = 1e-5


@pytest.fixture(scope="session")
def coreai() -> str:
    """Return the Python that has Core AI."""
    if python := os.environ.get("EDGEMAT_COREAI_PYTHON"):
        return python
    if importlib.util.find_spec("coreai") and importlib.util.find_spec("coreai_onnx"):
        return sys.executable
    pytest.skip("Core AI is not installed; set EDGEMAT_COREAI_PYTHON to a Python that has coreai-core and coreai-onnx")


def ask(python: str, package: Path, images: Images, folder: Path) -> npt.NDArray[np.float32]:
    """Return what Core AI computes for RGB images (N, H, W, 3): alpha (N, H, W)."""
    _back.to_onnx(package, folder / "back.onnx")
    np.save(folder / "pixels.npy", images.transpose(0, 3, 1, 2).astype(np.float32))
    files = [str(folder / name) for name in ("back.onnx", "pixels.npy", "alpha.npy")]
    subprocess.run([python, str(SCRIPT), *files], check=True)
    result: npt.NDArray[np.float32] = np.load(folder / "alpha.npy", allow_pickle=False)
    return result[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["friendly", "mobile"])
def test_core_ai_agrees_at_256(
    arch: str, coreai: str, tmp_path: Path, reference: Any, record_property: Callable[[str, object], None]
) -> None:
    import torch

    from edgemat.model import weights
    from edgemat.model.student import Student, StudentConfig

    torch.manual_seed(4)
    card = {"version": "0", "license": "Apache-2.0", "author": "the tests", "description": "A student."}
    weights.save(Student(StudentConfig(arch=arch)).eval(), tmp_path / "student.safetensors", card)
    trunk = _trunk.from_student(tmp_path / "student.safetensors", 256, 256, tmp_path / "trunk.onnx")
    TARGET.convert(trunk, "fp32", tmp_path / "student.mlpackage")
    images = np.random.default_rng(6).integers(0, 256, (3, 256, 256, 3)).astype(np.uint8)
    expected = np.stack([reference(trunk.path, image)["alpha"][0, 0] for image in images])
    difference = np.abs(ask(coreai, tmp_path / "student.mlpackage", images, tmp_path) - expected)
    record_property("max_abs", float(difference.max()))
    assert expected.std() > 0.01
    assert difference.max() <= LIMIT


@pytest.mark.slow
def test_core_ai_disagrees_with_a_planted_fault(
    coreai: str, packages: dict[str, Path], damaged: Any, trunk: Trunk, images: Images, reference: Any, tmp_path: Path
) -> None:
    def drop_bias(spec: Any, operations: Any) -> None:
        del next(op for op in operations if op.type == "conv").inputs["bias"]

    expected = np.stack([reference(trunk.path, image)["alpha"][0, 0] for image in images])
    assert np.abs(ask(coreai, packages["fp32"], images, tmp_path) - expected).max() <= LIMIT
    assert np.abs(ask(coreai, damaged(packages["fp32"], drop_bias), images, tmp_path) - expected).max() > LIMIT
