"""``edgemat ablate``: show by experiment what the teacher and its uncertainty give a student."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgemat import console

if TYPE_CHECKING:
    from edgemat.train.monitor import Progress


@click.command()
@click.option("--teacher", type=click.Path(path_type=Path), help="A teacher's weights; the shipped one by default.")
@click.option(
    "--recipe", default="ablation", show_default=True, help="What all arms share: a shipped name, or a TOML file."
)
@click.option(
    "--arms",
    help="Comma-separated; all by default: truth, unweighted, weighted, weighted-even, weighted-down, weighted-both.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Runs an arm.")
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps a run, in place of the recipe's.")
@click.option("--data", type=click.Path(path_type=Path), help="Training set, best of `edgemat data annotate`.")
@click.option("--init", type=click.Path(path_type=Path), help="Weights every run begins with; fresh ones by default.")
@click.option("--per-face", type=click.IntRange(min=1), default=8, show_default=True, help="Hold-out images a face.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of runs and report; resumed."
)
def ablate(
    teacher: Path | None,
    recipe: str,
    arms: str | None,
    seeds: int,
    steps: int | None,
    data: Path | None,
    init: Path | None,
    per_face: int,
    out: Path,
) -> int:
    """Show what a teacher and its uncertainty give.

    Students learn from ground truth, from a teacher as well, and with its uncertainty as weights, and are compared.

    Every run has the same budget, and in each seed the same initial weights and order of examples. The report is
    written to ablation.json and ablation.md. Exit code 1 when weighting does not lower MAD and Grad on the most
    uncertain pixels, or raises MAD over the whole frame.
    """
    import dataclasses

    from edgemat.files import atomic_path, write_json
    from edgemat.model.weights import shipped_teacher
    from edgemat.train import recipes
    from edgemat.train.ablate import ARMS
    from edgemat.train.ablate import ablate as experiment
    from edgemat.verify import holdout
    from edgemat.verify.ablation import failures

    told = recipes.student(recipe)
    if steps is not None:
        told = dataclasses.replace(told, steps=steps)
    names = tuple(ARMS) if arms is None else tuple(name.strip() for name in arms.split(","))
    report = experiment(
        told,
        teacher or shipped_teacher(),
        out,
        holdout.samples(per_face=per_face),
        arms=names,
        seeds=seeds,
        data=data,
        init=init,
        on_progress=_tell,
    )
    if report is None:
        console.note(f"stopped early; go on with the same command (runs in {out})")
        return 130
    write_json(out / "ablation.json", report.to_json())
    with atomic_path(out / "ablation.md") as temporary:
        temporary.write_text(report.markdown(), encoding="utf-8")
    print(report.markdown())
    missing = failures(report) if "weighted" in names else []
    for sentence in missing:
        console.note(f"FAILED: {sentence}")
    return 1 if missing else 0


def _tell(name: str, progress: Progress) -> None:
    """Print one line of a run's progress."""
    from edgemat.train.monitor import describe

    print(f"{name}: {describe(progress)}", file=sys.stderr, flush=True)
