"""The loader's and the steps' speed: measured in turns, on the recipe's batch, and told in one line."""

from __future__ import annotations

import itertools
import time

import pytest

from edgemat.data.types import Example
from edgemat.train import speed
from edgemat.train.speed import Speed, measure
from edgemat.train.stages import StudentStage

from .tiny import square, student_recipe


def test_the_ratio_and_the_line() -> None:
    found = Speed(loader=90.0, steps=60.0, workers=2)
    assert found.ratio == 1.5
    assert str(found) == "loader 90 samples/s (2 processes), steps 60 samples/s: ratio 1.50, aimed at 3"


def test_a_slow_loader_is_told_apart_from_the_steps() -> None:
    def slow(index: int) -> Example:
        time.sleep(0.02)
        return square(index)

    found = measure(StudentStage(student_recipe(batch=2)), slow, rounds=1, seconds=0.2)
    assert 0 < found.loader <= 50
    assert found.steps > 0
    assert found.workers == 0


def test_a_recipe_of_few_steps_is_measured_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight batches are passed over and more are timed, whatever the recipe's steps."""
    asked: list[int] = []

    def source(index: int) -> Example:
        asked.append(index)
        return square(index)

    ticks = itertools.count()
    monkeypatch.setattr(speed.time, "perf_counter", lambda: float(next(ticks)))
    found = measure(StudentStage(student_recipe(steps=1, batch=2)), source, rounds=2, seconds=5.0)
    assert max(asked) > 8 * 2
    # Each question of the clock is a second: five batches of two between the first and the last.
    assert found.loader == found.steps
    assert 1 < found.loader < 2
