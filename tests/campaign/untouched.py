"""Export untouched students, many of them, each with its own weights, grid and images, and count what parity fails."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from edgemat.model.student import Student

SEEDS = 20
SIZES = ((256, 256), (192, 256), (256, 192), (224, 224))
PAIRS = (
    ("stages.1.0.first", "stages.1.0.second.0"),
    ("stages.2.0.first", "stages.2.0.second.0"),
    ("stages.2.1.first", "stages.2.1.second.0"),
    ("decoders.1.body", "laterals.0.0"),
    ("decoders.0.body", "head"),
)
"""Convolutions of the shipped student between which channels may change places and sizes: a Relu alone is there."""
METHODS = ("minmax", "percentile", "mse")
_IMAGES = 3


@dataclass(frozen=True)
class Untouched:
    """One artefact of one student.

    Attributes:
        seed: Of the student, its grid and its images.
        outcome: What parity made of it; that of what the export itself refused is an error.
    """

    seed: int
    outcome: Outcome

    @property
    def is_false_alarm(self) -> bool:
        """Whether it was said not to be what its trunk says; what its integers cost in quality is no such thing."""
        if self.outcome.state == "gate":
            return any(f.question == CONVERSION and not f.passed for f in self.outcome.figures)
        return self.outcome.failed


def student(seed: int, path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write a student of its own: of even seeds the shipped one, said otherwise; of odd ones untrained.

    Args:
        seed: Of everything.
        path: The weights' file.
        pixels: RGB, uint8, (N, H, W, 3), that an untrained one's statistics are taken of.
    """
    import torch

    from edgemat.model import weights

    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    net = _untrained(rng, pixels) if seed % 2 else _said_otherwise(rng)
    card = {"version": "0.0", "license": "Apache-2.0", "author": "the tests", "description": f"Student {seed}."}
    weights.save(net, path, card)


def _said_otherwise(rng: np.random.Generator) -> Student:
    """Return the shipped student with inner channels in another order and up to twice as large.

    Its mattes are a trained network's; its weights, scales, codes and roundings are others.
    """
    import torch

    from edgemat.model import weights

    net = weights.load(weights.shipped()).net
    state = net.state_dict()
    for first, second in PAIRS:
        count = len(state[f"{first}.1.weight"])
        order = torch.from_numpy(rng.permutation(count))
        factor = torch.from_numpy(np.exp(rng.uniform(0, 0.7, count)).astype(np.float32))
        for name in ("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
            state[f"{first}.{name}"] = state[f"{first}.{name}"][order]
        for name in ("1.weight", "1.bias"):
            state[f"{first}.{name}"] *= factor
        state[f"{second}.weight"] = state[f"{second}.weight"][:, order] / factor.reshape(1, -1, 1, 1)
    net.load_state_dict(state)
    return net


def _untrained(rng: np.random.Generator, pixels: npt.NDArray[np.uint8]) -> Student:
    """Return a student of random weights, widths and kind, its alpha mostly clamped, as that of a matte is."""
    import torch

    from edgemat.model.student import Student, StudentConfig

    first, second, third = (int(width) for width in rng.choice([8, 16, 24], 3))
    depths = (int(rng.integers(1, 3)), int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    arch = "mobile" if rng.random() < 0.3 else "friendly"
    net = Student(StudentConfig(arch=arch, widths=(first, second, third), depths=depths))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    floats = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    net.train()
    with torch.no_grad():
        for _ in range(30):  # moves the running statistics to what the images give
            net.logits(floats)
        net.eval()
        logits = net.logits(floats)
        spread = 0.06 / logits.std()
        net.head.weight.mul_(spread)
        net.head.bias.copy_(0.98 - spread * (logits.mean() - net.head.bias))
    return net


def pictures(seed: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return images of one seed, RGB, uint8, (3, height, width, 3): other pictures for each, cut elsewhere."""
    rng = np.random.default_rng(1000 + seed)
    found = calib_data.load().images
    made = []
    for place in rng.choice(len(found), _IMAGES, replace=False):
        image = calib_data.resize(found[place], height + 32, width + 32)
        top, left = rng.integers(0, 33, 2)
        made.append(image[top : top + height, left : left + width])
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
        for image, name in zip(pixels, "abc", strict=True):
            write_png(place / "images" / f"{name}.png", image)
        given = sets.load(place / "images", *pixels.shape[1:3])
        yield from (Untouched(seed, outcome) for outcome in run.judge(found, given)[0].outcomes)
        shutil.rmtree(place)
