"""Draw the first tensor that parts: its worst channel as the reference and as the artefact have it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgemat.images import write_png
from edgemat.verify.sheet import table

if TYPE_CHECKING:
    from edgemat.verify.bisect.result import Bisection

Reals = npt.NDArray[np.float64]
_SIDE = 256
"""Pixels that the longer side of a panel has at least."""
_MORE = np.array([0.85, 0.1, 0.1])
_LESS = np.array([0.1, 0.3, 0.9])


def write(found: Bisection, path: str | os.PathLike[str]) -> bool:
    """Write a PNG of four panels; return whether there was anything to draw.

    Reference and artefact are drawn on one scale of grey, that of the reference's channel. The difference is amplified
    so that its largest value is full colour: red where the artefact is above the reference, blue where it is below.

    Args:
        found: Of an artefact that parts; nothing is drawn of another, or where the tensor has another shape.
        path: The goal.

    Raises:
        OutputError: The file cannot be written.
    """
    part, evidence = found.first, found.evidence
    if part is None or evidence is None or evidence.expected.shape != evidence.found.shape:
        return False
    channel = part.place[0] if part.place else 0
    expected, actual = (_plane(values, channel) for values in (evidence.expected, evidence.found))
    low, high = float(expected.min()), float(expected.max())
    span = max(high - low, 1e-12)
    difference = np.nan_to_num(actual - expected, nan=span, posinf=span, neginf=-span)
    largest = float(np.abs(difference).max()) or 1.0
    panels = [
        evidence.image / 255,
        np.clip((expected - low) / span, 0, 1),
        np.clip(np.nan_to_num(actual - low, nan=0.0, posinf=span, neginf=0.0) / span, 0, 1),
        _signed(difference / largest),
    ]
    side = max(_SIDE, *expected.shape)
    size = tuple(round(n * side / max(expected.shape)) for n in expected.shape)
    titles = ("image", "reference", "artefact", f"difference x{span / largest:.3g}, red: artefact is above")
    captions = (f"{part.tensor}, channel {channel} of {found.name}", f"from {low:.3g} to {high:.3g}")
    write_png(path, table(titles, [(captions, [_enlarged(panel, size) for panel in panels])]))
    return True


def _plane(values: npt.NDArray[np.generic], channel: int) -> Reals:
    """Return one channel, (H, W); of a tensor of another rank all values, in rows."""
    reals = values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return reals[0, channel] if reals.ndim == 4 else reals.reshape(reals.shape[0], -1)


def _signed(difference: Reals) -> Reals:
    """Return differences in [-1, 1] as colours on white, (H, W, 3)."""
    strength = np.abs(difference)[..., None]
    colour = np.where(difference[..., None] > 0, _MORE, _LESS)
    colours: Reals = 1.0 - strength * (1.0 - colour)
    return colours


def _enlarged(panel: Reals, size: tuple[int, ...]) -> Reals:
    """Return a panel at a size, every pixel repeated: what is shown is what was computed."""
    rows, columns = (np.arange(goal) * n // goal for goal, n in zip(size, panel.shape, strict=False))
    enlarged: Reals = panel[rows][:, columns]
    return enlarged
