"""Judge a teacher's uncertainty on samples with ground truth: one that does not rank its errors fails."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.metrics import UNKNOWN_RADIUS, unknown_region
from edgemat.verify.bootstrap import RESAMPLES, SEED, Interval, mean_intervals
from edgemat.verify.evaluate import FRAME, UNKNOWN
from edgemat.verify.uncertainty import Reliability, Sparsification, skill, spearman

SCHEMA_VERSION = 1
ALL = "all"
LOWEST_SPEARMAN = 0.5
"""Pooled over all pixels; a teacher below it fails."""
HIGHEST_AUSE_RATIO = 0.5
"""AUSE over that of a random order; a teacher above it fails."""
HISTOGRAM_EDGES = np.logspace(-5, 0, 51)
"""Ten bins a decade; what is smaller or larger counts in the first or the last."""

Alphas = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]
Predict = Callable[[npt.NDArray[np.uint8]], tuple[Alphas, Alphas]]
"""RGB images, uint8, (N, H, W, 3) -> alpha and its expected ``|error|``, float32, (N, H, W) each."""

_BATCH = 16


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a teacher says of samples, in their order.

    Attributes:
        alpha: float32, (N, H, W), in [0, 1].
        uncertainty: Expected ``|error|`` of alpha, float32, (N, H, W), finite, >= 0.
    """

    alpha: Alphas
    uncertainty: Alphas


