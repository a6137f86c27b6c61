"""Draw what a teacher's uncertainty is worth: curves over all pixels, and pictures of single images."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.files import atomic_path
from edgemat.images import write_png
from edgemat.verify.sheet import GAIN, choose, table
from edgemat.verify.uncertainty_report import HISTOGRAM_EDGES, Predictions, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TITLES = ("image", "truth", "teacher's alpha", f"|error| x{GAIN}", f"uncertainty x{GAIN}")
_BLUE, _GREEN, _RED, _GREY = "#1f77b4", "#2ca02c", "#d62728", "#7f7f7f"


def plot(report: Report, path: str | os.PathLike[str]) -> None:
    """Write three panels: sparsification, reliability, and how errors and uncertainties are distributed.

    Args:
        report: What was measured; all pixels of all images are drawn.
        path: The PNG to write.

    Raises:
        OutputError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.5), dpi=100, layout="constrained")
    axes = figure.subplots(1, 3)
    _draw_sparsification(axes[0], report)
    _draw_reliability(axes[1], report)
    _draw_histogram(axes[2], report)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_sparsification(axes: Axes, report: Report) -> None:
    curves = report.pooled.sparsification
    x = curves.removed * 100
    axes.axhline(1, color=_GREY, linestyle=":", label=f"random, AUSE {curves.random:.3f}")
    axes.plot(x, curves.remaining, color=_BLUE, label=f"by uncertainty, AUSE {curves.ause:.3f} ({curves.ratio:.2f})")
    axes.plot(x, curves.oracle, color=_GREEN, linestyle="--", label="by true error (oracle)")
    axes.set(xlabel="pixels removed, %", ylabel="mean |error| of the rest / of all", title="Sparsification")
    axes.set(xlim=(0, 100), ylim=(0, None))
    axes.legend()


def _draw_reliability(axes: Axes, report: Report) -> None:
    bins = report.pooled.reliability
    # Zero has no place on a logarithmic axis; what is below the histogram's first edge is drawn there.
    predicted, actual = (np.maximum(values, HISTOGRAM_EDGES[0]) for values in (bins.predicted, bins.actual))
    low, high = min(predicted.min(), actual.min()) / 1.5, max(predicted.max(), actual.max()) * 1.5
    axes.plot([low, high], [low, high], color=_GREY, linestyle=":", label="expected = actual")
    axes.plot(predicted, actual, "o-", color=_BLUE, label=f"equal-count bins, ECE {bins.ece:.2g}")
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), title="Reliability")
    axes.set(xlabel="expected |error| (uncertainty)", ylabel="actual mean |error|")
    shares = "\n".join(
        f"{share:.0%} of pixels in the {level:.0%} interval" for level, share in report.pooled.coverage.items()
    )
    axes.legend(title=shares, title_fontsize=8, fontsize=8, loc="upper left")


def _draw_histogram(axes: Axes, report: Report) -> None:
    pixels = report.pooled.pixels
    drawn = ((report.uncertainty_counts, _BLUE, "uncertainty"), (report.error_counts, _RED, "actual |error|"))
    for counts, colour, name in drawn:
        axes.stairs(counts / pixels * 100, HISTOGRAM_EDGES, color=colour, fill=True, alpha=0.4, label=name)
    axes.set(xscale="log", xlabel=f"in the unit of alpha; the first bin holds all below {HISTOGRAM_EDGES[1]:.2g}")
    axes.set(ylabel="pixels, %", title="Distribution", xlim=(HISTOGRAM_EDGES[0], 1))
    axes.legend()


def pictures(
    samples: Sequence[Sample], predictions: Predictions, report: Report, path: str | os.PathLike[str], n: int = 9
) -> None:
    """Write one row a sample: image, truth, alpha, actual and expected error, the last two equally bright.

    Rows go from the image whose uncertainty ranks its errors best to the one where it does worst (Spearman): a quarter
    of them the best, a quarter around the median, the rest the worst.

    Args:
        samples: What was predicted on, at least one.
        predictions: The teacher's, in the same order.
        report: What was measured on them.
        path: The PNG to write.
        n: Rows at most, >= 1.

    Raises:
        InputError: Counts do not fit each other.
        OutputError: The file cannot be written.
    """
    if not len(samples) == len(predictions.alpha) == len(report.images) or not samples or n < 1:
        counts = (
            f"{len(samples)} samples, {len(predictions.alpha)} predictions, {len(report.images)} measured, {n} rows"
        )
        raise InputError(f"uncertainty: {counts}; expected as many of the first three, and at least one of each")
    ranks = np.array([image.spearman for image in report.images])
    rows = []
    for place, kind in choose(np.nan_to_num(-ranks, nan=2.0), n):  # undefined comes after the worst
        image, sample, alpha = report.images[place], samples[place], predictions.alpha[place]
        rank = f"{image.spearman:.2f}" if math.isfinite(image.spearman) else "undefined"
        means = f"mean {image.error:.4f}", f"mean {image.uncertainty:.4f}"
        captions = f"#{place} {kind}: Spearman {rank}", ", ".join(sample.kinds) or "free", "", *means
        error = np.abs(alpha - sample.alpha)
        shown = [sample.image / 255, sample.alpha, alpha, error * GAIN, predictions.uncertainty[place] * GAIN]
        rows.append((captions, shown))
    write_png(path, table(_TITLES, rows))
