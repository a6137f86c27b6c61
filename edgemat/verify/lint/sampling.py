"""Where a resize samples, as numbers: two operators agree when these do, whatever their formats call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from edgemat.verify.lint.facts import Resize

Places = npt.NDArray[np.float64]
TOLERANCE = 1e-4
"""Of a source pixel: beyond it two places differ."""
_ROUND: Mapping[str, Callable[[Places], Places]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
}


def places(resize: Resize) -> tuple[Places, Places] | None:
    """Return the source row of each row and the source column of each column that a resize makes.

    Whole numbers for ``nearest``; between the borders. Formulas: ONNX's Resize.

    Returns:
        float64, (rows,) and (columns,); None where sizes are open or the coordinates are in no known words.

    Example:
        >>> places(Resize("up", "up", "linear", "half_pixel", "", (2, 2), (4, 4)))[0].tolist()
        [0.0, 0.25, 0.75, 1.0]
    """
    if resize.before is None or resize.after is None:
        return None
    found = []
    for axis in range(2):
        before, after = resize.before[axis], resize.after[axis]
        scale = after / before if resize.scales is None else resize.scales[axis]
        along = _along(resize.coordinates, before, after, scale)
        if along is None:
            return None
        if resize.mode == "nearest":
            if resize.nearest not in _ROUND:
                return None
            along = _ROUND[resize.nearest](along)
        found.append(np.clip(along, 0, before - 1))
    return found[0], found[1]


def _along(coordinates: str, before: int, after: int, scale: float) -> Places | None:
    x = np.arange(after, dtype=np.float64)
    if coordinates in ("half_pixel", "half_pixel_symmetric"):
        return (x + 0.5) / scale - 0.5
    if coordinates == "pytorch_half_pixel":
        return (x + 0.5) / scale - 0.5 if after > 1 else np.zeros(after)
    if coordinates == "align_corners":
        return x * (before - 1) / (after - 1) if after > 1 else np.zeros(after)
    return x / scale if coordinates == "asymmetric" else None


def apart(first: Resize, second: Resize) -> float | None:
    """Return how far two resizes sample apart at most, in source pixels; None where that cannot be told."""
    one, two = places(first), places(second)
    if one is None or two is None:
        return None
    if any(a.shape != b.shape for a, b in zip(one, two, strict=True)):
        return float("inf")
    return max(float(np.abs(a - b).max()) for a, b in zip(one, two, strict=True))
