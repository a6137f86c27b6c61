"""The ablation: arms differ in what they say and nothing else, run seed by seed, and are resumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgemat.errors import InputError
from edgemat.model import weights
from edgemat.model.student import Student
from edgemat.train import run
from edgemat.train.ablate import ARMS, TRUTH, UNWEIGHTED, WEIGHTED, ablate, arm_recipe
from edgemat.train.monitor import Progress
from edgemat.train.recipe import StudentRecipe

from .tiny import CARD, STUDENT, VALIDATION, samples, square, student_recipe, teacher_file

RECIPE = student_recipe(teacher_share=0.5, strength=3.0, steps=2)
HOLDOUT = samples(6)
Call = tuple[StudentRecipe, Path, dict[str, object]]


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return teacher_file(tmp_path / "teacher.safetensors")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Let a run write a random student at once; return what was asked for."""
    seen: list[Call] = []

    def train_student(recipe: StudentRecipe, out: Path, **told: object) -> bool:
        seen.append((recipe, out, told))
        torch.manual_seed(len(seen))
        weights.save(Student(STUDENT), out / "student.safetensors", CARD)
        return True

    monkeypatch.setattr(run, "train_student", train_student)
    return seen


def test_arms_differ_in_what_they_say_and_nothing_else() -> None:
    base = RECIPE.plain()
    for arm, changes in ARMS.items():
        plain = arm_recipe(RECIPE, arm, seed=7).plain()
        assert {k: v for k, v in plain.items() if v != base[k]} == {
            k: v for k, v in {**changes, "seed": 7}.items() if v != base[k]
        }
    told = {arm: (arm_recipe(RECIPE, arm, 0).teacher_share, arm_recipe(RECIPE, arm, 0).weighting) for arm in ARMS}
    assert told == {
        "truth": (0.0, "none"),
        "unweighted": (0.5, "none"),
        "weighted": (0.5, "up"),
        "weighted-even": (0.5, "up"),
        "weighted-down": (0.5, "down"),
        "weighted-both": (0.5, "both"),
    }


def test_runs_go_seed_by_seed_with_the_same_beginning(calls: list[Call], net: Path, tmp_path: Path) -> None:
    out, data, init = tmp_path / "out", tmp_path / "data", tmp_path / "init"
    report = ablate(RECIPE, net, out, HOLDOUT, seeds=2, data=data, init=init)
    names = ["truth", "unweighted", "weighted", "weighted-even", "weighted-down", "weighted-both"]
    assert [path for _, path, _ in calls] == [out / f"{name}-{seed}" for seed in (0, 1) for name in names]
    assert [recipe for recipe, _, _ in calls] == [arm_recipe(RECIPE, arm, seed) for seed in (0, 1) for arm in ARMS]
    for recipe, path, told in calls:
        assert (told["data"], told["init"]) == (data, init)
        assert told["teacher"] == (net if recipe.needs_teacher else None)
        assert path.name in str(told["command"])
    assert report is not None
    assert report.seeds == dict.fromkeys(ARMS, 2)
    pairs = {(d.arm, d.reference) for d in report.differences}
    assert pairs == {(a, UNWEIGHTED) for a in ARMS if a != UNWEIGHTED} | {(a, TRUTH) for a in ARMS if a != TRUTH}


def test_without_the_truth_arm_nothing_is_compared_with_it(calls: list[Call], net: Path, tmp_path: Path) -> None:
    report = ablate(RECIPE, net, tmp_path / "out", HOLDOUT, arms=(UNWEIGHTED, WEIGHTED), seeds=1)
    assert report is not None
    assert {(d.arm, d.reference) for d in report.differences} == {(WEIGHTED, UNWEIGHTED)}
    assert report.few_seeds
    assert len(calls) == 2


def test_a_stopped_run_ends_the_experiment(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def stopped(recipe: StudentRecipe, out: Path, **_: object) -> bool:
        begun.append(out.name)
        return len(begun) < 3

    monkeypatch.setattr(run, "train_student", stopped)
    assert ablate(RECIPE, net, tmp_path / "out", HOLDOUT) is None
    assert begun == ["truth-0", "unweighted-0", "weighted-0"]


@pytest.mark.parametrize("arms", [("unweighted", "sideways"), ("weighted", "truth"), ()])
def test_unknown_and_missing_arms_are_refused(
    arms: tuple[str, ...], calls: list[Call], net: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"--arms .*: expected unweighted and others of truth, unweighted, weighted"):
        ablate(RECIPE, net, tmp_path / "out", HOLDOUT, arms=arms)
    assert calls == []


def test_a_single_arm_is_refused_before_it_is_trained(calls: list[Call], net: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--arms unweighted: expected unweighted and others"):
        ablate(RECIPE, net, tmp_path / "out", HOLDOUT, arms=(UNWEIGHTED,))
    assert calls == []


def test_a_recipe_that_asks_no_teacher_is_refused(calls: list[Call], net: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="teacher_share = 0: every arm would learn from ground truth alone"):
        ablate(student_recipe(), net, tmp_path / "out", HOLDOUT)
    assert calls == []


def test_a_file_that_is_no_teacher_is_refused_before_anything_is_trained(calls: list[Call], tmp_path: Path) -> None:
    weights.save(Student(STUDENT), tmp_path / "s.safetensors", CARD)
    for name, message in (("s.safetensors", "format 'edgemat-student'"), ("none.safetensors", "no such file")):
        with pytest.raises(InputError, match=message):
            ablate(RECIPE, tmp_path / name, tmp_path / "out", HOLDOUT)
    assert calls == []


def test_real_runs_begin_alike_end_apart_and_are_resumed(
    net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "validation_of", lambda *_: VALIDATION)
    monkeypatch.setattr(run, "source_of", lambda *_: square)
    told: list[tuple[str, Progress]] = []

    def again() -> object:
        told.clear()
        arms = (TRUTH, UNWEIGHTED, WEIGHTED)
        progress = lambda name, progress: told.append((name, progress))  # noqa: E731
        return ablate(RECIPE, net, tmp_path / "out", HOLDOUT, arms=arms, seeds=1, on_progress=progress)

    report = again()
    assert [name for name, _ in told] == ["truth-0", "unweighted-0", "weighted-0"]
    nets = [weights.load(tmp_path / "out" / name / "student.safetensors").net.state_dict() for name, _ in told]
    heads = [state["head.weight"] for state in nets]
    assert not torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[1], heads[2])
    assert float((heads[0] - heads[2]).abs().max()) < 0.05  # two steps from the same beginning
    monkeypatch.setattr(run, "source_of", lambda *_: None)  # a complete run reads no example
    resumed = again()
    assert told == []
    assert np.all([a == b for a, b in zip(report.means, resumed.means, strict=True)])  # type: ignore[attr-defined]
