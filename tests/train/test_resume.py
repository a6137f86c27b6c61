"""A run goes on where it stopped, and only there: teachers, early ends, faults, and checkpoints that do not fit."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from edgemat.data.types import Example
from edgemat.errors import EdgematError, InputError, OutputError
from edgemat.train import checkpoint, loop, losses
from edgemat.train.stages import Stage, StudentStage, TeacherStage

from ..full_disk import a_full_disk
from .tiny import CARD, IMAGES, VALIDATION, square, student_recipe, teacher, teacher_recipe

Source = Callable[[int], Example]


class StoppedError(Exception):
    """Stands for a kill: nothing of the loop's own clean-up runs for it."""


def stop_at(step: int) -> Source:
    def source(index: int) -> Example:
        if index >= step * 2:
            raise StoppedError
        return square(index)

    return source


def unread(index: int) -> Example:
    """A source that a complete run must not touch."""
    raise AssertionError("a complete run trained on")


def train(stage: Stage, out: Path, source: Source = square, init: Path | None = None) -> bool:
    return loop.train(stage, source, VALIDATION, out, card=CARD, init=init)


def same(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def distilled(seed: int = 0) -> StudentStage:
    return StudentStage(student_recipe(teacher_share=0.5, weighting="up"), teacher(seed), IMAGES)


STAGES = {"teacher": lambda: TeacherStage(teacher_recipe()), "distilled student": distilled}


@pytest.mark.parametrize("kind", STAGES)
def test_a_resumed_run_is_bit_identical(kind: str, tmp_path: Path) -> None:
    stage = STAGES[kind]()
    assert train(stage, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(STAGES[kind](), tmp_path / "parts", stop_at(3))
    assert checkpoint.load(tmp_path / "parts" / loop.CHECKPOINT).step == 2
    assert train(STAGES[kind](), tmp_path / "parts")
    for name in (loop.CHECKPOINT, stage.weights_name):
        assert same(tmp_path / "whole" / name, tmp_path / "parts" / name)


def test_the_card_and_the_recipe_on_disk_say_what_was_measured(tmp_path: Path) -> None:
    stage = distilled()
    train(stage, tmp_path)
    with safe_open(tmp_path / "student.safetensors", framework="pt") as file:
        card = file.metadata()
    assert float(card["reference"]) == pytest.approx(stage.constants["reference"], rel=1e-5)
    assert card["steps"] == "6 of 6"
    assert type(stage.recipe).from_toml(tmp_path / "recipe.toml") == stage.recipe


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> dict[int, dict[str, torch.Tensor]]:
    """Let validations give 5, 4, 6, 7, ...; return the averaged weights at each."""
    seen: dict[int, dict[str, torch.Tensor]] = {}
    mads = {1: 5.0, 2: 4.0}

    def validate(run: loop.Run, *_: object) -> dict[str, float]:
        seen[run.step] = {k: v.clone() for k, v in run.averaged().state_dict().items()}
        return {"mad": mads.get(run.step, run.step + 3.0), "iou": 0.5}

    monkeypatch.setattr(loop, "_validate", validate)
    return seen


def test_early_stopping_keeps_the_best_weights(scripted: dict[int, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    stage = StudentStage(student_recipe(steps=50, validate_every=1, patience=2))
    assert train(stage, tmp_path)
    assert sorted(scripted) == [1, 2, 3, 4]
    path = tmp_path / "student.safetensors"
    kept = load_file(path)
    assert all(torch.equal(kept[k], scripted[2][k]) for k in kept)
    assert any(not torch.equal(kept[k], scripted[4][k]) for k in kept)
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["steps"] == "2 of 50"


def test_a_run_that_ended_early_is_complete_when_it_is_started_again(
    scripted: dict[int, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    stage = StudentStage(student_recipe(steps=50, validate_every=1, patience=2))
    train(stage, tmp_path)
    path = tmp_path / "student.safetensors"
    before = path.read_bytes()
    path.unlink()
    assert train(stage, tmp_path, unread)
    assert path.read_bytes() == before
    assert sorted(scripted) == [1, 2, 3, 4]


def test_the_best_weights_survive_a_kill(scripted: dict[int, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    stage = StudentStage(student_recipe(steps=50, validate_every=1, patience=2, checkpoint_every=1))
    with pytest.raises(StoppedError):
        train(stage, tmp_path, stop_at(3))
    assert train(stage, tmp_path)
    kept = load_file(tmp_path / "student.safetensors")
    assert all(torch.equal(kept[k], scripted[2][k]) for k in kept)


def test_a_complete_run_is_only_read(tmp_path: Path) -> None:
    stage = TeacherStage(teacher_recipe())
    train(stage, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.glob("*.safetensors")}
    assert train(stage, tmp_path, unread)
    assert {p.name: p.read_bytes() for p in tmp_path.glob("*.safetensors")} == before


def test_a_loss_that_is_not_finite_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = TeacherStage(teacher_recipe())
    train(stage, tmp_path / "whole")
    plain, calls = losses.plain, iter(range(100))
    monkeypatch.setattr(losses, "plain", lambda a, t: plain(a, t) * (float("nan") if next(calls) == 3 else 1.0))
    with pytest.raises(EdgematError, match="step 3: the loss is nan; the last checkpoint is intact"):
        train(stage, tmp_path / "parts")
    saved = checkpoint.load(tmp_path / "parts" / loop.CHECKPOINT)
    assert saved.step == 2
    assert all(torch.isfinite(v).all() for k, v in saved.tensors.items() if not k.startswith("stopping."))
    assert train(stage, tmp_path / "parts")  # the fault is over
    assert same(tmp_path / "whole" / "teacher.safetensors", tmp_path / "parts" / "teacher.safetensors")


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    stage = StudentStage(student_recipe())
    with pytest.raises(StoppedError):
        train(stage, tmp_path, stop_at(3))
    path = tmp_path / loop.CHECKPOINT
    before = path.read_bytes()
    with a_full_disk(len(before) // 2), pytest.raises(OutputError, match=r"checkpoint\.safetensors: cannot be written"):
        train(stage, tmp_path)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))
    assert train(stage, tmp_path)


def test_another_stages_checkpoint_is_refused(tmp_path: Path) -> None:
    train(StudentStage(student_recipe()), tmp_path / "student")
    with pytest.raises(InputError, match=r"checkpoint\.safetensors: made by another recipe \(.*teacher was None"):
        train(TeacherStage(teacher_recipe()), tmp_path / "student")
    train(TeacherStage(teacher_recipe()), tmp_path / "teacher")
    with pytest.raises(InputError, match=r"checkpoint\.safetensors: made by another recipe \(.*student was None"):
        train(StudentStage(student_recipe()), tmp_path / "teacher")


def test_a_checkpoint_of_another_teachers_student_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        train(distilled(), tmp_path, stop_at(3))
    with pytest.raises(InputError, match=r"made with another --teacher or --init \(mean_u was"):
        train(distilled(seed=1), tmp_path)


def rewrite(path: Path, change: Callable[[dict[str, str], dict[str, torch.Tensor]], object]) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    tensors = load_file(path)
    change(metadata, tensors)
    save_file(tensors, path, metadata)


def test_the_last_digits_of_a_teachers_doubt_may_differ(tmp_path: Path) -> None:
    """Another machine sums in another order; and earlier checkpoints do not note the constants at all."""
    with pytest.raises(StoppedError):
        train(distilled(), tmp_path, stop_at(3))

    def nudge(metadata: dict[str, str], _: object) -> None:
        config = json.loads(metadata["config"])
        config["constants"]["reference"] *= 1 + 1e-6
        metadata["config"] = json.dumps(config)

    def forget(metadata: dict[str, str], _: object) -> None:
        config = json.loads(metadata["config"])
        del config["constants"]
        metadata["config"] = json.dumps(config)

    for change in (nudge, forget):
        rewrite(tmp_path / loop.CHECKPOINT, change)
        with pytest.raises(StoppedError):
            train(distilled(), tmp_path, stop_at(3))


@pytest.mark.parametrize(
    "name", ["model.head.bias", "ema.head.weight", "optimizer.0.exp_avg", "optimizer.3.step", "stopping.bad"]
)
def test_a_checkpoint_that_lacks_a_tensor_is_refused(name: str, tmp_path: Path) -> None:
    stage = StudentStage(student_recipe())
    with pytest.raises(StoppedError):
        train(stage, tmp_path, stop_at(3))
    path = tmp_path / loop.CHECKPOINT
    rewrite(path, lambda _, tensors: tensors.pop(name))
    with pytest.raises(InputError, match=rf"checkpoint\.safetensors: .*{name}: found None, expected .*another --out"):
        train(stage, tmp_path)


def test_a_checkpoint_with_a_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    stage = StudentStage(student_recipe())
    with pytest.raises(StoppedError):
        train(stage, tmp_path, stop_at(3))
    rewrite(tmp_path / loop.CHECKPOINT, lambda _, t: t.update({"ema.head.bias": torch.zeros(3), "odd": torch.ones(1)}))
    with pytest.raises(InputError, match=r"ema\.head\.bias: found \(3,\)"):
        train(stage, tmp_path)


def test_the_best_weights_must_be_whole_where_there_are_any(
    scripted: dict[int, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    stage = StudentStage(student_recipe(steps=50, validate_every=1, patience=2))
    train(stage, tmp_path)
    rewrite(tmp_path / loop.CHECKPOINT, lambda _, tensors: tensors.pop("best.head.bias"))
    with pytest.raises(InputError, match=r"best\.head\.bias: found None"):
        train(stage, tmp_path)


def test_the_logs_are_closed_at_the_end_and_on_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[loop.Monitor] = []
    monkeypatch.setattr(loop.Monitor, "close", lambda self: closed.append(self))

    def interrupted(index: int) -> Example:
        os.kill(os.getpid(), signal.SIGINT)
        return square(index)

    assert not train(StudentStage(student_recipe()), tmp_path, interrupted)
    assert train(StudentStage(student_recipe()), tmp_path)
    assert len(closed) == 2


def test_a_validation_sheet_shows_a_teachers_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[object] = []
    monkeypatch.setattr(loop.Monitor, "sheet", lambda self, *planes: shown.append(planes))
    train(TeacherStage(teacher_recipe(steps=3)), tmp_path)
    ((step, images, truth, alpha, uncertainty),) = shown  # type: ignore[misc]
    assert step == 3
    np.testing.assert_array_equal(images, IMAGES)
    assert truth.shape == alpha.shape == uncertainty.shape
