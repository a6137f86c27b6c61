"""Measure a matting network on samples with ground truth, beside a baseline that knows no occluder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.metrics import METRICS, UNKNOWN_RADIUS, unknown_region
from edgemat.verify.bootstrap import RESAMPLES, SEED, Interval, mean_intervals
from edgemat.verify.groups import face_height, groups, ordered

SCHEMA_VERSION = 2
MODEL = "model"
BASELINE = "mesh hull"
FRAME, UNKNOWN = "frame", "unknown"
IMAGE_METRICS = tuple(key for key, metric in METRICS.items() if not metric.temporal)

Predict = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
Scores = Mapping[str, Mapping[str, float]]
"""By region (``unknown`` only where an image has such pixels), then by metric key."""

_BATCH = 16


@dataclass(frozen=True)
class ImageScores:
    """The figures of one image.

    Attributes:
        index: Place among the evaluated samples, from 0.
        face_id: The source face.
        occluder_ids: The occluders, back to front.
        kinds: Their classes; empty when the face is free.
        ita: Skin tone, degrees; NaN when it is not known.
        face_height: Height of the face over the frame's; NaN when it is not known.
        scores: By predictor, region and metric key.
    """

    index: int
    face_id: str
    occluder_ids: tuple[str, ...]
    kinds: tuple[str, ...]
    ita: float
    face_height: float
    scores: Mapping[str, Scores]

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that this image counts in: ``all``, and those of `edgemat.verify.groups`."""
        return ("all", *groups(self.kinds, self.ita, self.face_height))

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        return {
            "index": self.index,
            "face_id": self.face_id,
            "occluder_ids": list(self.occluder_ids),
            "kinds": list(self.kinds),
            "ita": None if math.isnan(self.ita) else self.ita,
            "face_height": None if math.isnan(self.face_height) else self.face_height,
            "scores": {who: {where: dict(v) for where, v in s.items()} for who, s in self.scores.items()},
        }


@dataclass(frozen=True)
class Row:
    """One line of the table: a predictor in a group of images and a region.

    Attributes:
        predictor: ``model`` or ``mesh hull``.
        group: ``all``, or one of `edgemat.verify.groups`, such as ``skin: light``.
        region: ``frame`` or ``unknown``.
        count: Images averaged.
        means: By metric key, the mean over images with its 95 % bootstrap interval.
    """

    predictor: str
    group: str
    region: str
    count: int
    means: Mapping[str, Interval]

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        return {
            "predictor": self.predictor,
            "group": self.group,
            "region": self.region,
            "count": self.count,
            "means": {key: interval.to_json() for key, interval in self.means.items()},
        }


@dataclass(frozen=True)
class Evaluation:
    """All figures of a run, image by image; tables are derived.

    Attributes:
        images: One entry a sample, in order, at least one.
        predictors: Who was measured, the network first.
    """

    images: tuple[ImageScores, ...]
    predictors: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check that there is something to average."""
        if not self.images:
            raise InputError("evaluate: no samples; expected at least one (is the split empty?)")

    def rows(self) -> tuple[Row, ...]:
        """Average over images: ``all`` first, then the groups in the order of `edgemat.verify.groups.ordered`.

        Intervals resample faces, not images: composites of one face are not independent.
        """
        found = {group for image in self.images for group in image.groups} - {"all"}
        return tuple(
            row
            for group in ["all", *ordered(found)]
            for region in (FRAME, UNKNOWN)
            for row in self._rows(group, region)
        )

    def mean(self, metric: str, predictor: str = MODEL, region: str = FRAME) -> Interval:
        """Return one figure over all images.

        Args:
            metric: Key of an image metric, such as ``mad``.
            predictor: ``model`` or ``mesh hull``.
            region: ``frame`` or ``unknown``.

        Raises:
            InputError: There is no such figure.
        """
        for row in self._rows("all", region):
            if row.predictor == predictor and metric in row.means:
                return row.means[metric]
        raise InputError(f"evaluation: no figure for metric {metric!r}, predictor {predictor!r}, region {region!r}")

    def worst(self, n: int, metric: str = "mad") -> tuple[ImageScores, ...]:
        """Return the ``n`` images on which the network does worst over the whole frame, the worst first."""
        if metric not in IMAGE_METRICS:
            raise InputError(f"evaluation: no metric {metric!r}; there are {', '.join(IMAGE_METRICS)}")
        sign = -1 if METRICS[metric].better == "lower" else 1
        ranked = sorted(self.images, key=lambda image: sign * image.scores[MODEL][FRAME][metric])
        return tuple(ranked[:n])

    def to_json(self) -> dict[str, object]:
        """Return everything as JSON-ready values, single images included, with ``schema_version``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "metrics": {
                key: {"name": METRICS[key].name, "unit": METRICS[key].unit, "better": METRICS[key].better}
                for key in IMAGE_METRICS
            },
            "unknown_radius_at_256": UNKNOWN_RADIUS,
            "bootstrap": {"seed": SEED, "resamples": RESAMPLES, "level": 0.95, "drawn": "faces"},
            "rows": [row.to_json() for row in self.rows()],
            "images": [image.to_json() for image in self.images],
        }

    def _rows(self, group: str, region: str) -> Iterator[Row]:
        """Average one group in one region; nothing when no image of the group has such pixels."""
        members = [i for i in self.images if group in i.groups and region in i.scores[self.predictors[0]]]
        if not members:
            return
        table = [
            [member.scores[who][region][key] for who in self.predictors for key in IMAGE_METRICS] for member in members
        ]
        faces = [member.face_id for member in members]
        intervals = iter(mean_intervals(np.array(table, np.float64), faces))
        for who in self.predictors:
            means = dict(zip(IMAGE_METRICS, islice(intervals, len(IMAGE_METRICS)), strict=True))
            yield Row(who, group, region, len(members), means)


