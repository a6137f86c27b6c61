"""The strata that an image counts in: occluder class, number of occluders, face size and skin tone, bins fixed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

FAMILIES = ("occluder", "number", "size", "skin")
"""Class of an occluder, how many there are, the face's height in the frame, and the skin's tone."""
TONES = ("very light", "light", "intermediate", "tan", "brown", "dark")
SIZES = ("small", "medium", "large")

_UNKNOWN = "unknown"
_BELOW = {"small": 0.6, "medium": 0.7, "large": math.inf}


def skin_tone(ita: float) -> str:
    """Name the class of an individual typology angle (Chardon et al., 1991; Del Bino and Bernerd, 2013).

    Args:
        ita: Individual typology angle, degrees; NaN when it is not known.

    Example:
        >>> [skin_tone(angle) for angle in (60, 55, 30, 10, -30, -31)]
        ['very light', 'light', 'intermediate', 'tan', 'brown', 'dark']
    """
    if math.isnan(ita):
        return _UNKNOWN
    if ita > 55:
        return "very light"
    lowest = {"light": 41, "intermediate": 28, "tan": 10, "brown": -30}
    return next((tone for tone, low in lowest.items() if ita >= low), "dark")


def face_height(hull: npt.NDArray[np.float32]) -> float:
    """Return the height of the face's outline over the frame's, NaN when there is none.

    The outline of the mesh says how near a face is, whatever hair and beard leave of its skin; a share of the frame
    that skin covers would call a face behind a fringe small.

    Args:
        hull: The mesh's hull, float32, (H, W), in [0, 1].

    Example:
        >>> hull = np.zeros((8, 8), np.float32); hull[2:6, 3] = 1
        >>> face_height(hull)
        0.5
    """
    rows = np.flatnonzero((hull >= 0.5).any(axis=1))
    return float(rows[-1] - rows[0] + 1) / len(hull) if rows.size else math.nan


def face_size(height: float) -> str:
    """Name the size of a face: small below 0.6 of the frame's height, large from 0.7 on.

    The hold-out's faces are 0.46 to 0.86 of the frame high, so that each bin holds a good share of them.

    Args:
        height: Height of the face over the frame's; NaN when it is not known.

    Example:
        >>> [face_size(height) for height in (0.59, 0.6, 0.69, 0.7)]
        ['small', 'medium', 'medium', 'large']
    """
    return next((size for size, limit in _BELOW.items() if height < limit), _UNKNOWN)


def groups(kinds: Sequence[str], ita: float, height: float) -> tuple[str, ...]:
    """Name every group that an image counts in, as ``family: name``.

    Args:
        kinds: Classes of its occluders; empty when the face is free, ``unknown`` when nobody knows.
        ita: Skin tone, degrees, or NaN.
        height: Height of the face over the frame's, or NaN.

    Example:
        >>> groups(["hand", "hand"], 50.0, 0.4)
        ('occluder: hand', 'number: 2', 'size: small', 'skin: light')
        >>> groups([], 50.0, 0.4)[:2]
        ('occluder: none', 'number: 0')
    """
    number = _UNKNOWN if _UNKNOWN in kinds else str(len(kinds))
    classes = (f"occluder: {kind}" for kind in sorted(set(kinds)) or ["none"])
    return (*classes, f"number: {number}", f"size: {face_size(height)}", f"skin: {skin_tone(ita)}")


def ordered(found: Iterable[str]) -> list[str]:
    """Sort groups by family, then by name, number, size or tone; what is unknown comes last.

    Example:
        >>> ordered(["skin: dark", "size: large", "size: small", "occluder: hand", "occluder: cup"])
        ['occluder: cup', 'occluder: hand', 'size: small', 'size: large', 'skin: dark']
    """
    ranks = {name: rank for names in (SIZES, TONES) for rank, name in enumerate(names)}

    def key(group: str) -> tuple[int, bool, int, str]:
        family, _, name = group.partition(": ")
        return FAMILIES.index(family), name == _UNKNOWN, ranks.get(name, 0), name

    return sorted(found, key=key)
