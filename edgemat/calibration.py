"""The images on which every artefact is compared with its reference: the shipped ones, or a folder of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import InputError
from edgemat.images import read_rgb

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_SUFFIXES = (".png", ".jpg", ".jpeg")


def load(folder: Path | None, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Read every image of a folder, in the order of the names, at one size.

    An image of another shape is scaled, keeping its proportions, until it covers the size, and cut in the middle.

    Args:
        folder: Holds PNG or JPEG files; None takes the shipped images.
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        RGB, uint8, (N, height, width, 3), N at least 1.

    Raises:
        InputError: The folder is missing or holds no image, or an image cannot be used.
    """
    import numpy as np

    where = _shipped() if folder is None else folder
    if not where.is_dir():
        raise InputError(f"--calibration {where}: no such folder; expected a folder of PNG or JPEG images")
    files = sorted(p for p in where.iterdir() if p.suffix.lower() in _SUFFIXES and not p.name.startswith("."))
    if not files:
        raise InputError(
            f"--calibration {where}: holds no {', '.join(_SUFFIXES)} file, expected at least one; "
            "leave the option out to take the shipped images"
        )
    return np.stack([_fit(read_rgb(file), height, width) for file in files])


def _shipped() -> Path:
    from edgemat import calib_data

    return Path(calib_data.__path__[0])


def _fit(image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    import numpy as np
    from PIL import Image, ImageOps

    if image.shape[:2] == (height, width):
        return image
    return np.asarray(ImageOps.fit(Image.fromarray(image), (width, height), Image.Resampling.BICUBIC))
