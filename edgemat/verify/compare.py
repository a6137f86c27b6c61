"""Validate alpha and measure how far it is from its reference."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgemat.verify.report import Comparison

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Alphas = npt.NDArray[np.float32]


def complaints(alpha: Alphas, shape: tuple[int, ...], tolerance: float) -> list[str]:
    """Return what is wrong with an output before it is compared: type, shape, NaN, range.

    Args:
        alpha: What a runner returned, float32 expected.
        shape: The expected shape, (N, H, W).
        tolerance: How far beyond [0, 1] a value may be.
    """
    import numpy as np

    if not isinstance(alpha, np.ndarray) or alpha.dtype != np.float32 or alpha.shape != shape:
        found = f"{getattr(alpha, 'dtype', type(alpha).__name__)} {getattr(alpha, 'shape', '')}"
        return [f"the output is {found}, expected float32 {shape}"]
    bad = int((~np.isfinite(alpha)).sum())
    if bad:
        return [f"{bad} of {alpha.size} output values are NaN or infinite"]
    low, high = float(alpha.min()), float(alpha.max())
    if low < -tolerance or high > 1.0 + tolerance:
        return [f"the output is in [{low:.4g}, {high:.4g}], expected [0, 1]"]
    return []


def compare(alpha: Alphas, reference: Alphas) -> Comparison:
    """Return how far ``alpha`` is from ``reference``.

    Args:
        alpha: float32, (N, H, W), finite.
        reference: The same.

    Example:
        >>> import numpy as np
        >>> found = compare(np.full((1, 2, 2), 0.5, np.float32), np.full((1, 2, 2), 0.6, np.float32))
        >>> round(found.max_abs, 6), round(found.psnr, 3)
        (0.1, 20.0)
    """
    import numpy as np

    difference = np.abs(alpha.astype(np.float64) - reference.astype(np.float64))
    square = float(np.square(difference).mean())
    psnr = -10.0 * math.log10(square) if square > 0.0 else None
    return Comparison(float(difference.max()), float(difference.mean()), psnr, len(alpha))
