"""The emoji occluders: which of them make sense before a face, of what kind, in which split, in which skin colour."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from edgemat.data.registry import folder
from edgemat.data.splits import SPLITS, split_of_occluder
from edgemat.data.types import Occluder
from edgemat.errors import InputError

_TONES = frozenset(f"{c:x}" for c in range(0x1F3FB, 0x1F400))
_VARIATION = "fe0f"

# An allow list, hexadecimal code points and inclusive ranges. What is not here is senseless before a face (flags,
# arrows, symbols, clocks, keycaps, buildings, vehicles) or looks like a face or a person itself (smileys, people,
# most animals, dolls, masks).
_CODE_POINTS = {
    "hand": """
        261d 270a-270d 1f446-1f450 1f485 1f590 1f595 1f596 1f64c 1f64f 1f90c 1f90f 1f918-1f91f 1f932 1f933
        1faf0-1faf8""",
    "glasses": "1f453 1f576 1f97d 1f93f",
    "hat": "1f3a9 1f393 1f451 1f452 1f9e2 1fa96 26d1",
    "microphone": "1f3a4 1f399",
    "phone": "1f4f1 1f4de",
    "cup": "2615 1f375-1f37c 1f37e 1f942 1f943 1f95b 1f964 1f9c3 1f9c9 1f9cb 1fad6 1fad7 1fad9",
    "food": """
        1f32d-1f330 1f336 1f33d 1f345-1f371 1f373 1f374 1f37d 1f37f 1f382 1f950-1f95a 1f95c-1f963 1f965-1f96f
        1f9c0-1f9c2 1f9c4-1f9c8 1f9ca 1fad0-1fad5 1fad8 1fada 1fadb""",
    "plant": "2618 1f331-1f335 1f337-1f33c 1f33e-1f344 1f384 1f38b 1f38d 1f490 1f940 1fab4-1fab8 1fabb",
    "object": """
        231a 2602 2692-2694 2699 26bd 26be 26cf 26f8 2702 270f 2712 1f302 1f321 1f380 1f381 1f388-1f38a 1f38f 1f390
        1f392 1f396 1f397 1f39e 1f39f 1f3a7 1f3a8 1f3ac 1f3ae 1f3b1-1f3b3 1f3b7-1f3c0 1f3c5 1f3c6 1f3c8 1f3c9
        1f3cf-1f3d3 1f3ee 1f3f7-1f3fa 1f41a 1f454-1f456 1f45b-1f45f 1f462 1f484 1f488 1f489 1f48d 1f48e 1f4a1 1f4a3
        1f4b0 1f4b3-1f4b7 1f4bb-1f4c2 1f4c7 1f4cb-1f4da 1f4dc 1f4dd 1f4e2 1f4e3 1f4e6 1f4ef 1f4f0 1f4f7-1f4fd 1f4ff
        1f50b-1f50f 1f511-1f514 1f526-1f52a 1f52c-1f52e 1f56f 1f579 1f587 1f58a-1f58d 1f5b1 1f5bc 1f5d1 1f5d2 1f5de
        1f6cd 1f6de 1f6df 1f6e0 1f6e1 1f6f7 1f6f9 1f6fc 1f941 1f944 1f94a-1f94f 1f97e 1f97f 1f98b 1f9af 1f9b4 1f9be
        1f9e3-1f9e6 1f9e8-1f9ed 1f9ef-1f9f7 1f9f9-1f9fe 1fa70 1fa74 1fa7a 1fa7c 1fa80-1fa84 1fa87 1fa88 1fa91-1fa95
        1fa97-1faa8 1faad 1faae 1fab6 1fab9""",
}
_WORKING_PIXELS = 256


def _expand(code_points: str) -> list[int]:
    ends = [part.partition("-") for part in code_points.split()]
    return [c for first, _, last in ends for c in range(int(first, 16), int(last or first, 16) + 1)]


_KIND_OF = {f"{code:x}": kind for kind, text in _CODE_POINTS.items() for code in _expand(text)}


def codepoint_id(name: str) -> str:
    """Return an emoji's code points without skin tone and variation selector: all tones share one split.

    Args:
        name: Lower-case hexadecimal code points joined by ``-``.

    Example:
        >>> codepoint_id("1f590-fe0f"), codepoint_id("1f590-1f3fd")
        ('1f590', '1f590')
    """
    return "-".join(part for part in name.split("-") if part not in _TONES and part != _VARIATION)


def kind_of(name: str) -> str | None:
    """Return the kind of occluder that an emoji is, or None where it makes no sense before a face.

    Args:
        name: Lower-case hexadecimal code points joined by ``-``.

    Example:
        >>> kind_of("1f44b-1f3fd"), kind_of("1f453"), kind_of("1f600")
        ('hand', 'glasses', None)
    """
    return _KIND_OF.get(codepoint_id(name))


def load_occluders(split: str, cache_dir: Path | None = None) -> list[Occluder]:
    """Read the emoji occluders of one split, cut to what is visible.

    Args:
        split: ``train``, ``val`` or ``test``. All skin tones of a gesture fall into the same split.
        cache_dir: Cache folder of the fetched data; the default one if None.

    Returns:
        Occluders sorted by name, at most 256 pixels a side. Hands are without motion marks and nail-polish bottles.

    Raises:
        InputError: The split is not known, the package is not fetched, or an image cannot be read.
    """
    if split not in SPLITS:
        raise InputError(f"occluder split {split!r} is not known; expected one of {', '.join(SPLITS)}")
    found = []
    for file in sorted((folder("fluent-emoji-3d", cache_dir) / "assets").glob("*.webp")):
        kind = kind_of(file.stem)
        if kind is not None and split_of_occluder(file.stem) == split:
            rgba = _read(file)
            if kind == "hand":
                rgba = largest_part(rgba)
            found.append(Occluder(file.stem, kind, crop_visible(rgba)))
    return found


def _read(file: Path) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(file) as image:
            rgba = np.asarray(image.convert("RGBA"))
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{file}: not a readable image ({error}). Fetch it again: edgemat data fetch") from error
    if max(rgba.shape[:2]) > _WORKING_PIXELS:
        raise InputError(f"{file}: {rgba.shape[1]}x{rgba.shape[0]} pixels, expected at most {_WORKING_PIXELS}")
    return rgba


def largest_part(rgba: npt.NDArray[np.uint8], share: float = 0.25) -> npt.NDArray[np.uint8]:
    """Make transparent what does not belong to the main shape.

    Args:
        rgba: Straight RGBA, uint8, (H, W, 4).
        share: Parts (8-connected, alpha over 16) below this share of the largest one's area are dropped.

    Returns:
        RGBA, uint8, (H, W, 4).

    Example:
        >>> dots = np.zeros((3, 9, 4), np.uint8)
        >>> dots[:, :5], dots[1, 8] = 255, 255
        >>> int((largest_part(dots)[..., 3] > 0).sum())
        15
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats((rgba[..., 3] > 16).astype(np.uint8), connectivity=8)
    if count <= 2:
        return rgba
    areas = stats[1:, cv2.CC_STAT_AREA]
    parts = np.isin(labels, 1 + np.flatnonzero(areas >= share * areas.max())).astype(np.uint8)
    kept = cv2.dilate(parts, np.ones((3, 3), np.uint8))  # the faint antialiased rim belongs to its part
    out = rgba.copy()
    out[kept == 0] = 0
    return out


