"""An output is validated before it is compared, and compared against an independent formula."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from edgemat.verify.compare import compare, complaints


def test_against_scikit_image() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.random((2, 3, 16, 16), np.float32)
    found = compare(one, two)
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(one, two, data_range=1.0), abs=1e-4)
    assert found.max_abs == pytest.approx(np.abs(one - two).max())
    assert found.mean_abs == pytest.approx(np.abs(one - two).mean(), rel=1e-5)
    assert found.images == 3
    assert compare(one, one).psnr is None


@pytest.mark.parametrize(
    ("alpha", "complaint"),
    [
        (np.zeros((1, 4, 4), np.float32), None),
        (np.full((1, 4, 4), 1.0 + 5e-4, np.float32), None),
        (np.full((1, 4, 4), 1.01, np.float32), "in [1.01, 1.01], expected [0, 1]"),
        (np.full((1, 4, 4), -0.01, np.float32), "expected [0, 1]"),
        (np.full((1, 4, 4), np.inf, np.float32), "16 of 16 output values are NaN or infinite"),
        (np.zeros((1, 4, 4), np.float16), "float16 (1, 4, 4), expected float32 (1, 4, 4)"),
        (np.zeros((1, 1, 4, 4), np.float32), "float32 (1, 1, 4, 4), expected float32 (1, 4, 4)"),
        ([0.0], "list"),
    ],
)
def test_complaints(alpha: object, complaint: str | None) -> None:
    found = complaints(alpha, (1, 4, 4), 1e-3)  # type: ignore[arg-type]
    assert (found == []) if complaint is None else (complaint in found[0])
