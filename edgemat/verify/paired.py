"""Compare networks on the same images and clips: by how many per cent one is better, and whether chance explains it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.metrics import METRICS
from edgemat.verify.bootstrap import SEED, Interval, Values, interval
from edgemat.verify.clips import Clip, flicker
from edgemat.verify.crossed import RESAMPLES, resampled_means
from edgemat.verify.evaluate import FRAME, MODEL, UNKNOWN, Predict, evaluate

SCHEMA_VERSION = 1
DTSSD = "dtssd"
COMPARED = ("mad", "grad", "conn", "iou", DTSSD)
"""Metrics that are compared, images' first, then that of clips in motion."""

_MOVING = {FRAME: "moving", UNKNOWN: "moving unknown"}
_GATE = re.compile(r"(\w+)(?:\.(\w+))?=([+-]\d+(?:\.\d+)?)%")


@dataclass(frozen=True)
class Limit:
    """How much worse a network may be than the first, with 95 % confidence.

    Attributes:
        metric: One of `COMPARED`.
        region: ``frame`` or ``unknown``.
        percent: Of the first's figure; with IoU, of which more is better, the interval's lower end may not be below it,
            with the others its upper end not above.
    """

    metric: str
    region: str
    percent: float

    def __str__(self) -> str:
        """Return it as `limits` reads it."""
        return f"{self.metric}.{self.region}={self.percent:+g}%"


def limits(text: str) -> tuple[Limit, ...]:
    """Read limits, separated by commas.

    Args:
        text: Such as ``mad=+1%,grad.unknown=+3%``; the region is the frame where none is named.

    Raises:
        InputError: It says something else.

    Example:
        >>> [str(limit) for limit in limits("mad=+1%,grad.unknown=+2.5%")]
        ['mad.frame=+1%', 'grad.unknown=+2.5%']
    """
    found = []
    for part in text.split(","):
        match = _GATE.fullmatch(part.strip())
        if match is None or match[1] not in COMPARED or match[2] not in (None, FRAME, UNKNOWN):
            raise InputError(
                f"--gate {part.strip()!r}: expected METRIC=+N% or METRIC.REGION=+N%, separated by commas, with a "
                f"metric of {', '.join(COMPARED)} and a region of {FRAME}, {UNKNOWN}"
            )
        found.append(Limit(match[1], match[2] or FRAME, float(match[3])))
    return tuple(found)


