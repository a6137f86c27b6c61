"""Bring an image and its mattes to a network's size alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgemat import calib_data
from edgemat.data.types import Example


def fit(example: Example, size: int) -> Example:
    """Scale, keeping proportions, until the size is covered (bicubic), and cut in the middle.

    Args:
        example: Of any size.
        size: Height and width of the result, pixels.

    Returns:
        The example itself where it has the size already.

    Example:
        >>> fit(Example(np.zeros((9, 7, 3), np.uint8), np.ones((9, 7), np.float32)), 4).alpha.shape
        (4, 4)
    """
    if example.alpha.shape == (size, size):
        return example
    teacher = None if example.teacher is None else np.clip(_fit(example.teacher, size), 0, 1)
    uncertainty = None if example.uncertainty is None else np.maximum(_fit(example.uncertainty, size), 0)
    alpha = np.clip(_fit(example.alpha, size), 0, 1)
    return Example(calib_data.resize(example.image, size, size), alpha, teacher, uncertainty)


def _fit(plane: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    from PIL import Image, ImageOps

    # Bicubic overshoots at edges; what may not is cut by the caller.
    return np.asarray(ImageOps.fit(Image.fromarray(plane), (size, size), Image.Resampling.BICUBIC), np.float32)
