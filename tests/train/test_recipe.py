"""The recipe: impossible values are refused, and plain values read back the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemat.errors import InputError
from edgemat.train.recipe import StudentRecipe


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, "stepz"),
        ({"steps": 0}, "steps = 0"),
        ({"size": 40}, "multiple of 32"),
        ({"learning_rate": -1}, "learning_rate"),
        ({"student": {"arch": "huge"}}, "arch 'huge'"),
        ({"student": {"normalization": {"std": [0, 1, 1]}}}, "std must be positive"),
    ],
)
def test_an_impossible_recipe_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        StudentRecipe.from_mapping(values)


def test_a_recipe_survives_toml_and_json(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('steps = 7\n[student]\narch = "mobile"\nwidths = [8, 8, 8]\n')
    read = StudentRecipe.from_toml(path)
    assert (read.steps, read.student.arch, read.student.widths) == (7, "mobile", (8, 8, 8))
    assert StudentRecipe.from_mapping(read.plain()) == read