@dataclass(frozen=True)
class Difference:
    """One figure of one network beside the first's.

    Attributes:
        network: Its name.
        metric: One of `COMPARED`.
        region: ``frame`` or ``unknown``.
        count: Images, or clips, averaged.
        first: The first network's mean, in the metric's unit.
        value: This network's.
        percent: The difference of the two in per cent of the first's, with its 95 % interval over faces; ends are NaN
            where the first's is 0 in a draw.
    """

    network: str
    metric: str
    region: str
    count: int
    first: float
    value: float
    percent: Interval

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` where the interval is clear of zero, else ``same``."""
        if not (self.percent.low > 0.0 or self.percent.high < 0.0):
            return "same"
        return "better" if (self.percent.value < 0.0) == (METRICS[self.metric].better == "lower") else "worse"

    def breaks(self, limit: Limit) -> bool:
        """Return whether a limit of this metric and region is not kept for certain; NaN keeps none."""
        if METRICS[self.metric].better == "lower":
            return not self.percent.high <= limit.percent
        return not self.percent.low >= limit.percent

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        return {
            "network": self.network,
            "metric": self.metric,
            "region": self.region,
            "count": self.count,
            "first": self.first,
            "value": self.value,
            "percent": self.percent.to_json() if math.isfinite(self.percent.low) else None,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Paired:
    """How networks differ from the first of them; true when every limit is kept.

    Attributes:
        networks: Their names, the first first.
        differences: Of each other network, by region and metric.
        broken: Sentences on limits that are not kept.
    """

    networks: tuple[str, ...]
    differences: tuple[Difference, ...]
    broken: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether every limit is kept."""
        return not self.broken

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values, with ``schema_version``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "networks": list(self.networks),
            "bootstrap": {"seed": SEED, "resamples": RESAMPLES, "level": 0.95, "drawn": "faces, paired"},
            "differences": [difference.to_json() for difference in self.differences],
            "broken": list(self.broken),
        }


@dataclass(frozen=True, eq=False)
class _Scores:
    """One region's figures of all networks on the same rows.

    Attributes:
        metrics: Of the columns.
        faces: Of the rows.
        by_network: Name to float64, (rows, columns).
    """

    metrics: tuple[str, ...]
    faces: tuple[str, ...]
    by_network: Mapping[str, Values]


def compare(
    networks: Mapping[str, Predict],
    samples: Sequence[Sample],
    scenes: Iterable[tuple[Clip, Clip]] = (),
    gate: Sequence[Limit] = (),
) -> Paired:
    """Score networks on the same images and clips and compare each with the first, image by image.

    Every draw of the bootstrap takes the same faces for all networks, so that what is hard for all cancels out.

    Args:
        networks: Names to what runs them, at least two, the first the one that others are compared with.
        samples: Images with their truth, all of one size, at least one.
        scenes: Pairs of a clip in motion and one standing still; none leaves dtSSD out.
        gate: How much worse the others may be.

    Raises:
        InputError: Fewer than two networks, no images, a prediction of a wrong shape or range, or a limit on a figure
            that was not measured.
    """
    if len(networks) < 2:
        raise InputError(f"compare: {len(networks)} network, expected at least two")
    tables = [(region, scores) for region, scores in _images(networks, samples)]
    tables += _clips(networks, scenes)
    found = [difference for region, scores in tables for difference in _differences(region, scores)]
    order = {name: place for place, name in enumerate(networks)}
    found.sort(key=lambda d: (order[d.network], d.region != FRAME, COMPARED.index(d.metric)))
    return Paired(tuple(networks), tuple(found), tuple(_broken(found, gate)))


def _images(networks: Mapping[str, Predict], samples: Sequence[Sample]) -> Iterable[tuple[str, _Scores]]:
    """Yield the figures of images by region."""
    keys = tuple(key for key in COMPARED if not METRICS[key].temporal)
    images = {name: evaluate(predict, samples, baseline=False).images for name, predict in networks.items()}
    first = next(iter(images.values()))
    for region in (FRAME, UNKNOWN):
        rows = [i for i, image in enumerate(first) if region in image.scores[MODEL]]
        if rows:
            tables = {
                name: np.array([[found[i].scores[MODEL][region][key] for key in keys] for i in rows], np.float64)
                for name, found in images.items()
            }
            yield region, _Scores(keys, tuple(first[i].face_id for i in rows), tables)


def _clips(networks: Mapping[str, Predict], scenes: Iterable[tuple[Clip, Clip]]) -> list[tuple[str, _Scores]]:
    """Return the flicker in motion by region; every scene is made once and run by all networks."""
    seen = [{name: flicker(run, [scene]).clips[0] for name, run in networks.items()} for scene in scenes]
    tables = []
    for region, figure in _MOVING.items():
        rows = [row for row in seen if all(figure in clip.figures for clip in row.values())]
        if rows:
            faces = tuple(next(iter(row.values())).face_id for row in rows)
            values = {name: np.array([[row[name].figures[figure]] for row in rows], np.float64) for name in networks}
            tables.append((region, _Scores((DTSSD,), faces, values)))
    return tables


def _differences(region: str, scores: _Scores) -> Iterable[Difference]:
    names = list(scores.by_network)
    draws = resampled_means({name: values[None] for name, values in scores.by_network.items()}, scores.faces)
    means = {name: values.mean(axis=0) for name, values in scores.by_network.items()}
    base = names[0]
    for name in names[1:]:
        with np.errstate(divide="ignore", invalid="ignore"):  # a perfect first network has nothing to divide by
            relative = 100.0 * (draws[name] / draws[base] - 1.0)
            value = 100.0 * (means[name] / means[base] - 1.0)
        for place, metric in enumerate(scores.metrics):
            finite = bool(np.isfinite(relative[:, place]).all())
            nothing = Interval(float(value[place]), math.nan, math.nan)
            percent = interval(float(value[place]), relative[:, place]) if finite else nothing
            count, first = len(scores.faces), float(means[base][place])
            yield Difference(name, metric, region, count, first, float(means[name][place]), percent)


def _broken(found: Sequence[Difference], gate: Sequence[Limit]) -> Iterable[str]:
    """Yield a sentence for each limit that a network does not keep."""
    for limit in gate:
        judged = [d for d in found if (d.metric, d.region) == (limit.metric, limit.region)]
        if not judged:
            raise InputError(f"--gate {limit}: not measured here; dtssd needs clips, {UNKNOWN} needs edges")
        for d in judged:
            if d.breaks(limit):
                yield f"{d.network}: {d.metric} ({d.region}) {percents(d.percent)}, limit {limit.percent:+g} %"


def percents(found: Interval) -> str:
    """Return a relative difference as a table shows it.

    Example:
        >>> percents(Interval(-0.304, -1.0, 0.25))
        '-0.30 % [-1.00, +0.25]'
    """
    return f"{found.value:+.2f} % [{found.low:+.2f}, {found.high:+.2f}]"
