"""What a run is validated on: composites of the fetched data, or a set of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgemat.data.shards import write_shards
from edgemat.data.types import Example
from edgemat.errors import InputError
from edgemat.images import write_png
from edgemat.train import run
from edgemat.train.recipe import StudentRecipe

RECIPE = StudentRecipe(size=32)


def example(shade: int) -> Example:
    return Example(np.full((40, 50, 3), shade, np.uint8), np.full((40, 50), shade / 255, np.float32))


def test_a_folder_is_read_at_the_recipe_s_size(tmp_path: Path) -> None:
    for name, shade in (("b", 200), ("a", 100)):
        write_png(tmp_path / "image" / f"{name}.png", example(shade).image)
        write_png(tmp_path / "alpha" / f"{name}.png", np.full((40, 50), shade, np.uint8))
    samples = run.validation_of(RECIPE, tmp_path)
    assert [(s.face_id, s.image.shape, int(s.image[0, 0, 0])) for s in samples] == [
        ("a", (32, 32, 3), 100),
        ("b", (32, 32, 3), 200),
    ]
    assert all(s.alpha.shape == (32, 32) and s.kinds == ("unknown",) and np.isnan(s.ita) for s in samples)


def test_shards_are_read_in_their_order(tmp_path: Path) -> None:
    write_shards([("one", example(10)), ("two", example(20))], tmp_path)
    samples = run.validation_of(RECIPE, tmp_path)
    assert [(s.face_id, round(float(s.alpha.mean() * 255))) for s in samples] == [("one", 10), ("two", 20)]


def test_without_the_fetched_data_the_way_out_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"edgemat data fetch.*--validation PATH"):
        run.validation_of(RECIPE, cache_dir=tmp_path)
