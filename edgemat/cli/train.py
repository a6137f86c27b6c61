"""``edgemat train``: train a network, and go on where an interrupted run stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgemat import console

if TYPE_CHECKING:
    from edgemat.train.monitor import Progress

_F = TypeVar("_F", bound=Callable[..., Any])
_RECIPE = "A shipped recipe's name, or a TOML file with the fields of edgemat.train.recipe.{}."
_LAUNCH = "Several processes or machines share a batch under: accelerate launch -m edgemat.cli train ..."


@click.group(epilog=_LAUNCH)
def train() -> None:
    """Train a network; an interrupted run goes on where it stopped."""


def _common(command: _F) -> _F:
    """Add the options that every stage takes."""
    for option in (
        click.option(
            "--out",
            type=click.Path(path_type=Path, file_okay=False),
            required=True,
            help="Folder of the run; a checkpoint in it is resumed.",
        ),
        click.option(
            "--init",
            type=click.Path(path_type=Path),
            help="Weights to begin with; by default fresh ones, for qat our student.",
        ),
        click.option(
            "--data",
            type=click.Path(path_type=Path),
            help="Folder with image/ and alpha/, or WebDataset shards; composites made on the way by default.",
        ),
        click.option(
            "--validation",
            type=click.Path(path_type=Path),
            help="Set to validate on, like --data; composites of the validation split by default.",
        ),
        click.option("--workers", type=click.IntRange(min=0), help="Processes that make or read samples."),
        click.option("--seed", type=click.IntRange(min=0), help="Seed, in place of the recipe's."),
        click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps, in place of the recipe's."),
    ):
        command = option(command)
    return command


@train.command()
@click.option("--recipe", default="teacher", show_default=True, help=_RECIPE.format("TeacherRecipe"))
@_common
def teacher(
    recipe: str, out: Path, init: Path | None, data: Path | None, validation: Path | None, **changes: int | None
) -> int:
    """Train a teacher: alpha, and how wrong it will be at every pixel."""
    import dataclasses

    from edgemat.train import recipes, run

    changed = {name: value for name, value in changes.items() if value is not None}
    told = dataclasses.replace(recipes.teacher(recipe), **changed)  # type: ignore[arg-type]
    command = _command("teacher", recipe, changed, init=init, data=data, validation=validation)
    done = run.train_teacher(told, out, command=command, init=init, data=data, validation=validation, on_progress=_tell)
    return _end(done, out, out / "teacher.safetensors", "uncertainty")


@train.command()
@click.option("--recipe", default="plain", show_default=True, help=_RECIPE.format("StudentRecipe"))
@click.option("--teacher", type=click.Path(path_type=Path), help="A teacher's weights, for a recipe that asks one.")
@_common
def student(
    recipe: str,
    teacher: Path | None,
    out: Path,
    init: Path | None,
    data: Path | None,
    validation: Path | None,
    **changes: int | None,
) -> int:
    """Train a student on ground truth, or distil one from a teacher (recipe distil)."""
    import dataclasses

    from edgemat.train import recipes, run

    changed = {name: value for name, value in changes.items() if value is not None}
    told = dataclasses.replace(recipes.student(recipe), **changed)  # type: ignore[arg-type]
    command = _command("student", recipe, changed, teacher=teacher, init=init, data=data, validation=validation)
    done = run.train_student(
        told,
        out,
        command=command,
        init=init,
        teacher=teacher,
        data=data,
        validation=validation,
        on_progress=_tell,
    )
    return _end(done, out, out / "student.safetensors", "evaluate")


@train.command()
@click.option("--recipe", default="qat", show_default=True, help=_RECIPE.format("QatRecipe"))
@click.option("--teacher", type=click.Path(path_type=Path), help="A teacher's weights; ours by default.")
@_common
def qat(
    recipe: str,
    teacher: Path | None,
    out: Path,
    init: Path | None,
    data: Path | None,
    validation: Path | None,
    **changes: int | None,
) -> int:
    """Train a finished student (--init, ours by default) on its integer grid: int8 that was learned."""
    import dataclasses
    import tempfile

    import onnx

    from edgemat.export import _trunk
    from edgemat.model import weights
    from edgemat.train import recipes, run

    changed = {name: value for name, value in changes.items() if value is not None}
    told = dataclasses.replace(recipes.qat(recipe), **changed)  # type: ignore[arg-type]
    command = _command("qat", recipe, changed, teacher=teacher, init=init, data=data, validation=validation)
    begin = init or weights.shipped()
    with tempfile.TemporaryDirectory() as folder:
        trunk = _trunk.from_student(begin, told.size, told.size, Path(folder) / "trunk.onnx")
        model = onnx.load(trunk.path)
    done = run.train_qat(
        told,
        out,
        model,
        command=command,
        init=begin,
        teacher=(teacher or weights.shipped_teacher()) if told.needs_teacher else None,
        data=data,
        validation=validation,
        on_progress=_tell,
    )
    made = out / f"student-{told.scheme}.safetensors"
    return _end(done, out, made, "evaluate")


@train.command()
@click.option("--recipe", default="distil", show_default=True, help=_RECIPE.format("StudentRecipe"))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder with image/ and alpha/, or WebDataset shards; composites made on the way by default.",
)
@click.option("--workers", type=click.IntRange(min=0), help="Processes that make or read samples.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Turns of each measurement.")
def speed(recipe: str, data: Path | None, workers: int | None, rounds: int) -> None:
    """Time the loader alone beside the student's steps alone: which of them is the bottleneck?"""
    import dataclasses

    from edgemat.train import recipes, run
    from edgemat.train.speed import measure
    from edgemat.train.stages import StudentStage

    told = dataclasses.replace(recipes.student(recipe), teacher_share=0.0, weighting="none")
    if workers is not None:
        told = dataclasses.replace(told, workers=workers)
    print(measure(StudentStage(told), run.source_of(told, data), rounds))


def _command(stage: str, recipe: str, changes: dict[str, int], **paths: Path | None) -> str:
    """Return the command line as a model card states it."""
    words = [f"edgemat train {stage} --recipe {recipe}"]
    words += [f"--{name} {value}" for name, value in changes.items() if name != "workers"]
    words += [f"--{name} {path}" for name, path in paths.items() if path is not None]
    return " ".join(words)


def _end(done: bool, out: Path, weights: Path, judge: str) -> int:
    """Say how a run ended, once for all of its processes, and return the exit code."""
    from accelerate import PartialState

    said = f"wrote {weights}; next: edgemat {judge} --weights {weights}"
    if not done:
        said = f"stopped early; go on with the same command (checkpoint in {out})"
    if PartialState().is_main_process:
        console.note(said)
    return 0 if done else 130


def _tell(progress: Progress) -> None:
    """Print one line of progress."""
    from edgemat.train.monitor import describe

    print(describe(progress), file=sys.stderr, flush=True)
