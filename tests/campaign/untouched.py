"""Export untouched students, many of them, each with its own weights, grid and images, and count what parity fails."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemat import calib_data
from edgemat.export import _frame, _trunk
from edgemat.export._target import Trunks
from edgemat.images import write_png
from edgemat.verify import exported
from edgemat.verify.parity import images as sets
from edgemat.verify.parity import run
from edgemat.verify.parity.report import CONVERSION, Outcome

from .campaign import SCHEME, artefacts

SEEDS = 20
SIZES = ((64, 64), (96, 64), (64, 128), (96, 96))
METHODS = ("minmax", "percentile", "mse")
_IMAGES = 3


@dataclass(frozen=True)
class Untouched:
    """One artefact of one student.

    Attributes:
        seed: Of the student, its grid and its images.
        outcome: What parity made of it; None where the export itself made none.
        refused: What the export said in that case.
    """

    seed: int
    outcome: Outcome | None
    refused: str = ""

    @property
    def is_false_alarm(self) -> bool:
        """Whether it was said not to be what its trunk says; what its integers cost in quality is no such thing."""
        if self.outcome is None:
            return True
        if self.outcome.state == "gate":
            return any(f.question == CONVERSION and not f.passed for f in self.outcome.figures)
        return self.outcome.failed


def student(seed: int, path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write a student that nobody trained: random weights and widths, statistics and a spread of alpha as if trained.

    Args:
        seed: Of everything.
        path: The weights' file.
        pixels: RGB, uint8, (N, H, W, 3), that its statistics are taken of.
    """
    import torch

    from edgemat.model import weights
    from edgemat.model.student import Student, StudentConfig

    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    widths = tuple(int(width) for width in rng.choice([8, 16, 24], 3))
    depths = tuple(int(depth) for depth in rng.integers(1, 3, 3))
    net = Student(StudentConfig(arch="mobile" if seed % 4 == 3 else "friendly", widths=widths, depths=depths))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    floats = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    net.train()
    with torch.no_grad():
        for _ in range(30):
            net.logits(floats)
        net.eval()
        logits = net.logits(floats)
        spread = float(rng.uniform(0.05, 0.5)) / logits.std()
        net.head.weight.mul_(spread)
        net.head.bias.copy_(float(rng.uniform(0.3, 0.9)) - spread * (logits.mean() - net.head.bias))
    card = {"version": "0.0", "license": "Apache-2.0", "author": "the tests", "description": f"Student {seed}."}
    weights.save(net, path, card)


def pictures(seed: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return images of one seed, RGB, uint8, (3, height, width, 3): cuts of photographs, one of them as noise."""
    rng = np.random.default_rng(1000 + seed)
    found = calib_data.load().images
    made = []
    for place in rng.choice(len(found), _IMAGES, replace=False):
        image = calib_data.resize(found[place], height + 32, width + 32)
        top, left = rng.integers(0, 33, 2)
        made.append(image[top : top + height, left : left + width])
    made[-1] = rng.integers(0, 256, (height, width, 3), np.uint8)
    return np.stack(made)


def export_one(seed: int, folder: Path) -> tuple[exported.Exported, npt.NDArray[np.uint8]]:
    """Export one student to every artefact; return the folder and the images that parity shall run on."""
    import onnx

    from edgemat.quantize.calibrate import calibrate
    from edgemat.quantize.scheme import Scheme

    height, width = SIZES[seed % len(SIZES)]
    pixels = pictures(seed, height, width)
    student(seed, folder / "student.safetensors", pixels)
    plain = _trunk.from_student(folder / "student.safetensors", height, width, folder / "float.onnx", pixels)
    source = folder / "grid.onnx"
    shutil.copyfile(plain.path, source)
    grid = calibrate(onnx.load(source), pixels, Scheme.parse(SCHEME), METHODS[seed % len(METHODS)])
    trunks = Trunks(plain, {SCHEME: dataclasses.replace(plain, path=source, grid=grid)})
    _frame.export(trunks, artefacts(ends=True), folder / "out", pixels)
    return exported.read(folder / "out"), pictures(seed + 500, height, width)


def run_all(
    folder: Path, seeds: int = SEEDS, on_progress: Callable[[str], None] = lambda _: None
) -> Iterator[Untouched]:
    """Export and judge ``seeds`` students; images of parity are others than those that the grid was fitted to."""
    for seed in range(seeds):
        on_progress(f"untouched, seed {seed}")
        place = folder / f"seed-{seed}"
        place.mkdir()
        found, pixels = export_one(seed, place)
        yield from (Untouched(seed, None, f"{fail.target} {fail.precision}: {fail.message}") for fail in found.failed)
        for image, name in zip(pixels, "abc", strict=True):
            write_png(place / "images" / f"{name}.png", image)
        given = sets.load(place / "images", *pixels.shape[1:3])
        yield from (Untouched(seed, outcome) for outcome in run.parity(found, given).outcomes)
        shutil.rmtree(place)
