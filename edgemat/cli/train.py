"""``edgemat train``: train a network, and go on where an interrupted run stopped."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgemat import console

if TYPE_CHECKING:
    from edgemat.train.stages import Progress


@click.group()
def train() -> None:
    """Train a network; an interrupted run goes on where it stopped."""


@train.command()
@click.option(
    "--recipe",
    "recipe_name",
    default="plain",
    show_default=True,
    help="A shipped recipe's name, or a TOML file with the fields of edgemat.train.recipe.PlainRecipe.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps, in place of the recipe's.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed, in place of the recipe's.")
@click.option("--workers", type=click.IntRange(min=0), help="Processes that make composites, in place of the recipe's.")
@click.option(
    "--init", type=click.Path(path_type=Path), help="A student's file to begin with; fresh weights by default."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the run; a checkpoint in it is resumed.",
)
def student(
    recipe_name: str, steps: int | None, seed: int | None, workers: int | None, init: Path | None, out: Path
) -> int:
    """Train a student on ground truth (L1 + Laplacian)."""
    import dataclasses

    from edgemat.train import recipes, run

    changes: dict[str, Any] = {"steps": steps, "seed": seed, "workers": workers}
    changes = {name: value for name, value in changes.items() if value is not None}
    recipe = dataclasses.replace(recipes.find(recipe_name), **changes)
    words = ["edgemat train student --recipe", recipe_name]
    words += [f"--{name} {value}" for name, value in changes.items() if name != "workers"]
    words += [f"--init {init}"] if init is not None else []
    done = run.train_student(recipe, out, command=" ".join(words), init=init, on_progress=_tell)
    if not done:
        console.note(f"stopped early; go on with the same command (checkpoint in {out})")
        return 130
    console.note(f"wrote {out / 'student.safetensors'}; next: edgemat evaluate --weights {out / 'student.safetensors'}")
    return 0


def _tell(progress: Progress) -> None:
    """Print one line of progress."""
    figures = "".join(f"  {k} {v:.4g}" for k, v in progress.validation.items())
    print(
        f"step {progress.step}/{progress.steps}  loss {progress.loss:.4f}  "
        f"{progress.samples_per_second:.0f} samples/s  ETA {progress.eta / 60:.0f} min{figures}",
        file=sys.stderr,
        flush=True,
    )
