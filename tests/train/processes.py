"""One process of a tiny training run that keeps each step's loss: processes.py OUT [--fault FAULT --at STEP] ..."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from edgemat.data.types import Example, Sample
from edgemat.errors import EdgematError
from edgemat.model.student import StudentConfig
from edgemat.train import loop, losses
from edgemat.train.recipe import StudentRecipe
from edgemat.train.stages import TOTAL, StudentStage

STEPS = 50
RECIPE = StudentRecipe(
    student=StudentConfig(widths=(8, 8, 8), depths=(1, 1, 1)),
    size=32,
    steps=STEPS,
    batch=8,
    warmup=5,
    bfloat16=False,
    checkpoint_every=10,
    validate_every=25,
    workers=0,
)
CARD = {"version": "0", "license": "none", "author": "test", "description": "test", "command": "test"}


def square(index: int) -> Example:
    """A square on a ground; both differ in brightness from sample to sample, so that no two slices are alike."""
    rng = np.random.default_rng(index)
    alpha = np.zeros((32, 32), np.float32)
    y, x = rng.integers(0, 16, 2)
    alpha[y : y + 16, x : x + 16] = 1.0
    bright, dark = rng.integers(120, 230), rng.integers(0, 100)
    image = np.where(alpha[..., None] > 0, bright, dark) + rng.integers(0, 20, (32, 32, 3))
    return Example(image=image.astype(np.uint8), alpha=alpha)


def validation() -> list[Sample]:
    """Four squares that are not trained on."""
    examples = [square(10**6 + i) for i in range(4)]
    return [Sample(e.image, e.alpha, e.alpha, e.alpha, face_id="square") for e in examples]


class Precise(StudentStage):
    """Trains in float64: rounding, which training multiplies, is then too small to hide a difference behind."""

    def build(self, init: Path | None) -> torch.nn.Module:
        return super().build(init).double()

    def prepare(self, batch: loop.Batch) -> loop.Batch:
        return dataclasses.replace(batch, image=batch.image.double(), alpha=batch.alpha.double())

    def predict(self, net: torch.nn.Module, images: np.ndarray) -> tuple[np.ndarray, None]:
        return super().predict(net.float(), images)

    def save(self, net: torch.nn.Module, path: Path, card: Mapping[str, str], init: Path | None) -> None:
        super().save(net.float(), path, card, init)


class Kept(loop.Run):
    """A run that keeps the loss of each step, and the gradients of the first and the last one after clipping."""

    losses: list[float]
    gradients: dict[str, torch.Tensor]

    def __init__(self, *words: object) -> None:
        super().__init__(*words)  # type: ignore[arg-type]
        self.losses, self.gradients = [], {}
        runs.append(self)

    def update(self, batch: loop.Batch) -> dict[str, float]:
        values = super().update(batch)
        self.losses.append(values[TOTAL])
        if self.step in (1, STEPS):
            for name, parameter in self.net.named_parameters():
                assert parameter.grad is not None
                self.gradients[f"gradient.{self.step}.{name}"] = parameter.grad.detach().clone()
        return values

    def keep(self, path: Path) -> None:
        """Write what was kept, and the state at the end."""
        tensors = {"losses": torch.tensor(self.losses, dtype=torch.float64), **self.gradients}
        tensors |= {f"net.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.items()}
        save_file({k: v.contiguous() for k, v in tensors.items()}, path)


runs: list[Kept] = []


def plant(fault: str, at: int, stop: int) -> loop.Source:
    """Plant a fault, and return the source of examples."""
    rank = int(os.environ.get("RANK", "0"))
    if fault == "unsynchronised":
        loop.synchronize = lambda net, device: net  # type: ignore[assignment]
    if fault == "nan":
        plain = losses.plain
        losses.plain = lambda logits, truth: plain(logits, truth) * (float("nan") if runs[0].step == at else 1.0)

    def source(index: int) -> Example:
        step, slot = divmod(index, RECIPE.batch)
        if step + 1 == stop and slot == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        if step == at and rank == 1 and slot == RECIPE.batch // 2:
            if fault == "broken":
                raise EdgematError("a planted fault of the second process's data")
            if fault == "sigterm":
                os.kill(os.getpid(), signal.SIGTERM)
        return square(index)

    return source


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--fault", default="")
    parser.add_argument("--at", type=int, default=-1)
    parser.add_argument("--stop", type=int, default=-1, help="step at which to ask for an early end")
    parser.add_argument("--precision", choices=("float64", "float32", "bfloat16"), default="float64")
    words = parser.parse_args()
    loop.Run = Kept  # type: ignore[misc]
    source = plant(words.fault, words.at, words.stop)
    stage = Precise if words.precision == "float64" else StudentStage
    recipe = dataclasses.replace(RECIPE, bfloat16=words.precision == "bfloat16")
    done = loop.train(stage(recipe), source, validation(), words.out, card=CARD)
    rank = os.environ.get("RANK", "0")
    runs[0].keep(words.out / f"kept-{rank}.safetensors")
    print(f"process {rank}: {'complete' if done else 'stopped'} at {runs[0].step}", flush=True)


if __name__ == "__main__":
    main()
