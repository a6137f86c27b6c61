"""A contact sheet of samples: image, matte, and the image's skin over green, side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.images import write_png

_GREEN = np.array([0, 200, 80], np.float32)
_GAP = 4


def triptych(sample: Sample) -> npt.NDArray[np.uint8]:
    """Show one sample: image, matte, and what of the image the matte calls skin over green.

    Args:
        sample: Any size.

    Returns:
        RGB, uint8, (H, 3 W, 3).

    Example:
        >>> grey, half = np.full((2, 2, 3), 100, np.uint8), np.full((2, 2), 0.5, np.float32)
        >>> picture = triptych(Sample(grey, half, half, half, "face"))
        >>> picture[0, ::2].tolist()
        [[100, 100, 100], [128, 128, 128], [50, 150, 90]]
    """
    alpha = np.clip(sample.alpha, 0, 1)[..., None]
    matte = np.rint(np.repeat(alpha * 255, 3, axis=2))
    over_green = np.rint(sample.image * alpha + _GREEN * (1 - alpha))
    return np.concatenate([sample.image, matte, over_green], axis=1).astype(np.uint8)


def contact_sheet(samples: Sequence[Sample], columns: int = 4) -> npt.NDArray[np.uint8]:
    """Lay samples out in rows, each as a triptych, with dark gaps between.

    Args:
        samples: At least one, all of one size.
        columns: Triptychs a row.

    Returns:
        RGB, uint8, (rows (H + 4) - 4, columns (3 W + 4) - 4, 3).

    Raises:
        InputError: There is no sample, or ``columns`` is below one.
        ValueError: The samples differ in size.
    """
    if not samples or columns < 1:
        raise InputError(f"contact sheet: {len(samples)} samples in {columns} columns, expected at least one of each")
    sizes = {sample.image.shape for sample in samples}
    if len(sizes) != 1:
        raise ValueError(f"contact sheet: samples of sizes {sorted(sizes)}, expected one size")
    height, width = samples[0].image.shape[:2]
    columns = min(columns, len(samples))
    rows = -(-len(samples) // columns)
    down, right = height + _GAP, 3 * width + _GAP
    sheet = np.full((rows * down - _GAP, columns * right - _GAP, 3), 24, np.uint8)
    for i, sample in enumerate(samples):
        top, left = i // columns * down, i % columns * right
        sheet[top : top + height, left : left + 3 * width] = triptych(sample)
    return sheet


def write_contact_sheet(path: str | os.PathLike[str], samples: Sequence[Sample], columns: int = 4) -> None:
    """Write :func:`contact_sheet` as a PNG, completely or not at all.

    Args:
        path: The goal.
        samples: At least one, all of one size.
        columns: Triptychs a row.

    Raises:
        InputError: There is no sample.
        OutputError: The goal cannot be written.
    """
    write_png(path, contact_sheet(samples, columns))
