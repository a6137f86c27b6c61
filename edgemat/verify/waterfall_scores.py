"""What a step's alpha is worth against ground truth, and how far that is from the step before, over faces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgemat.metrics import METRICS, UNKNOWN_RADIUS, unknown_region
from edgemat.verify.bootstrap import Interval, Values, interval
from edgemat.verify.crossed import resampled_means
from edgemat.verify.evaluate import FRAME, UNKNOWN
from edgemat.verify.paired import DTSSD, Limit, percents

if TYPE_CHECKING:
    from edgemat.verify.parity.images import ParitySet

Alphas = npt.NDArray[np.float32]
Table = tuple[str, bool]
"""A region, and whether its rows are clips, not images."""
NOTHING = 0.005
"""Per cent below which a change is none, however certain: the order in which floats are added shows here."""


@dataclass(frozen=True)
class Figure:
    """One figure of one step.

    Attributes:
        metric: Key of `edgemat.metrics.METRICS`.
        region: ``frame`` or ``unknown``.
        count: Images, or clips, averaged.
        value: The mean, in the metric's unit, with its 95 % interval over faces.
        change: What is added to the step before, in the same unit; paired, so that what is hard for both cancels out.
            None for a start.
        percent: The change in per cent of the step before; None for a start, or where that is 0 in a draw.
        total: The change since the chain's start, in per cent of it; None likewise.
    """

    metric: str
    region: str
    count: int
    value: Interval
    change: Interval | None = None
    percent: Interval | None = None
    total: Interval | None = None

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` where the change's interval is clear of zero and it is more than `NOTHING`."""
        if self.change is None or not (self.change.low > 0.0 or self.change.high < 0.0):
            return "same"
        if self.percent is not None and abs(self.percent.value) < NOTHING:
            return "same"
        return "better" if (self.change.value < 0.0) == (METRICS[self.metric].better == "lower") else "worse"

    def breaks(self, limit: Limit) -> bool:
        """Return whether a limit on the total is not kept for certain; an unknown total keeps none."""
        if self.total is None:
            return True
        if METRICS[self.metric].better == "lower":
            return not self.total.high <= limit.percent
        return not self.total.low >= limit.percent

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        found: dict[str, object] = {"metric": self.metric, "region": self.region, "count": self.count}
        for name in _INTERVALS:
            held: Interval | None = getattr(self, name)
            found[name] = None if held is None else held.to_json()
        return {**found, "verdict": self.verdict}

    @classmethod
    def from_json(cls, stated: Mapping[str, Any]) -> Figure:
        """Return what `to_json` was given."""
        change, percent, total = (None if stated[n] is None else Interval(**stated[n]) for n in _INTERVALS[1:])
        value = Interval(**stated["value"])
        return cls(stated["metric"], stated["region"], stated["count"], value, change, percent, total)


_INTERVALS = ("value", "change", "percent", "total")


class _Draws(NamedTuple):
    """One step's means: of the data, and of every draw of faces; float64, (columns,) and (resamples, columns)."""

    mean: Values
    draws: Values


