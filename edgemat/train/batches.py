"""Batches of examples as tensors, by index, so that a resumed run needs no state of its loader."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgemat.data.types import Example
from edgemat.train.recipe import Recipe

Source = Callable[[int], Example]
"""Makes or reads example number ``index``, for any index from 0; the same index gives the same bytes."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step sees.

    Attributes:
        image: RGB, float32, (B, 3, H, W), in [0, 1].
        alpha: Ground truth, float32, (B, 1, H, W), in [0, 1].
        teacher: A teacher's alpha, like ``alpha``; None where no teacher was asked.
        uncertainty: Its expected absolute error, float32, (B, 1, H, W), at least 0; None likewise.
    """

    image: Tensor
    alpha: Tensor
    teacher: Tensor | None = None
    uncertainty: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device, images in the layout that convolutions are fastest in."""
        image = self.image.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        moved = {k: None if (v := getattr(self, k)) is None else v.to(device) for k in ("teacher", "uncertainty")}
        return replace(self, image=image, alpha=self.alpha.to(device), **moved)


class _Tensors(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Examples by index as tensors, 8-bit where 8 bits were stored: a quarter of the bytes between processes."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        example = self.source(index)
        tensors = {
            "image": torch.from_numpy(np.ascontiguousarray(example.image.transpose(2, 0, 1))),
            "alpha": _eight_bits(example.alpha),
        }
        if example.teacher is not None and example.uncertainty is not None:
            tensors["teacher"] = _eight_bits(example.teacher)
            tensors["uncertainty"] = torch.from_numpy(np.ascontiguousarray(example.uncertainty))[None]
        return tensors


def _eight_bits(alpha: npt.NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.round(alpha * 255.0).astype(np.uint8))[None]


def batches(source: Source, recipe: Recipe, start: int, rank: int = 0, processes: int = 1) -> Iterator[Batch]:
    """Yield one process's part of the batches of steps ``start`` and later.

    Args:
        source: Where examples come from.
        recipe: Its batch, steps and workers count.
        start: Steps done before.
        rank: Which of the processes this is, from 0.
        processes: Number of processes that share each batch evenly; it divides ``recipe.batch``.
    """
    part = recipe.batch // processes
    firsts = (i * recipe.batch + rank * part for i in range(start, recipe.steps))
    loader = torch.utils.data.DataLoader(
        _Tensors(source),
        batch_sampler=(list(range(first, first + part)) for first in firsts),
        collate_fn=_collate,
        num_workers=recipe.workers,
        prefetch_factor=4 if recipe.workers else None,
        worker_init_fn=_leave_signals_to_the_loop,
        # Not by fork: threads of native run times in this process may hold locks that a copy would wait for.
        multiprocessing_context="spawn" if recipe.workers else None,
    )
    # A terminal's signals wait while workers start: they begin with those blocked that they are to ignore.
    with _blocked():
        arriving = iter(loader)
    for tensors in arriving:
        scaled = {k: v.float() / 255.0 if v.dtype == torch.uint8 else v for k, v in tensors.items()}
        yield Batch(**scaled)


def _collate(examples: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Join what all examples have: where one lacks a teacher's word, the teacher is asked for the whole batch."""
    names = [name for name in examples[0] if all(name in example for example in examples)]
    joined: dict[str, Tensor] = torch.utils.data.default_collate([{n: e[n] for n in names} for e in examples])
    return joined


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def _blocked() -> Iterator[None]:
    """Hold back SIGINT and SIGTERM in this thread, and in processes that it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_signals_to_the_loop(_: int) -> None:
    """Ignore SIGINT and SIGTERM in a worker: a terminal sends them to all, and the loop ends the run in order."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
