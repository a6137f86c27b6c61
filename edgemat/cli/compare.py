"""``edgemat compare``: tell whether one network is better than another, on the same images and clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgemat import console

if TYPE_CHECKING:
    from edgemat.data.splits import Split
    from edgemat.verify.paired import Paired


@click.command()
@click.argument("weights", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--split", type=click.Choice(["test", "val"]), default="test", show_default=True, help="Whose faces.")
@click.option("--per-face", type=click.IntRange(min=1), default=8, show_default=True, help="Composites a face.")
@click.option("--folder", type=click.Path(path_type=Path), help="A set of your own, in place of the hold-out.")
@click.option("--clips/--no-clips", default=True, help="Also flicker in motion (dtSSD); not with --folder.")
@click.option("--gate", metavar="LIMITS", help="Exit code 1 beyond these, such as mad=+1%,grad=+3%,dtssd=+3%.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def compare(
    weights: tuple[Path, ...],
    split: Split,
    per_face: int,
    folder: Path | None,
    clips: bool,
    gate: str | None,
    as_json: bool,
) -> int:
    """Compare networks with the first of WEIGHTS, in per cent.

    WEIGHTS are files of students, quantized students (which run as their integer file, in ONNX Runtime) or teachers; a
    single one is compared with the student that comes with the package. Intervals (95 %) are a paired bootstrap over
    faces: the same faces are drawn for all.

    A gate names metrics (mad, grad, conn, iou, dtssd), with .unknown for the band around edges, and how much worse the
    others may be: the interval's worse end decides.
    """
    from edgemat.verify import holdout, paired

    limits = paired.limits(gate) if gate else ()
    samples = holdout.samples(split, per_face) if folder is None else holdout.folder_samples(folder)
    scenes = holdout.clips(split) if clips and folder is None else ()
    found = paired.compare(holdout.predictors(weights), samples, scenes, limits)
    if as_json:
        console.print_json(found.to_json())
    else:
        _show(found)
    for sentence in found.broken:
        console.note(f"FAILED: {sentence}")
    return 0 if found else 1


def _show(found: Paired) -> None:
    from edgemat.metrics import METRICS
    from edgemat.verify.paired import percents

    rows = [
        [
            d.network,
            d.region,
            METRICS[d.metric].name,
            str(d.count),
            f"{d.first:.4g}",
            f"{d.value:.4g}",
            percents(d.percent),
            d.verdict,
        ]
        for d in found.differences
    ]
    numbers = [console.Column(head, right=True) for head in ("rows", found.networks[0], "its own", "difference")]
    console.table(rows, ["network", "region", "metric", *numbers, ""])