class Truth:
    """Images and clips with their ground truth, ready to measure one step after another on.

    Args:
        images: What is measured on; without truth, nothing is.
        metrics: Keys of image metrics; dtSSD is added where there are clips.
    """

    def __init__(self, images: ParitySet, metrics: Sequence[str]) -> None:
        """Find the band around edges of every image."""
        self._metrics = tuple(metrics)
        self._images = [] if images.truth is None else [(truth, _bands(truth)) for truth in images.truth]
        self._clips = images.clip_truth
        self._faces = {False: images.faces, True: images.clip_faces}
        self.metrics = (*self._metrics, *([DTSSD] if len(self._clips) else [])) if self._images else ()

    def measure(self, alphas: Alphas, moving: Alphas) -> dict[Table, Values]:
        """Measure one step.

        Args:
            alphas: Of the images, float32, (N, H, W), in [0, 1].
            moving: Of the clips, float32, (C, T, H, W).

        Returns:
            By region, and by whether rows are clips: float64, (rows, metrics); NaN where there is no such pixel.
        """
        if not self._images:
            return {}
        by_image = np.full((2, len(alphas), len(self._metrics)), np.nan)
        for row, (alpha, (truth, bands)) in enumerate(zip(alphas, self._images, strict=True)):
            for column, key in enumerate(self._metrics):
                by_image[: len(bands), row, column] = METRICS[key].function(alpha, truth, bands)
        found: dict[Table, Values] = {(FRAME, False): by_image[0], (UNKNOWN, False): by_image[1]}
        if len(moving):
            flicker = METRICS[DTSSD].function
            found[FRAME, True] = np.array([[float(flicker(a, t))] for a, t in zip(moving, self._clips, strict=True)])
        return found

    def figures(
        self, scores: Mapping[str, Mapping[Table, Values]], after: Mapping[str, str]
    ) -> dict[str, tuple[Figure, ...]]:
        """Compare every step with the one before it.

        Args:
            scores: What `measure` returned, by step, each after the one before it.
            after: The step before, by step; empty for a start.
        """
        starts: dict[str, str] = {}
        for name in scores:
            starts[name] = starts[after[name]] if after[name] else name
        found: dict[str, list[Figure]] = {name: [] for name in scores}
        for table in next(iter(scores.values())):
            region, is_clips = table
            values = {name: tables[table] for name, tables in scores.items()}
            rows = np.array([np.isfinite(row).all() for row in next(iter(values.values()))])
            if not rows.any():
                continue
            faces = [face for face, is_there in zip(self._faces[is_clips], rows, strict=True) if is_there]
            drawn = resampled_means({name: value[rows][None] for name, value in values.items()}, faces)
            means = {name: _Draws(value[rows].mean(axis=0), drawn[name]) for name, value in values.items()}
            for name, own in means.items():
                before = means.get(after[name])
                start = None if before is None else means[starts[name]]
                for column, key in enumerate((DTSSD,) if is_clips else self._metrics):
                    value = interval(float(own.mean[column]), own.draws[:, column])
                    changes = _changes(own, before, column), _percent(own, before, column), _percent(own, start, column)
                    found[name].append(Figure(key, region, int(rows.sum()), value, *changes))
        return {name: tuple(figures) for name, figures in found.items()}


def _bands(truth: Alphas) -> npt.NDArray[np.bool_]:
    """Return the regions of an image: the frame, and the band around edges where it has one; bool, (1 or 2, H, W)."""
    unknown = unknown_region(truth, UNKNOWN_RADIUS * min(truth.shape) / 256)
    return np.stack([np.ones_like(unknown), *([unknown] if unknown.any() else [])])


def _changes(own: _Draws, before: _Draws | None, column: int) -> Interval | None:
    if before is None:
        return None
    value = float(own.mean[column] - before.mean[column])
    return interval(value, own.draws[:, column] - before.draws[:, column])


def _percent(own: _Draws, base: _Draws | None, column: int) -> Interval | None:
    if base is None or not (base.mean[column] and base.draws[:, column].all()):
        return None
    relative = 100.0 * (own.draws[:, column] / base.draws[:, column] - 1.0)
    return interval(100.0 * float(own.mean[column] / base.mean[column] - 1.0), relative)


def broken(artefacts: Mapping[str, tuple[Sequence[Figure], str]], gate: Sequence[Limit]) -> Iterator[str]:
    """Yield a sentence for each limit that an artefact does not keep, or that was not judged on it.

    Args:
        artefacts: By name its figures, or why there are none.
        gate: The limits.
    """
    for limit in gate:
        for name, (figures, missing) in artefacts.items():
            found = next((f for f in figures if (f.metric, f.region) == (limit.metric, limit.region)), None)
            if found is None:
                yield f"{name}: {limit} was not judged: {missing or 'no image has such pixels'}"
            elif found.breaks(limit):
                yield _sentence(name, found, limit)


def _sentence(name: str, figure: Figure, limit: Limit) -> str:
    total = "nothing to compare it with" if figure.total is None else percents(figure.total)
    return f"{name}: {figure.metric} ({figure.region}) {total}, limit {limit.percent:+g} %"
