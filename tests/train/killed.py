"""One attempt at a tiny training run that kills itself: python killed.py OUT [--at STEP DELAY] [--forget-optimizer]."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from pathlib import Path

import numpy as np

from edgemat.data.types import Example, Sample
from edgemat.model.student import StudentConfig
from edgemat.train import checkpoint, loop
from edgemat.train.recipe import StudentRecipe
from edgemat.train.stages import StudentStage

RECIPE = StudentRecipe(
    student=StudentConfig(widths=(8, 8, 8), depths=(1, 1, 1)),
    size=32,
    steps=120,
    batch=2,
    warmup=5,
    learning_rate=1e-2,
    checkpoint_every=3,
    validate_every=10,
    patience=1000,  # never ends early, but the best weights so far are part of the state
    workers=0,
)
CARD = {"version": "0", "license": "none", "author": "test", "description": "test", "command": "test"}


def square(index: int) -> Example:
    """A bright square on a dark ground: alpha is the square."""
    rng = np.random.default_rng(index)
    alpha = np.zeros((32, 32), np.float32)
    y, x = rng.integers(0, 16, 2)
    alpha[y : y + 16, x : x + 16] = 1.0
    image = np.where(alpha[..., None] > 0, 200, 30) + rng.integers(0, 20, (32, 32, 3))
    return Example(image=image.astype(np.uint8), alpha=alpha)


def validation() -> list[Sample]:
    """Four squares that are not trained on."""
    examples = [square(10**6 + i) for i in range(4)]
    return [Sample(e.image, e.alpha, e.alpha, e.alpha, face_id="square") for e in examples]


class Killed:
    """A source of examples that ends its process, as ``kill -9`` does, a moment after a step asked for its examples."""

    def __init__(self, step: int, delay: float) -> None:
        self.first, self.delay, self.armed = step * RECIPE.batch, delay, False

    def __call__(self, index: int) -> Example:
        if index >= self.first and not self.armed:
            self.armed = True
            threading.Thread(target=self.kill, daemon=True).start()
        return square(index)

    def kill(self) -> None:
        threading.Event().wait(self.delay)
        os.kill(os.getpid(), signal.SIGKILL)


def forget_optimizer() -> None:
    """Plant a fault: checkpoints hold zeros for the optimiser's state."""
    save = checkpoint.save

    def without(state: checkpoint.Checkpoint, path: Path) -> None:
        tensors = {k: v * 0 if k.startswith("optimizer.") else v for k, v in state.tensors.items()}
        save(checkpoint.Checkpoint(state.step, state.config, tensors), path)

    checkpoint.save = without


def main() -> None:
    """Make one attempt."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--at", nargs=2, type=float)
    parser.add_argument("--forget-optimizer", action="store_true")
    words = parser.parse_args()
    if words.forget_optimizer:
        forget_optimizer()
    source = Killed(int(words.at[0]), words.at[1]) if words.at else square
    assert loop.train(StudentStage(RECIPE), source, validation(), words.out, card=CARD)


if __name__ == "__main__":
    main()
