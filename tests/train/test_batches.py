"""Batches by index: scaled once, resumed anywhere, shared evenly by processes, with a teacher's word or without."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from edgemat.data.types import Example
from edgemat.train.batches import Batch, batches

from .tiny import square, student_recipe


def shade(index: int) -> Example:
    """An example that tells its number in every plane."""
    alpha = np.full((32, 32), index / 255, np.float32)
    doubt = np.full((32, 32), index / 1000, np.float32)
    return Example(np.full((32, 32, 3), index, np.uint8), alpha, 1 - alpha, doubt)


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let worker processes, which begin afresh, import this module, wherever pytest was started from."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))


def numbers(batch: Batch) -> list[int]:
    return [int(i) for i in (batch.image[:, 0, 0, 0] * 255).round()]


def test_planes_are_scaled_to_1_and_the_uncertainty_is_left_as_it_is() -> None:
    (batch,) = batches(shade, student_recipe(steps=1, batch=3), 0)
    assert batch.image.shape == (3, 3, 32, 32)
    assert batch.teacher is not None
    assert batch.uncertainty is not None
    for plane in (batch.alpha, batch.teacher, batch.uncertainty):
        assert plane.shape == (3, 1, 32, 32)
        assert plane.dtype == torch.float32
    expected = torch.arange(3.0)
    torch.testing.assert_close(batch.image[:, 1, 5, 7], expected / 255)
    torch.testing.assert_close(batch.alpha[:, 0, 5, 7], expected / 255)
    torch.testing.assert_close(batch.teacher[:, 0, 5, 7], 1 - expected / 255)
    torch.testing.assert_close(batch.uncertainty[:, 0, 5, 7], expected / 1000)


def test_channels_rows_and_columns_keep_their_places() -> None:
    image = np.arange(32 * 32 * 3, dtype=np.uint16).reshape(32, 32, 3).astype(np.uint8)
    (batch,) = batches(lambda _: Example(image, np.ones((32, 32), np.float32)), student_recipe(steps=1, batch=1), 0)
    np.testing.assert_array_equal((batch.image[0].permute(1, 2, 0) * 255).round().numpy(), image)


def test_a_batch_depends_on_its_step_alone() -> None:
    recipe = student_recipe(steps=5, batch=4)
    whole = [numbers(b) for b in batches(shade, recipe, 0)]
    assert whole == [list(range(4 * i, 4 * i + 4)) for i in range(5)]
    assert [numbers(b) for b in batches(shade, recipe, 3)] == whole[3:]
    assert list(batches(shade, recipe, 5)) == []


def test_processes_share_each_batch_without_overlap() -> None:
    recipe = student_recipe(steps=3, batch=4)
    parts = [[numbers(b) for b in batches(shade, recipe, 1, rank, 2)] for rank in (0, 1)]
    assert parts == [[[4, 5], [8, 9]], [[6, 7], [10, 11]]]


@pytest.mark.usefixtures("importable")
def test_workers_change_nothing() -> None:
    found = [numbers(b) for b in batches(shade, student_recipe(steps=3, batch=2, workers=2), 0)]
    assert found == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.usefixtures("importable")
def test_workers_begin_with_a_terminals_signals_blocked_and_the_loop_keeps_its_own() -> None:
    """Between a worker's start and its first line a signal to the whole group would end it, and the run with it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    loaded = batches(masked, student_recipe(steps=1, batch=1, workers=1), 0)
    (batch,) = loaded
    assert int(batch.image[0, 0, 0, 0] * 255) == 1  # unblocked again, but ignored
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def masked(_: int) -> Example:
    """An example that tells whether its process ignores both signals and blocks none."""
    ignored = all(signal.getsignal(number) is signal.SIG_IGN for number in (signal.SIGINT, signal.SIGTERM))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGINT, signal.SIGTERM}
    return shade(int(ignored and not blocked))


@pytest.mark.usefixtures("importable")
def test_a_worker_is_no_copy_of_this_process() -> None:
    """Native run times do not survive a fork; what this process has loaded and set, a worker has not."""
    global _HERE
    _HERE = True
    (batch,) = batches(copied, student_recipe(steps=1, batch=1, workers=1), 0)
    assert int(batch.image[0, 0, 0, 0] * 255) == 0


_HERE = False


def copied(_: int) -> Example:
    return shade(int(_HERE))


def test_without_a_teacher_there_is_none() -> None:
    (batch,) = batches(square, student_recipe(steps=1), 0)
    assert batch.teacher is None
    assert batch.uncertainty is None


@pytest.mark.parametrize("bare", [0, 1])
def test_a_batch_of_which_a_part_has_a_teachers_word_has_none(bare: int) -> None:
    def source(index: int) -> Example:
        example = shade(index)
        return Example(example.image, example.alpha) if index == bare else example

    (batch,) = batches(source, student_recipe(steps=1, batch=2), 0)
    assert batch.teacher is None
    assert numbers(batch) == [0, 1]


def test_an_alpha_without_its_uncertainty_is_no_word() -> None:
    def source(index: int) -> Example:
        example = shade(index)
        return Example(example.image, example.alpha, example.teacher)

    (batch,) = batches(source, student_recipe(steps=1), 0)
    assert batch.teacher is None


def test_moving_keeps_every_plane() -> None:
    (batch,) = batches(shade, student_recipe(steps=1), 0)
    moved = batch.to(torch.device("cpu"))
    assert moved.image.is_contiguous(memory_format=torch.channels_last)
    for name in ("image", "alpha", "teacher", "uncertainty"):
        assert torch.equal(getattr(moved, name), getattr(batch, name))
    bare = Batch(batch.image, batch.alpha).to(torch.device("cpu"))
    assert bare.teacher is None