def crop_visible(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Cut an RGBA image to the box of its visible pixels, with one transparent pixel kept around.

    Args:
        rgba: Straight RGBA, uint8, (H, W, 4).

    Raises:
        InputError: No pixel is visible.

    Example:
        >>> crop_visible(np.pad(np.full((4, 6, 4), 255, np.uint8), ((5, 5), (9, 9), (0, 0)))).shape
        (6, 8, 4)
    """
    rows, columns = np.flatnonzero(rgba[..., 3].any(axis=1)), np.flatnonzero(rgba[..., 3].any(axis=0))
    if rows.size == 0:
        raise InputError("occluder image: every pixel is transparent, expected something visible")
    cut = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.ascontiguousarray(np.pad(cut, ((1, 1), (1, 1), (0, 0))))


def recolour_skin(
    rgba: npt.NDArray[np.uint8], colour: npt.NDArray[np.float32] | tuple[float, float, float]
) -> npt.NDArray[np.uint8]:
    """Give an emoji hand a human skin colour; its shading stays, as do sleeves, nails and things it holds.

    Skin is what is reddest in red and not too saturated, the emoji's violet rim light included. The shading is
    the pixel's luma over the median luma of the skin; shadows turn warmer, as light scattered in skin does.

    Args:
        rgba: Straight RGBA, uint8, (H, W, 4), a hand of any tone, yellow included.
        colour: RGB of the lit skin, 0 to 255.

    Returns:
        Straight RGBA, uint8, (H, W, 4), alpha untouched.

    Example:
        >>> yellow = np.full((2, 2, 4), (255, 200, 40, 255), np.uint8)
        >>> recolour_skin(yellow, (150.0, 110.0, 90.0))[0, 0].tolist()
        [150, 110, 90, 255]
    """
    red, green, blue = (rgba[..., i].astype(np.int16) for i in range(3))
    skin = (rgba[..., 3] > 0) & (red >= green) & (red >= blue) & (4 * green >= red)
    if not skin.any():
        return rgba
    luma = cv2.cvtColor(np.ascontiguousarray(rgba[..., :3]), cv2.COLOR_RGB2GRAY)
    middle = float(np.median(luma[skin]))
    shade = np.arange(256, dtype=np.float32)[:, None] / max(middle, 1.0)
    warmth = np.array([0.85, 1.0, 1.1], np.float32)  # exponents: red falls slower than blue in the shade
    table = np.asarray(colour, np.float32) * np.clip(shade, 0.05, 1.6) ** warmth
    lut = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    out = rgba.copy()
    out[..., :3][skin] = lut[luma[skin]]
    return out
