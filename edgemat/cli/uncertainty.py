"""``edgemat uncertainty``: whether a teacher's doubt ranks its errors, and how large it is beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgemat import console

if TYPE_CHECKING:
    from edgemat.data.splits import Split
    from edgemat.verify.uncertainty_report import Report


@click.command()
@click.option("--weights", type=click.Path(path_type=Path), help="A teacher's file; the shipped one by default.")
@click.option("--split", type=click.Choice(["test", "val"]), default="test", show_default=True, help="Whose faces.")
@click.option("--per-face", type=click.IntRange(min=1), default=8, show_default=True, help="Composites a face.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for uncertainty.json and pictures."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def uncertainty(weights: Path | None, split: Split, per_face: int, out: Path | None, as_json: bool) -> int:
    """Judge a teacher's uncertainty on unseen faces.

    Over all pixels of the hold-out, its rank correlation (Spearman) with the actual error must be at least 0.5, and
    the area between its sparsification curve and the oracle's (AUSE) at most half of a random order's; the command
    exits 1 when it is not so. The rest of the table is for information. Needs: edgemat data fetch.
    """
    from edgemat.files import write_json
    from edgemat.verify import holdout, uncertainty_plot, uncertainty_report

    predict = uncertainty_report.teacher(weights)
    samples = holdout.samples(split, per_face)
    predictions = uncertainty_report.run(predict, samples)
    report = uncertainty_report.measure(samples, predictions)
    if out is not None:
        write_json(out / "uncertainty.json", report.to_json())
        uncertainty_plot.plot(report, out / "uncertainty.png")
        uncertainty_plot.pictures(samples, predictions, report, out / "uncertainty-images.png")
        console.note(f"wrote uncertainty.json, uncertainty.png and uncertainty-images.png into {out}")
    if as_json:
        console.print_json(report.to_json())
    else:
        _show(report)
    failures = uncertainty_report.judge(report)
    for failure in failures:
        console.note(f"error: {failure}")
    return 1 if failures else 0


def _show(report: Report) -> None:
    """Print the table, one row a group and region, then the mean over images."""
    heads = ("images", "MAD", "expected", "exact", "Spearman", "AUSE", "random's", "ratio", "ECE")
    levels = [f"in {level:.0%}" for level in report.pooled.coverage]
    rows = []
    for row in report.figures:
        thousandths = [f"{value * 1e3:.2f}" for value in (row.error, row.uncertainty, row.reliability.ece)]
        curves = [f"{value:.3f}" for value in (row.spearman, row.sparsification.ause, row.sparsification.random)]
        shares = [f"{share:.1%}" for share in row.coverage.values()]
        exact, ratio = f"{row.exact:.1%}", f"{row.sparsification.ratio:.2f}"
        rows.append(
            [row.group, row.region, str(row.images), *thousandths[:2], exact, *curves, ratio, thousandths[2], *shares]
        )
    console.table(rows, ["group", "region", *(console.Column(head, right=True) for head in (*heads, *levels))])
    console.note(
        "MAD, expected |error| and ECE in 1e-3; exact: pixels without error; in q%: those in that Laplace interval"
    )
    console.note(f"Spearman image by image, mean with its 95 % interval over faces: {report.image_spearman}")