@dataclass(frozen=True, eq=False)
class Figures:
    """The figures of one group of images in one region, pooled over its pixels.

    Attributes:
        group: ``all``, ``occluder: KIND`` or ``occluder: none``.
        region: ``frame`` or ``unknown``.
        images: Images that have such pixels.
        pixels: Pixels pooled.
        error: Mean actual ``|error|``, in the unit of alpha.
        uncertainty: Mean expected ``|error|``, in the same unit.
        exact: Share of pixels whose error is exactly 0, in [0, 1]. They tie, so that of t such pixels no uncertainty
            without ties reaches a rank correlation above sqrt(1 - t^3).
        spearman: Rank correlation of the two; NaN where one of them is constant.
        sparsification: The curves and their areas.
        reliability: Expected against actual error, bin by bin.
        coverage: By level, the share of pixels within the Laplace interval.
    """

    group: str
    region: str
    images: int
    pixels: int
    error: float
    uncertainty: float
    exact: float
    spearman: float
    sparsification: Sparsification
    reliability: Reliability
    coverage: Mapping[float, float]

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values, curves included; what is undefined is None."""
        curves, bins = self.sparsification, self.reliability
        return {
            "group": self.group,
            "region": self.region,
            "images": self.images,
            "pixels": self.pixels,
            "mean_error": self.error,
            "mean_uncertainty": self.uncertainty,
            "exact": self.exact,
            "spearman": _defined(self.spearman),
            "ause": _defined(curves.ause),
            "ause_random": _defined(curves.random),
            "ause_ratio": _defined(curves.ratio),
            "ece": bins.ece,
            "coverage": {f"{level:g}": share for level, share in self.coverage.items()},
            "sparsification": {
                name: [_defined(value) for value in values.tolist()]
                for name, values in (
                    ("removed", curves.removed),
                    ("remaining", curves.remaining),
                    ("oracle", curves.oracle),
                )
            },
            "reliability": {"predicted": bins.predicted.tolist(), "actual": bins.actual.tolist()},
        }


@dataclass(frozen=True)
class ImageFigures:
    """The figures of one image over its whole frame.

    Attributes:
        index: Place among the samples, from 0.
        face_id: The source face.
        kinds: The occluders' classes; empty when the face is free.
        error: Mean actual ``|error|``, in the unit of alpha.
        uncertainty: Mean expected ``|error|``.
        spearman: Rank correlation over its pixels; NaN where one of the two is constant.
    """

    index: int
    face_id: str
    kinds: tuple[str, ...]
    error: float
    uncertainty: float
    spearman: float

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        return {
            "index": self.index,
            "face_id": self.face_id,
            "kinds": list(self.kinds),
            "mean_error": self.error,
            "mean_uncertainty": self.uncertainty,
            "spearman": _defined(self.spearman),
        }


@dataclass(frozen=True, eq=False)
class Report:
    """All that was found of a teacher's uncertainty; true when it passes (:func:`judge`).

    Attributes:
        figures: All images first, then by occluder; the whole frame, then the unknown region.
        images: One entry a sample, in order.
        error_counts: Pixels by actual ``|error|``, int64, between `HISTOGRAM_EDGES`.
        uncertainty_counts: Pixels by uncertainty, likewise.
    """

    figures: tuple[Figures, ...]
    images: tuple[ImageFigures, ...]
    error_counts: npt.NDArray[np.int64]
    uncertainty_counts: npt.NDArray[np.int64]

    @property
    def pooled(self) -> Figures:
        """The figures of all pixels of all images: what is judged."""
        return self.figures[0]

    @property
    def image_spearman(self) -> Interval | None:
        """The mean of the images' own rank correlations, with its 95 % interval over faces; None if all are undefined.

        Images whose correlation is undefined are left out.
        """
        ranked = [image for image in self.images if math.isfinite(image.spearman)]
        if not ranked:
            return None
        values = np.array([[image.spearman] for image in ranked])
        return mean_intervals(values, [image.face_id for image in ranked])[0]

    def __bool__(self) -> bool:
        """Return whether the teacher passes."""
        return not judge(self)

    def to_json(self) -> dict[str, object]:
        """Return everything as JSON-ready values, single images included, with ``schema_version``."""
        mean, failures = self.image_spearman, judge(self)
        return {
            "schema_version": SCHEMA_VERSION,
            "passed": not failures,
            "failures": failures,
            "limits": {"lowest_spearman": LOWEST_SPEARMAN, "highest_ause_ratio": HIGHEST_AUSE_RATIO},
            "unknown_radius_at_256": UNKNOWN_RADIUS,
            "bootstrap": {"seed": SEED, "resamples": RESAMPLES, "level": 0.95, "drawn": "faces"},
            "image_spearman": None if mean is None else mean.to_json(),
            "figures": [row.to_json() for row in self.figures],
            "histogram": {
                "edges": HISTOGRAM_EDGES.tolist(),
                "error": self.error_counts.tolist(),
                "uncertainty": self.uncertainty_counts.tolist(),
            },
            "images": [image.to_json() for image in self.images],
        }


def judge(report: Report) -> list[str]:
    """Say why a teacher's uncertainty is of no use, judged over all pixels of all images.

    Args:
        report: What :func:`measure` found.

    Returns:
        One sentence a failure; empty when the uncertainty passes. What is undefined fails.
    """
    pooled, failures = report.pooled, []
    if not pooled.spearman >= LOWEST_SPEARMAN:  # also true for NaN
        found = f"{pooled.spearman:.3f}" if math.isfinite(pooled.spearman) else "undefined (a constant ranks nothing)"
        failures.append(
            f"Spearman correlation of uncertainty and |error| is {found}; at least {LOWEST_SPEARMAN:g} passes "
            f"({pooled.exact:.0%} of the pixels have no error at all, which ties their ranks)"
        )
    curves = pooled.sparsification
    if not curves.ratio <= HIGHEST_AUSE_RATIO:
        found = f"{curves.ause:.3f}, {curves.ratio:.2f} of a random order's {curves.random:.3f}"
        found = found if math.isfinite(curves.ratio) else "undefined (every pixel has the same error)"
        failures.append(f"AUSE is {found}; at most {HIGHEST_AUSE_RATIO:g} of random's passes")
    return failures


def teacher(weights: Path | None = None) -> Predict:
    """Return a teacher as a function of images.

    Args:
        weights: A teacher's file; the shipped one if None.

    Raises:
        InputError: The weights cannot be read.
    """
    from edgemat.model.predict import predict_teacher
    from edgemat.model.weights import load_teacher, shipped_teacher

    net = load_teacher(weights or shipped_teacher()).net
    return lambda images: predict_teacher(net, images)


def run(predict: Predict, samples: Sequence[Sample]) -> Predictions:
    """Run a teacher on samples, a few at a time, and hold it to its contract.

    Args:
        predict: The teacher, such as :func:`teacher` returns.
        samples: What to run on, all of one size, at least one.

    Raises:
        InputError: There are no samples, their sizes differ, or the teacher's answer has a wrong shape, dtype or range;
            the message names the image.
    """
    shapes = {sample.image.shape for sample in samples}
    if len(shapes) != 1:
        raise InputError(f"uncertainty: {len(samples)} samples of sizes {sorted(shapes)}; expected some, of one size")
    parts = []
    for first in range(0, len(samples), _BATCH):
        batch = samples[first : first + _BATCH]
        images = np.stack([sample.image for sample in batch])
        answer = predict(images)
        for name, values in zip(("alpha", "uncertainty"), answer, strict=True):
            if values.shape != images.shape[:3] or values.dtype != np.float32:
                raise InputError(
                    f"uncertainty: the teacher's {name} is {values.dtype}{values.shape} for {len(batch)} images; "
                    f"expected float32{images.shape[:3]}"
                )
            for place, (sample, one) in enumerate(zip(batch, values, strict=True), first):
                _check(name, one, f"image {place} (face {sample.face_id})")
        parts.append(answer)
    alpha, uncertainty = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Predictions(alpha, uncertainty)


def _check(name: str, values: Alphas, where: str) -> None:
    highest = 1.0 if name == "alpha" else float(np.finfo(np.float32).max)
    if values.min() >= 0 and values.max() <= highest:  # false for NaN
        return
    strange, negative = int((~np.isfinite(values)).sum()), int((values < 0).sum())
    expected = "[0, 1]" if name == "alpha" else ">= 0"
    raise InputError(
        f"uncertainty: the teacher's {name} of {where} holds {strange} values that are not finite and {negative} "
        f"negative ones, its largest is {np.max(values):g}; expected finite values {expected}"
    )


def measure(samples: Sequence[Sample], predictions: Predictions) -> Report:
    """Measure how a teacher's uncertainty ranks and sizes its actual errors.

    Args:
        samples: What was predicted on.
        predictions: The teacher's, in the same order (:func:`run`).

    Returns:
        The figures of all pixels, of the unknown region and of each kind of occluder, and those of each image.

    Raises:
        InputError: Predictions and samples do not fit each other.

    Example:
        >>> image, truth = np.zeros((8, 8, 3), np.uint8), np.tile(np.linspace(0, 1, 8, dtype=np.float32), (8, 1))
        >>> sample = Sample(image, truth, truth, truth, face_id="a")
        >>> report = measure([sample], Predictions(np.ones((1, 8, 8), np.float32), 1 - truth[None]))
        >>> bool(report), report.pooled.spearman, report.pooled.sparsification.ause
        (True, 1.0, 0.0)
    """
    truth = np.stack([sample.alpha for sample in samples])
    if not truth.shape == predictions.alpha.shape == predictions.uncertainty.shape:
        shapes = f"alpha {predictions.alpha.shape} and uncertainty {predictions.uncertainty.shape}"
        raise InputError(f"uncertainty: {shapes} for samples of {truth.shape}; expected the same shape")
    error = np.abs(np.subtract(predictions.alpha, truth, dtype=np.float64))
    images = tuple(
        _image(index, *parts) for index, parts in enumerate(zip(samples, predictions.uncertainty, error, strict=True))
    )
    figures = tuple(_figures(samples, predictions.uncertainty, error))
    return Report(figures, images, _histogram(error), _histogram(predictions.uncertainty))


def _image(index: int, sample: Sample, uncertainty: Alphas, error: Values) -> ImageFigures:
    mean = float(uncertainty.mean(dtype=np.float64))
    return ImageFigures(index, sample.face_id, sample.kinds, float(error.mean()), mean, spearman(uncertainty, error))


def _figures(samples: Sequence[Sample], uncertainty: Alphas, error: Values) -> Iterator[Figures]:
    """Measure group by group; only one group's pixels are copied at a time."""
    radius = UNKNOWN_RADIUS * min(error.shape[1:]) / 256
    unknown = np.stack([unknown_region(sample.alpha, radius) for sample in samples])
    kinds = [sorted(set(sample.kinds)) or ["none"] for sample in samples]
    groups = {ALL: np.ones(len(samples), np.bool_)} | {
        f"occluder: {kind}": np.array([kind in own for own in kinds])
        for kind in sorted({kind for own in kinds for kind in own})
    }
    for group, members in groups.items():
        for region, where in ((FRAME, np.ones_like(unknown[:1])), (UNKNOWN, unknown[members])):
            chosen = np.broadcast_to(where, (int(members.sum()), *error.shape[1:]))
            if chosen.any():
                count = int(chosen.any(axis=(1, 2)).sum())
                yield _measure(group, region, count, uncertainty[members][chosen], error[members][chosen])


def _measure(group: str, region: str, images: int, uncertainty: Alphas, error: Values) -> Figures:
    means = float(error.mean()), float(uncertainty.mean(dtype=np.float64)), float(np.mean(error == 0))
    correlation, curves, bins, shares = skill(uncertainty, error)
    return Figures(group, region, images, error.size, *means, correlation, curves, bins, shares)


def _histogram(values: npt.NDArray[np.float32] | Values) -> npt.NDArray[np.int64]:
    clipped = np.clip(values, HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1])
    return np.histogram(clipped, HISTOGRAM_EDGES)[0].astype(np.int64)


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None
