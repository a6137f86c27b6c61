"""What several processes of one run must agree on: when to stop, how good they are, where they begin, who failed."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import torch
from torch import nn

from edgemat.errors import EdgematError, InputError

if TYPE_CHECKING:
    from accelerate import Accelerator

_PATIENCE = timedelta(hours=2)
"""How long the others wait while the first process validates and writes."""


def start() -> Accelerator:
    """Return the engine, which knows how many processes there are and what each computes on."""
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    # The recipe says where bfloat16 is safe: an engine's own mixed precision would round the losses too.
    return Accelerator(mixed_precision="no", kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)])


def expect_data_parallel(engine: Accelerator, prepared: nn.Module) -> None:
    """Check that each process has the whole network.

    Raises:
        InputError: The engine was told to split it.
    """
    if engine.num_processes > 1 and not isinstance(prepared, nn.parallel.DistributedDataParallel):
        raise InputError(
            f"accelerate launch: found {engine.distributed_type.value}, expected plain data parallelism; "
            "launch with --multi_gpu, or choose it with: accelerate config"
        )


def expect_one_beginning(engine: Accelerator, step: int, out: Path) -> None:
    """Check that all processes go on from the same step.

    Raises:
        InputError: They do not: they see different folders.
    """
    if engine.num_processes == 1:
        return
    steps = engine.gather(torch.tensor([step], device=engine.device)).tolist()
    if len(set(steps)) > 1:
        raise InputError(
            f"--out {out}: the processes find checkpoints of steps {', '.join(map(str, steps))} in it; "
            "expected one folder that all machines share"
        )


def agreed(engine: Accelerator, figure: float) -> float:
    """Return the first process's figure in every process, so that all stop at the same step."""
    if engine.num_processes == 1:
        return figure
    mine = torch.tensor(figure if engine.is_main_process else 0.0, dtype=torch.float64, device=engine.device)
    return float(engine.reduce(mine, "sum"))


@contextlib.contextmanager
def stop_on_signal(engine: Accelerator) -> Iterator[Callable[[], bool]]:
    """Yield a question that turns true in all processes at SIGINT or SIGTERM to any, so that all end at one step."""
    hit: list[int] = []

    def remember(number: int, _: FrameType | None) -> None:
        hit.append(number)

    def stopped() -> bool:
        if engine.num_processes == 1:
            return bool(hit)
        return bool(engine.reduce(torch.tensor(float(bool(hit)), device=engine.device), "sum") > 0)

    before = {s: signal.signal(s, remember) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
        # A launcher ends all others when one has ended: none goes before the checkpoint is written.
        engine.wait_for_everyone()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def blame_the_right_one(engine: Accelerator) -> Iterator[None]:
    """Where a process fails because another has ended, say so.

    Raises:
        EdgematError: Another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower()
        if engine.num_processes == 1 or not lost:
            raise
        raise EdgematError(
            f"process {engine.process_index} lost another one; the message of the one that ended first says why"
        ) from error
