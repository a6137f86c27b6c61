"""``edgemat evaluate``: score a network on composites with ground truth, beside what a user could take instead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgemat import console

if TYPE_CHECKING:
    from edgemat.data.splits import Split
    from edgemat.verify.clips import Flicker
    from edgemat.verify.evaluate import Evaluation
    from edgemat.verify.residual import Share


@click.command()
@click.option("--weights", type=click.Path(path_type=Path), help="A student's or a teacher's file; ours by default.")
@click.option("--split", type=click.Choice(["test", "val"]), default="test", show_default=True, help="Whose faces.")
@click.option("--per-face", type=click.IntRange(min=1), default=8, show_default=True, help="Composites a face.")
@click.option("--folder", type=click.Path(path_type=Path), help="A set of your own, in place of the hold-out.")
@click.option("--against", type=click.Path(path_type=Path), help="A teacher's file: how many times its MAD is ours?")
@click.option("--strata", is_flag=True, help="Also by occluder, face size and skin tone, and where the error lies.")
@click.option("--clips", is_flag=True, help="Also flicker (dtSSD), on one synthetic clip a face.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for evaluation.json and pictures."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def evaluate(
    weights: Path | None,
    split: Split,
    per_face: int,
    folder: Path | None,
    against: Path | None,
    strata: bool,
    clips: bool,
    out: Path | None,
    as_json: bool,
) -> int:
    """Score a network on unseen faces, beside a baseline.

    The hold-out is fixed: the split's faces, a number of composites each with the split's own occluders, a fixed seed.
    Beside the network stands the face-mesh hull, which knows no occluder. Needs: edgemat data fetch.

    A set of your own is a folder with image/ and alpha/, paired by name (8-bit RGB; grey, 8 or 16 bits), or WebDataset
    shards; it has no baseline.

    With --against, exit code 1 when the MAD is more than 1.15 times the teacher's, or that of the worst skin tone more
    than 1.5 times that of the best.
    """
    from edgemat.files import write_json
    from edgemat.verify import holdout, limits, pictures
    from edgemat.verify.clips import flicker
    from edgemat.verify.residual import residual
    from edgemat.verify.sheet import sheet

    if clips and folder is not None:
        raise click.UsageError("--clips are made of the hold-out's faces; leave it out with --folder")
    samples = holdout.samples(split, per_face) if folder is None else holdout.folder_samples(folder)
    predict = holdout.predictor(weights)
    evaluation, predictions = holdout.score(predict, samples, baseline=folder is None)
    shares = residual(samples, predictions) if folder is None else ()
    flickers = flicker(predict, holdout.clips(split)) if clips else None
    if out is not None:
        write_json(out / "evaluation.json", holdout.document(evaluation, shares, flickers))
        sheet(samples, predictions, out / "sheet.png")
        pictures.worst_sheet(evaluation, samples, predictions, out / "worst.png")
        if flickers is not None:
            pictures.clip_strip(flickers, out / "clip.png")
        names = ["evaluation.json", *sorted(file.name for file in out.glob("*.png"))]
        console.note(f"{out}: {', '.join(names)}")
    if as_json:
        console.print_json(holdout.document(evaluation, shares, flickers))
        return 0
    _show_means(evaluation)
    if strata:
        _show_strata(evaluation)
        _show_residual(shares)
    if flickers is not None:
        _show_flicker(flickers)
    if against is None:
        return 0
    teacher = holdout.score(holdout.predictor(against), samples, baseline=False)[0]
    console.note(f"MAD is {limits.mad_ratio(evaluation, teacher)} x that of {against.name}")
    broken = limits.failures(evaluation, teacher)
    for sentence in broken:
        console.note(f"FAILED: {sentence}")
    return 1 if broken else 0


def _show_means(evaluation: Evaluation) -> None:
    from edgemat.verify.evaluate import IMAGE_METRICS

    rows = [
        [row.region, row.predictor, str(row.count), *(str(row.means[key]) for key in IMAGE_METRICS)]
        for row in evaluation.rows()
        if row.group == "all"
    ]
    numbers = [console.Column(head, right=True) for head in ("images", *IMAGE_METRICS)]
    console.table(rows, ["region", "who", *numbers])


def _show_strata(evaluation: Evaluation) -> None:
    from edgemat.verify.groups import FAMILIES
    from edgemat.verify.strata import LEAST_FACES, LEAST_IMAGES, strata

    found = strata(evaluation)
    rows = [
        [
            row.family,
            row.name,
            str(row.count),
            str(row.faces),
            str(row.mad),
            str(row.iou),
            f"{row.ratio:.2f}",
            "" if row.judged else "too few",
        ]
        for row in found.rows
    ]
    numbers = [console.Column(head, right=True) for head in ("images", "faces", "mad", "iou", "mad/mean")]
    print()
    console.table(rows, ["family", "stratum", *numbers, ""])
    for family in FAMILIES:
        worst = found.worst(family)
        if worst is not None:
            between = found.between(family)
            console.note(f"worst {family}: {worst.name}, {worst.ratio:.2f} x the mean MAD, {between:.2f} x the best's")
    console.note(f"too few: below {LEAST_IMAGES} images or {LEAST_FACES} faces; shown, not judged")


def _show_residual(shares: Sequence[Share]) -> None:
    if not shares:
        console.note("a folder has no base mattes, so where its error lies is not known")
        return
    rows = [
        [
            share.region,
            f"{share.pixels:.1%}",
            f"{share.error:.1%}",
            f"{share.mad:.1f}",
            f"{share.missed:.1%}",
            f"{share.added:.1%}",
        ]
        for share in shares
    ]
    heads = ("of the frame", "of the |error|", "mad inside", "skin missed", "skin added")
    print()
    console.table(rows, ["region", *(console.Column(head, right=True) for head in heads)])
    console.note("skin missed and added: shares of all pixels on the wrong side of 0.5, which is what IoU counts")


def _show_flicker(flicker: Flicker) -> None:
    from edgemat.verify.clips import FIGURES

    rows = [[FIGURES[key], str(interval)] for key, interval in flicker.means().items()]
    print()
    console.table(rows, [f"{len(flicker.clips)} clips of {flicker.frames} frames", console.Column("1e-2", right=True)])
