"""``edgemat evaluate``: score a student on composites with ground truth, beside what a user could take instead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgemat import console

if TYPE_CHECKING:
    from edgemat.data.splits import Split


@click.command()
@click.option("--weights", type=click.Path(path_type=Path), help="A student's file; the shipped one by default.")
@click.option("--split", type=click.Choice(["test", "val"]), default="test", show_default=True, help="Whose faces.")
@click.option("--per-face", type=click.IntRange(min=1), default=8, show_default=True, help="Composites a face.")
@click.option("--folder", type=click.Path(path_type=Path), help="Your own image/ and alpha/, in place of the hold-out.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for evaluation.json and a sheet.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def evaluate(
    weights: Path | None, split: Split, per_face: int, folder: Path | None, out: Path | None, as_json: bool
) -> None:
    """Score a student on unseen faces, beside a baseline.

    The hold-out is fixed: the split's faces, a number of composites each with the split's own occluders, a fixed seed.
    Beside the student stands the face-mesh hull, which knows no occluder. Needs: edgemat data fetch.

    A folder of your own holds image/ and alpha/, paired by name (8-bit RGB; grey, 8 or 16 bits), and has no baseline.
    """
    from edgemat.files import write_json
    from edgemat.verify import holdout
    from edgemat.verify.evaluate import IMAGE_METRICS
    from edgemat.verify.sheet import sheet

    samples = holdout.samples(split, per_face) if folder is None else holdout.folder_samples(folder)
    evaluation, predictions = holdout.score(weights, samples, baseline=folder is None)
    if out is not None:
        write_json(out / "evaluation.json", evaluation.to_json())
        sheet(samples, predictions, out / "sheet.png")
        console.note(f"wrote {out / 'evaluation.json'} and {out / 'sheet.png'}")
    if as_json:
        console.print_json(evaluation.to_json())
        return
    rows = [
        [row.group, row.region, row.predictor, str(row.count), *(str(row.means[key]) for key in IMAGE_METRICS)]
        for row in evaluation.rows()
    ]
    numbers = [console.Column(head, right=True) for head in ("images", *IMAGE_METRICS)]
    console.table(rows, ["group", "region", "who", *numbers])
