"""What the made mattes get wrong and an eye put right: worn glasses, fringes, lit foreheads.

:mod:`edgemat.data.basematte` closes over thin frames, while a pair of glasses that the compositor puts on counts as an
occluder. So that labels do not contradict each other, the frames in the photos were traced by eye on enlarged
pictures, each line then moved to the darkest or brightest ridge within 2.5 pixels, and the result looked at again.
No network's prediction had a part in it. A frame is cut out; a clear lens stays the skin behind it. Where hair of the
skin's colour was taken for skin, or a lit forehead for none, an outline by hand cuts or adds.

The lines are kept in ``mends.json`` beside this module, by face id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgemat.data.basematte import Matte
from edgemat.data.masks import Float
from edgemat.errors import InputError

FILE = Path(__file__).with_name("mends.json")

_FINE = 8  # sub-pixels to a side that covers are drawn in
_HAND = 0.8  # pixels of blur of an outline drawn by hand, about as soft as a base matte's edge

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Stroke:
    """A line of one thickness: part of a frame, a bridge, a temple.

    Attributes:
        points: x and y in pixels from the image's upper left corner, whose first pixel has its middle at (0.5, 0.5).
        width: Thickness in pixels, above 0.
        closed: Whether the last point is joined to the first.
    """

    points: Points
    width: float
    closed: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        if len(self.points) < 2:
            raise ValueError(f"a stroke needs 2 points or more, found {len(self.points)}")
        if not self.width > 0:
            raise ValueError(f"a stroke's width must be above 0, found {self.width}")


@dataclass(frozen=True)
class Mend:
    """What to change in one face's base matte.

    Attributes:
        why: What was wrong.
        add: Outlines of what is skin; applied first.
        cut: Outlines of what is not skin.
        strokes: Lines that are not skin.
        flaw: The flaw that the mended matte has, empty for none; None keeps what was found before.
    """

    why: str
    add: tuple[Points, ...] = ()
    cut: tuple[Points, ...] = ()
    strokes: tuple[Stroke, ...] = ()
    flaw: str | None = None

    def __post_init__(self) -> None:
        """Refuse a mend without a reason or with an outline that holds nothing."""
        if not self.why:
            raise ValueError("a mend must say why")
        if min((len(ring) for ring in self.add + self.cut), default=3) < 3:
            raise ValueError("an outline needs 3 points or more")


def mended(matte: Matte, mend: Mend) -> Matte:
    """Apply a mend.

    >>> matte = Matte(np.ones((4, 9), np.float32), "")
    >>> bar = Mend("a bar", strokes=(Stroke(((-5.0, 2.0), (15.0, 2.0)), width=2.0),))
    >>> mended(matte, bar).alpha[:, 4].round().tolist()
    [1.0, 0.0, 0.0, 1.0]

    Args:
        matte: The base matte; it is not changed.
        mend: In pixels of that matte.

    Returns:
        The mended matte: only pixels that the mend covers differ.
    """
    shape = matte.alpha.shape
    alpha = np.maximum(matte.alpha, _outlined(mend.add, shape))
    alpha = alpha * (1 - _outlined(mend.cut, shape)) * (1 - _drawn(mend.strokes, shape))
    return Matte(alpha.astype(np.float32), matte.flaw if mend.flaw is None else mend.flaw)


@cache
def read_mends(file: Path = FILE) -> Mapping[str, Mend]:
    """Read the mends by face id.

    Raises:
        InputError: The file is not JSON, an id is not one of a face, or a mend is malformed.
    """
    try:
        faces = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: not JSON ({error}); restore the file from the package") from error
    if not isinstance(faces, dict):
        raise InputError(f"{file}: expected an object of mends by face id, found {type(faces).__name__}")
    return {name: _parsed(file, name, entry) for name, entry in faces.items()}


def _parsed(file: Path, name: str, entry: Any) -> Mend:
    if re.fullmatch("[0-9a-f]{16}", name) is None:
        raise InputError(f"{file}: {name!r} is not the id of a face; expected 16 hexadecimal digits")
    try:
        strokes = tuple(
            Stroke(_points(stroke["points"]), float(stroke["width"]), bool(stroke["closed"]))
            for stroke in entry.get("strokes", ())
        )
        add, cut = (tuple(_points(ring) for ring in entry.get(key, ())) for key in ("add", "cut"))
        unknown = set(entry) - {"why", "add", "cut", "strokes", "flaw"}
        if unknown:
            raise ValueError(f"unknown key {min(unknown)!r}")
        return Mend(entry["why"], add, cut, strokes, entry.get("flaw"))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: the mend of face {name} is malformed: {error!r}") from error


def _points(pairs: Sequence[Sequence[float]]) -> Points:
    return tuple((float(x), float(y)) for x, y in pairs)


def _outlined(rings: Sequence[Points], shape: tuple[int, ...]) -> Float:
    """Return how much of each pixel the rings cover, softly."""
    import cv2

    fine = np.zeros((shape[0] * _FINE, shape[1] * _FINE), np.uint8)
    for ring in rings:
        cv2.fillPoly(fine, [_fixed(ring)], 1, shift=4)
    return np.asarray(cv2.GaussianBlur(_shares(fine), (0, 0), _HAND), np.float32)


def _drawn(strokes: Sequence[Stroke], shape: tuple[int, ...]) -> Float:
    """Return how much of each pixel the strokes cover."""
    import cv2

    fine = np.zeros((shape[0] * _FINE, shape[1] * _FINE), np.uint8)
    for stroke in strokes:
        width = max(round(stroke.width * _FINE) - 1, 1)  # OpenCV draws a line one sub-pixel wider
        cv2.polylines(fine, [_fixed(stroke.points)], stroke.closed, 1, width, cv2.LINE_8, 4)
    return _shares(fine)


def _fixed(points: Points) -> Any:
    """Return points in sub-pixels with four binary places, as OpenCV draws them: a sub-pixel's middle is whole."""
    return np.round((np.array(points) * _FINE - 0.5) * 16).astype(np.int32)


def _shares(fine: Any) -> Float:
    high, wide = (side // _FINE for side in fine.shape)
    return fine.reshape(high, _FINE, wide, _FINE).mean(axis=(1, 3), dtype=np.float32)  # type: ignore[no-any-return]