def evaluate(predict: Predict, samples: Iterable[Sample], baseline: bool = True) -> Evaluation:
    """Run a network on samples and measure it over the whole frame and the unknown region.

    Samples are drawn a few at a time and let go again, so that a generator of any length will do.

    Args:
        predict: RGB images, uint8, (N, H, W, 3) -> alpha, float32, (N, H, W), in [0, 1].
        samples: What to measure on, all of one size within a batch of 16.
        baseline: Measure each sample's mesh hull as well.

    Returns:
        The figures of every image and their means.

    Raises:
        InputError: There are no samples, their sizes differ, or the predictions have a wrong shape or range.

    Example:
        >>> face, truth = np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.float32)
        >>> sample = Sample(face, truth, truth, truth * 0.5, face_id="a")
        >>> result = evaluate(lambda images: np.ones(images.shape[:3], np.float32), [sample])
        >>> print(result.mean("mad"), "|", result.mean("mad", "mesh hull"))
        0 [0, 0] | 500 [500, 500]
    """
    images: list[ImageScores] = []
    stream = iter(samples)
    while batch := list(islice(stream, _BATCH)):
        for sample, alpha in zip(batch, _predictions(predict, batch, len(images)), strict=True):
            predictions = {MODEL: alpha} | ({BASELINE: sample.hull} if baseline else {})
            images.append(_measure(len(images), sample, predictions))
    return Evaluation(tuple(images), (MODEL, BASELINE) if baseline else (MODEL,))


def _predictions(predict: Predict, batch: Sequence[Sample], first: int) -> npt.NDArray[np.float32]:
    """Run the network on a batch and hold it to its contract."""
    shapes = {sample.image.shape for sample in batch}
    if len(shapes) > 1:
        raise InputError(f"evaluate: samples {first} to {first + len(batch) - 1} differ in size: {sorted(shapes)}")
    images = np.stack([sample.image for sample in batch])
    alpha = np.asarray(predict(images))
    if alpha.shape != images.shape[:3] or alpha.dtype != np.float32:
        raise InputError(
            f"evaluate: predict returned {alpha.dtype}{alpha.shape} for {len(batch)} images; "
            f"expected float32{images.shape[:3]}"
        )
    if not (alpha.min() >= 0 and alpha.max() <= 1):  # also false for NaN
        raise InputError(
            f"evaluate: predict returned alpha in [{alpha.min():g}, {alpha.max():g}] from sample {first} on; "
            "expected finite values in [0, 1]"
        )
    return alpha


def _measure(index: int, sample: Sample, predictions: Mapping[str, npt.NDArray[np.float32]]) -> ImageScores:
    """Measure every predictor on one sample, both regions at once: finding components costs the most."""
    radius = UNKNOWN_RADIUS * min(sample.alpha.shape) / 256
    unknown = unknown_region(sample.alpha, radius)
    regions = {FRAME: np.ones_like(unknown)} | ({UNKNOWN: unknown} if unknown.any() else {})
    masks = np.stack(list(regions.values()))
    scores: dict[str, Scores] = {}
    for who, alpha in predictions.items():
        values = {key: METRICS[key].function(alpha, sample.alpha, masks) for key in IMAGE_METRICS}
        scores[who] = {
            region: {key: float(value[place]) for key, value in values.items()} for place, region in enumerate(regions)
        }
    height = face_height(sample.hull)
    return ImageScores(index, sample.face_id, sample.occluder_ids, sample.kinds, sample.ita, height, scores)
