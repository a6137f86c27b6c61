"""One figure beside the float network's: its difference, how sure it is, and whether it keeps its limit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from edgemat.metrics import METRICS
from edgemat.verify.bootstrap import Interval, Values, interval
from edgemat.verify.crossed import resampled_means
from edgemat.verify.parity.report import QUANTIZATION, Figure

FLOORS: Mapping[str, float] = {
    "mad": 0.05, "mse": 0.015, "sad": 0.003, "grad": 0.005, "conn": 0.003, "iou": 0.0005, "dtssd": 0.02
}  # fmt: skip
"""Differences in a metric's own unit that no limit is below; of sums, in a frame of 256x256 pixels. MAD of 0.05e-3 is a
hundredth of an 8-bit step on average, and SAD and Conn as much; MSE of 0.015e-3 is a root of one step; IoU of 0.0005 is
a few pixels; dtSSD of 0.02e-2 is a twentieth of a step between frames."""
_SUMS = ("sad", "grad", "conn")


class Difference(NamedTuple):
    """What one figure says.

    Attributes:
        metric: Its key.
        region: Where.
        first: The float network's figure, in the metric's unit.
        value: The artefact's.
        percent: The difference in per cent of ``first``; NaN where there is nothing to divide by, or no interval.
        size: How many images and faces.
    """

    metric: str
    region: str
    first: float
    value: float
    percent: Interval
    size: str


def paired(
    region: str, metrics: Sequence[str], first: Values, other: Values, faces: Sequence[str], thing: str
) -> Iterator[Difference]:
    """Yield the differences of means, with intervals over faces."""
    draws = resampled_means({"first": first[None], "other": other[None]}, faces)
    means = first.mean(axis=0), other.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):  # a perfect network has nothing to divide by
        relative = 100 * (draws["other"] / draws["first"] - 1)
        value = 100 * (means[1] / means[0] - 1)
    size, many = count(len(faces), thing, len(set(faces))), len(set(faces)) > 1
    for place, metric in enumerate(metrics):
        known = many and bool(np.isfinite(relative[:, place]).all())
        ends = interval(float(value[place]), relative[:, place]) if known else None
        percent = ends or Interval(float(value[place]), math.nan, math.nan)
        yield Difference(metric, region, float(means[0][place]), float(means[1][place]), percent, size)


def count(things: int, name: str, faces: int) -> str:
    """Return how many things of how many faces there are, in words."""
    return f"{things} {name}{'s' if things != 1 else ''} of {faces} face{'s' if faces != 1 else ''}"


def judge(
    found: Difference, limits: Mapping[str, float], pixels: int, shown_worse: bool = False, lucky: bool = True
) -> Figure:
    """Judge one difference.

    Args:
        found: The difference.
        limits: Per cent by which a metric may be worse; one that is not named is not judged.
        pixels: Of a frame.
        shown_worse: It fails when it is shown to be worse than the limit; else when it is not shown to be within.
        lucky: Whether as many faces drawn at random may well be as bad; else being beyond the limit is enough.
    """
    metric, limit, ends = METRICS[found.metric], limits.get(found.metric), found.percent
    sign = -1.0 if metric.better == "higher" else 1.0
    known = math.isfinite(ends.low) and math.isfinite(ends.high)
    decisive = ends.value if not (known and lucky) else ends.low if shown_worse == (sign > 0) else ends.high
    notes = [
        f"{found.first:.4g} -> {found.value:.4g} {metric.unit}",
        found.size + ("" if known else ": no interval"),
    ]
    floor = FLOORS[found.metric] * (pixels / 256**2 if found.metric in _SUMS else 1.0)
    if limit is not None and found.first > 0 and 100 * floor / found.first > limit:
        limit = 100 * floor / found.first
        notes.append(f"limit: {floor:.2g} {metric.unit}, which nobody sees")
    if limit is None or math.isfinite(decisive):
        kept = limit is None or sign * decisive <= limit
        if not (kept or lucky):
            notes.append("hardly any random choice of as many faces is as bad")
    else:  # the float network makes no error, so there is nothing to take per cents of
        kept = sign * (found.value - found.first) <= floor
    return Figure(
        QUANTIZATION,
        found.metric,
        ends.value if math.isfinite(ends.value) else None,
        "%",
        found.region,
        ends.low if known else None,
        ends.high if known else None,
        None if limit is None else sign * limit,
        sign < 0 and limit is not None,
        kept,
        "; ".join(notes),
    )
