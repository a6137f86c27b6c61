"""``edgemat waterfall``: what each step between training and a backend costs, in one table and one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgemat import console

if TYPE_CHECKING:
    from edgemat.verify.parity.images import ParitySet
    from edgemat.verify.waterfall import Waterfall

METRICS = ("mad", "mse", "sad", "grad", "conn", "iou")


@click.command()
@click.argument("directory", metavar="[DIR]", default="out", type=click.Path(path_type=Path))
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Students that DIR was made from; repeatable. Default: the shipped ones.",
)
@click.option("--metric", "metrics", type=click.Choice(METRICS), multiple=True, help="Repeatable; mad and grad.")
@click.option("--images", help="holdout, calibration (no truth), or a folder of your own. Default: what is here.")
@click.option("--limit", type=click.IntRange(min=1), default=32, show_default=True, help="Images at most.")
@click.option("--clips", is_flag=True, help="Also flicker (dtSSD), on clips of the hold-out.")
@click.option("--gate", metavar="LIMITS", help="Exit code 1 where an artefact is beyond these, such as mad=+1%.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Also a picture: .svg, .png or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def waterfall(
    directory: Path,
    weights: tuple[Path, ...],
    metrics: tuple[str, ...],
    images: str | None,
    limit: int,
    clips: bool,
    gate: str | None,
    plot: Path | None,
    as_json: bool,
) -> int:
    """Show which step between torch and a backend costs what.

    DIR is a folder of edgemat export; "out" where left out. The steps: the student in torch, its ONNX graph, float16;
    the float weights that were trained for the grid, their rounding to codes, that of activations; and what each
    backend adds by its own arithmetic. Each is measured against ground truth and compared with the one before it,
    image by image; intervals (95 %) are a paired bootstrap over faces. "moved" is how far alpha itself moved (x 1e3),
    for better or worse. A step that cannot be run is named, never counted as nothing.

    A gate limits how much worse than the first step of its chain an artefact may be: the interval's worse end decides.

    Also writes DIR/proof/waterfall.json.
    """
    from edgemat.files import write_json
    from edgemat.verify import exported, paired, proof, waterfall_plot
    from edgemat.verify import waterfall as library

    if plot is not None and plot.suffix not in waterfall_plot.SUFFIXES:
        raise click.BadParameter(
            f"{plot}: expected a name in {', '.join(waterfall_plot.SUFFIXES)}", param_hint="--plot"
        )
    limits = paired.limits(gate) if gate else ()
    found = exported.read(directory)
    trunk = found.trunks.any()
    given = _images(images, trunk.height, trunk.width, limit, clips)
    chosen = tuple(dict.fromkeys(metrics or library.METRICS_SHOWN))
    budget = library.waterfall(found, given, chosen, weights, limits, on_progress=console.note)
    place = directory / proof.FOLDER / proof.WATERFALL
    write_json(place, budget.to_json())
    if plot is not None:
        waterfall_plot.plot(budget, plot)
    if as_json:
        console.print_json(budget.to_json())
    else:
        _show(budget)
    console.note(f"written: {', '.join(str(path) for path in (place, plot) if path is not None)}")
    for sentence in budget.broken:
        console.note(f"FAILED: {sentence}")
    return 0 if budget else 1


def _images(source: str | None, height: int, width: int, limit: int, clips: bool) -> ParitySet:
    from edgemat.verify.parity import images

    if source is None or source == images.HOLDOUT:
        return images.load(images.HOLDOUT if source else None, height, width, limit, clips)
    if source == images.CALIBRATION:
        return images.load(images.CALIBRATION, height, width, limit)
    return images.load(Path(source), height, width, limit)


def _show(budget: Waterfall) -> None:
    words = {"chain", "step", "after"}
    console.table(budget.rows(), [console.Column(head, right=head not in words) for head in budget.columns()])
    console.note(budget.said)
    for step in budget.steps:
        if step.missing:
            console.note(f"{step.name}: not run, {step.missing}")
        if step.note:
            console.note(f"{step.name}: {step.note}")
