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


@pytest.fixture(scope="session")
def discs() -> tuple[ParitySet, npt.NDArray[np.float32]]:
    """Return 12 faces that are soft discs, with strata, uncertainty and three clips; and a float network's alpha.

    The float network sees each disc 0.4 pixels larger than it is. Every third face is tan, the others light; the
    occluder of every second is a hand, and that of one alone a cup.
    """
    size, faces, scenes, frames = 48, 12, 3, 4
    rows, columns = np.mgrid[:size, :size]

    def disc(face: int, grown: float, moved: float = 0.0) -> npt.NDArray[np.float64]:
        x, y = 23 + face % 3 + moved, 25 - face % 4
        return np.hypot(columns - x, rows - y) - (11 + face % 5) - grown

    def alpha(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        return np.clip(0.5 - distance / 3, 0, 1).astype(np.float32)

    truth = np.stack([alpha(disc(face, 0)) for face in range(faces)])
    doubt = np.stack([np.exp(-np.abs(disc(face, 0)) / 3) for face in range(faces)]).astype(np.float32)
    clips = [[(scene, 2.0 * frame) for frame in range(frames)] for scene in range(scenes)]
    clip_truth = np.stack([np.stack([alpha(disc(face, 0, x)) for face, x in clip]) for clip in clips])
    seen = [alpha(disc(face, 0.4)) for face in range(faces)]
    seen += [alpha(disc(face, 0.4 + 0.1 * x, x)) for clip in clips for face, x in clip]
    skin = np.random.default_rng(0).integers(120, 200, (size, size, 3))
    pictures = np.broadcast_to(skin.astype(np.uint8), (faces, size, size, 3)).copy()
    strata = tuple(
        (
            *(("occluder: hand",) if face % 2 == 0 else ()),
            *(("occluder: cup",) if face == 5 else ()),
            "skin: tan" if face % 3 == 0 else "skin: light",
        )
        for face in range(faces)
    )
    names = tuple(f"face {face:02d}" for face in range(faces))
    moving = np.broadcast_to(pictures[0], (scenes, frames, size, size, 3)).copy()
    found = ParitySet(pictures, truth, doubt, strata, names, moving, clip_truth, names[:scenes], {"name": "discs"})
    return found, np.stack(seen)
