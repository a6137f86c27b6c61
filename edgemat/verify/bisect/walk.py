"""Walk an artefact and its reference in the trunk's order, and name the first tensor where they part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgemat.errors import BackendMissingError, InputError
from edgemat.export._target import IntegerGate
from edgemat.verify.bisect import float_walk, integer_walk
from edgemat.verify.compare import complaints

if TYPE_CHECKING:
    from edgemat.export._target import Images, Runner
    from edgemat.verify.bisect.result import Bisection
    from edgemat.verify.exported import Entry


def bisect(entry: Entry, images: Images, *, runner: Runner | None = None, cuts: bool = True) -> Bisection:
    """Return where an artefact parts from its reference.

    A linear walk: one run an image shows every tensor, and one more of the reference judges them all. Each tensor is
    compared with what the reference makes of the artefact's own tensors before it, so that the first one beyond its
    limit is where the fault arises, and not where it has grown.

    Args:
        entry: The artefact, and the trunk that it was made from.
        images: RGB, uint8, (N, H, W, 3), at the trunk's size; one or two are enough.
        runner: The artefact, open; it stays open. None opens it.
        cuts: Where a float backend shows no inner tensors and its output is wrong, export shorter trunks through the
            same target to find the fault, some seconds each.

    Raises:
        BackendMissingError: The target's packages are not installed.
        InputError: The images are of another size, the artefact cannot be opened, or its output has another shape.
    """
    shape = (entry.trunk.height, entry.trunk.width, 3)
    if images.dtype != np.uint8 or images.shape[1:] != shape or not len(images):
        raise InputError(f"images are {images.dtype} {images.shape}, expected uint8 (N, *{shape}), N >= 1")
    with opened(entry, runner) as running:
        alpha = running.run(images)
        if getattr(alpha, "shape", None) != images.shape[:3]:
            wrong = complaints(alpha, images.shape[:3], 1e-3)
            raise InputError(f"{entry.path}: {wrong[0]}; nothing to compare")
        if isinstance(entry.gate, IntegerGate):
            return integer_walk.walk(entry, entry.gate, running, images, alpha)
        return float_walk.walk(entry, entry.gate, running, images, alpha, cuts)


@contextlib.contextmanager
def opened(entry: Entry, runner: Runner | None = None) -> Iterator[Runner]:
    """Yield an artefact's runner: the one that is given, or its own, which is closed.

    Raises:
        BackendMissingError: The target's packages are not installed.
    """
    if runner is not None:
        yield runner
        return
    gone = entry.target.unavailable()
    if gone is not None:
        raise BackendMissingError(f"{entry.name}: {gone.reason}; {gone.install}")
    with entry.target.load(entry.path) as own:
        yield own
