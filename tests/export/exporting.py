"""The frame's export as the command line calls it: one precision for all targets, or each one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemat.export import _frame
from edgemat.export._target import Target, Trunks
from edgemat.verify.report import Report


def export_(
    trunks: Trunks,
    targets: Sequence[Target],
    precision: str | None,
    out: Path,
    images: npt.NDArray[np.uint8],
    on_progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Export; ``precision`` None takes each target's default."""
    wanted = [(target, precision or target.default_precision) for target in targets]
    return _frame.export(trunks, wanted, out, images, on_progress)
