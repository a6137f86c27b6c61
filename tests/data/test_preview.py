"""The contact sheet shows what the samples are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgemat.data.preview import contact_sheet, triptych, write_contact_sheet
from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.images import read_rgb


def _sample(level: int, alpha: float, size: int = 8) -> Sample:
    matte = np.full((size, size), alpha, np.float32)
    return Sample(np.full((size, size, 3), level, np.uint8), matte, matte, matte, "face")


def test_skin_shows_and_the_rest_is_green() -> None:
    opaque, clear = triptych(_sample(90, 1.0)), triptych(_sample(90, 0.0))
    assert opaque.shape == (8, 24, 3)
    assert (opaque[:, :8] == 90).all()
    assert (opaque[:, 8:16] == 255).all()
    assert (opaque[:, 16:] == 90).all()
    assert (clear[:, 8:16] == 0).all()
    assert clear[0, 20].tolist() == [0, 200, 80]


def test_rows_and_columns() -> None:
    samples = [_sample(10 * i, 1.0) for i in range(5)]
    sheet = contact_sheet(samples, columns=2)
    assert sheet.shape == (3 * 12 - 4, 2 * 28 - 4, 3)
    assert (sheet[24:32, :8] == 40).all()
    assert (sheet[24:32, 28:] == 24).all()
    assert contact_sheet(samples[:1], columns=9).shape == (8, 24, 3)


def test_sheet_is_written_whole(tmp_path: Path) -> None:
    samples = [_sample(77, 0.5)]
    write_contact_sheet(tmp_path / "new" / "sheet.png", samples)
    np.testing.assert_array_equal(read_rgb(tmp_path / "new" / "sheet.png"), contact_sheet(samples))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["sheet.png"]


def test_nothing_to_show() -> None:
    with pytest.raises(InputError, match="0 samples in 4 columns"):
        contact_sheet([])
    with pytest.raises(InputError, match="in 0 columns"):
        contact_sheet([_sample(1, 1.0)], columns=0)
    with pytest.raises(ValueError, match="expected one size"):
        contact_sheet([_sample(1, 1.0), _sample(1, 1.0, 16)])
