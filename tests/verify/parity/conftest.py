"""What the tests of parity share: an export folder, images with a truth, and targets that go wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.export import _frame, get
from edgemat.export._target import Trunk, Trunks
from edgemat.verify import exported
from edgemat.verify.exported import Entry, Exported
from edgemat.verify.parity import isolate
from edgemat.verify.parity.images import ParitySet

WANTED = (("onnx", "fp32"), ("onnx", "fp16"), ("onnx", "int8"), ("tflite", "int8"))


@pytest.fixture(scope="session")
def parity_folder(
    tmp_path_factory: pytest.TempPathFactory, trunk: Trunk, int_trunk: Trunk, images: npt.NDArray[np.uint8]
) -> Path:
    """Return an export folder of `WANTED` at 64x64; no test may write into it."""
    folder = tmp_path_factory.mktemp("parity")
    assert int_trunk.grid is not None
    trunks = Trunks(trunk, {int_trunk.grid.scheme.name: int_trunk})
    assert _frame.export(trunks, [(get(name), precision) for name, precision in WANTED], folder, images)
    return folder


@pytest.fixture
def found(parity_folder: Path) -> Exported:
    """Return that folder, read."""
    return exported.read(parity_folder)


@pytest.fixture(scope="session")
def parity_set(parity_folder: Path, images: npt.NDArray[np.uint8]) -> ParitySet:
    """Return four images of four faces, with a truth that the small float network misses by a little."""
    from edgemat.export.onnx import OnnxRunner

    with OnnxRunner(parity_folder / "reference" / "float.onnx") as runner:
        alpha = runner.run(images)
    truth = np.clip(alpha + np.random.default_rng(0).normal(0, 0.05, alpha.shape), 0, 1).astype(np.float32)
    count, height, width = alpha.shape
    return ParitySet(
        images,
        truth,
        None,
        (("occluder: hand",),) * count,
        tuple("abcd"[:count]),
        np.zeros((0, 2, height, width, 3), np.uint8),
        np.zeros((0, 2, height, width), np.float32),
        (),
        {"name": "test", "count": count, "sha256": "of the tests"},
    )


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exported, dict[str, str]], Exported]:
    """Return what puts targets that go wrong (parity_child.py), by name and precision, into a folder with onnx fp32."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(isolate, "OPENER", "parity_child:open_fake")

    def add(found: Exported, kinds: dict[str, str]) -> Exported:
        by_precision = {entry.precision: entry for entry in found.entries if entry.target.name == "onnx"}
        made = [renamed(by_precision[precision], kind) for kind, precision in kinds.items()]
        return dataclasses.replace(found, entries=(*made, by_precision["fp32"]))

    return add


def renamed(entry: Entry, name: str) -> Entry:
    """Return an artefact as if another target had made it."""
    return dataclasses.replace(entry, target=dataclasses.replace(entry.target, name=name))
