"""Draw what was compared: image, reference, each artefact, and the amplified difference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.files import atomic_path

if TYPE_CHECKING:
    from edgemat.export._target import Alphas, Images

AMPLIFIED = 100
"""A difference of 1/100 is drawn white."""
_ROWS = 6
_TILE = 160
_HEAD = 18
_GAP = 4


def write(path: Path, images: Images, reference: Alphas, alphas: Mapping[str, Alphas]) -> None:
    """Write a picture with one row an image and two columns an artefact.

    Args:
        path: The PNG file to write.
        images: RGB, uint8, (N, H, W, 3); six rows spread over them are drawn.
        reference: float32, (N, H, W), in [0, 1].
        alphas: Label to alpha, float32, (N, H, W); values outside [0, 1] and NaN are clamped.
    """
    import numpy as np
    from PIL import Image, ImageDraw

    rows = sorted({round(i) for i in np.linspace(0, len(images) - 1, min(_ROWS, len(images)))})
    columns = {"image": images[rows], "reference": _gray(reference[rows])}
    for label, alpha in alphas.items():
        columns[label] = _gray(alpha[rows])
        columns[f"{label} off x{AMPLIFIED}"] = _gray(AMPLIFIED * np.abs(alpha[rows] - reference[rows]))
    width = _TILE * images.shape[2] // images.shape[1]
    step_x, step_y = width + _GAP, _TILE + _GAP
    sheet = Image.new("RGB", (step_x * len(columns) - _GAP, _HEAD + step_y * len(rows) - _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for x, (label, tiles) in enumerate(columns.items()):
        draw.text((x * step_x + 2, 3), label, fill="black")
        for y, tile in enumerate(tiles):
            picture = Image.fromarray(tile).resize((width, _TILE), Image.Resampling.BILINEAR)
            sheet.paste(picture, (x * step_x, _HEAD + y * step_y))
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def _gray(alpha: Alphas) -> Images:
    """Return alpha, (N, H, W), as grey pixels, uint8, (N, H, W, 3)."""
    import numpy as np

    clean = np.clip(np.nan_to_num(alpha, nan=1.0), 0.0, 1.0)
    return np.repeat((clean * 255).round().astype(np.uint8)[..., None], 3, -1)
