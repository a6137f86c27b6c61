"""Measure how fast examples arrive and how fast steps are taken, each alone, to find the bottleneck."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgemat.train import processes
from edgemat.train.batches import Batch, Source, batches
from edgemat.train.loop import Run
from edgemat.train.recipe import Recipe
from edgemat.train.stages import Stage

ENOUGH = 3.0
"""The loader should be this many times faster than the steps, so that it needs a third of a machine at most."""


@dataclass(frozen=True)
class Speed:
    """Two rates, measured in turns.

    Attributes:
        loader: Samples a second of the loader alone; median over the rounds.
        steps: Samples a second of the training steps alone, on batches that are there already; median likewise.
        workers: Processes of the loader.
    """

    loader: float
    steps: float
    workers: int

    @property
    def ratio(self) -> float:
        """How many times faster the loader is."""
        return self.loader / self.steps

    def __str__(self) -> str:
        """Return one line."""
        return (
            f"loader {self.loader:.0f} samples/s ({self.workers} processes), steps {self.steps:.0f} samples/s: "
            f"ratio {self.ratio:.2f}, aimed at {ENOUGH:g}"
        )


def measure(stage: Stage, source: Source, rounds: int = 5, seconds: float = 4.0) -> Speed:
    """Time the loader and the steps in turns, each alone on the machine.

    Args:
        stage: Its recipe's batch, size and workers count; its network is trained from fresh weights.
        source: Where examples come from.
        rounds: Turns of each.
        seconds: Least time of a turn.
    """
    run = Run(stage, None, processes.start())
    endless = replace(stage.recipe, steps=sys.maxsize // stage.recipe.batch)  # a fast loader may outrun a short recipe
    loader, steps = [], []
    ready = _first(source, stage.recipe)
    run.update(ready)  # what is done once only
    for _ in range(rounds):
        stream = batches(source, endless, 0)
        for _ in range(8 * max(1, stage.recipe.workers)):  # what was made while the processes began to run
            next(stream)
        loader.append(_rate(stream, stage.recipe.batch, seconds))
        del stream
        steps.append(_rate(_stepping(run, ready), stage.recipe.batch, seconds))
    return Speed(statistics.median(loader), statistics.median(steps), stage.recipe.workers)


def _first(source: Source, recipe: Recipe) -> Batch:
    return next(batches(source, replace(recipe, workers=0), 0))


def _stepping(run: Run, batch: Batch) -> Iterator[None]:
    while True:
        run.update(batch)
        yield


def _rate(turns: Iterator[object], batch: int, seconds: float) -> float:
    """Return samples a second of an endless iterator of batches."""
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        next(turns)
        count += batch
    return count / (time.perf_counter() - begun)
