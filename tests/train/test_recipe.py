"""The recipe: impossible values are refused, and plain values read back the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemat.errors import InputError
from edgemat.train.recipe import StudentRecipe, TeacherRecipe


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


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"teacher_share": 1.5}, r"teacher_share = 1\.5, expected a share"),
        ({"keep_init": -0.1}, r"keep_init = -0\.1, expected a share"),
        ({"weighting": "sideways"}, "weighting = 'sideways', expected one of none, up, down"),
        ({"strength": -1}, "strength = -1"),
        ({"patience": -1}, "patience = -1"),
        ({"mild": 2}, "mild = 2"),
    ],
)
def test_an_impossible_students_recipe_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        StudentRecipe.from_mapping(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nll": 0}, "nll = 0"),
        ({"beta": 1.1}, r"beta = 1\.1"),
        ({"sure_after": -1}, "sure_after = -1"),
        ({"teacher": {"likelihood": "cauchy"}}, "likelihood 'cauchy'"),
        ({"size": 32, "teacher": {"widths": [8] * 6, "depths": [0] * 6}}, "size = 32, expected a multiple of 64"),
    ],
)
def test_an_impossible_teachers_recipe_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TeacherRecipe.from_mapping(values)


def test_a_teachers_recipe_survives_json() -> None:
    read = TeacherRecipe.from_mapping({"teacher": {"widths": [8, 8], "depths": [0, 1], "log_scale": [-5, 0]}})
    assert read.teacher.log_scale == (-5, 0)
    assert TeacherRecipe.from_mapping(read.plain()) == read


def test_a_recipe_survives_toml_and_json(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('steps = 7\n[student]\narch = "mobile"\nwidths = [8, 8, 8]\n')
    read = StudentRecipe.from_toml(path)
    assert (read.steps, read.student.arch, read.student.widths) == (7, "mobile", (8, 8, 8))
    assert StudentRecipe.from_mapping(read.plain()) == read
    path.write_text(read.to_toml())
    assert StudentRecipe.from_toml(path) == read
