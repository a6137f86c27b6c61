"""The shipped recipes: every file reads, and a wrong name says which there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemat.errors import InputError
from edgemat.model.student import StudentConfig
from edgemat.model.teacher import TeacherConfig
from edgemat.quantize.scheme import SCHEMES
from edgemat.train import recipes


@pytest.mark.parametrize("name", recipes.names())
def test_every_shipped_recipe_reads(name: str) -> None:
    find = {"teacher": recipes.teacher, "qat": recipes.qat}.get(name.split("-")[0], recipes.student)
    assert find(name).steps > 0


def test_every_scheme_has_a_recipe() -> None:
    schemes = {recipes.qat(name).scheme for name in recipes.names() if name.startswith("qat")}
    assert schemes == {scheme.name for scheme in SCHEMES}


def test_the_plain_recipe_and_its_candidate_train_the_default_student() -> None:
    assert recipes.student("plain").student == StudentConfig() == recipes.candidates()["friendly"].student


def test_candidates_get_the_same_training() -> None:
    budgets = [{k: v for k, v in r.plain().items() if k != "student"} for r in recipes.candidates().values()]
    assert len(budgets) >= 2
    assert all(budget == budgets[0] for budget in budgets)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"--recipe best: no such recipe; shipped: .*plain"):
        recipes.student("best")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: cannot be read as TOML"):
        recipes.student(str(tmp_path / "none.toml"))


def test_the_distillation_and_the_ablation_ask_a_teacher_and_train_the_shipped_student() -> None:
    distil, ablation = recipes.student("distil"), recipes.student("ablation")
    assert distil.needs_teacher
    assert (distil.weighting, ablation.weighting) == ("up", "none")  # an arm sets its own
    assert ablation.teacher_share == distil.teacher_share == 0.5
    assert ablation.strength == distil.strength
    assert distil.student == ablation.student == recipes.student("plain").student
    assert not recipes.student("plain").needs_teacher


def test_the_shipped_teacher_is_the_default_one() -> None:
    assert recipes.teacher("teacher").teacher == TeacherConfig()


def test_a_students_recipe_is_no_teachers() -> None:
    with pytest.raises(InputError, match=r"teacher_share.*known fields: .*sure_after"):
        recipes.teacher("distil")
    with pytest.raises(InputError, match=r"known fields: .*keep_init"):
        recipes.student("teacher")
