"""What precision costs on ground truth: every metric beside the float network's, overall and stratum by stratum.

Two rules, because they answer two questions.

- *Over all images* a limit is kept when the whole 95 % interval keeps it: the loss is shown to be smaller. Faces are
  drawn, artefact and float network together, as in `edgemat.verify.paired`.
- *In a stratum* (a bin of the teacher's uncertainty, a class of occluder, a skin tone, ...) there are few faces, and
  many strata. A limit is broken when the whole interval is beyond it: the loss is shown to be larger. The intervals
  of all strata and metrics hold at once (`edgemat.verify.parity.simultaneous`), so the worst of them may be judged. It
  is broken, too, where a class of images lost more than the limit and so does next to no random choice of as many faces
  (`edgemat.verify.parity.exchange`): then it is the class that lost, however unequally its few faces did.

Per cents of next to nothing mean nothing: half of the pixels lie where the float network makes no error at all. So a
limit is never less than a difference that nobody sees (`edgemat.verify.parity.differences.FLOORS`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from edgemat.errors import InputError
from edgemat.metrics import METRICS, dtssd
from edgemat.verify.bootstrap import Interval, Values
from edgemat.verify.evaluate import IMAGE_METRICS, UNKNOWN
from edgemat.verify.paired import DTSSD
from edgemat.verify.parity import places
from edgemat.verify.parity.differences import Difference, count, judge, paired
from edgemat.verify.parity.exchange import ALARM, Exchange
from edgemat.verify.parity.images import Alphas, ParitySet
from edgemat.verify.parity.places import FRAME, Part
from edgemat.verify.parity.report import Figure
from edgemat.verify.parity.simultaneous import LEAST_FACES, intervals

WHOLE: Mapping[str, float] = {"mad": 5.0, "mse": 5.0, "grad": 3.0, "conn": 5.0, "iou": 0.6, "dtssd": 3.0}
"""Default limits over all images, per cent worse than the float network: twice what the worst of the shipped int8
artefacts came to on any of eight choices of 32 composites (docs/parity.md). SAD says what MAD does."""
STRATA: Mapping[str, float] = {"mad": 10.0, "grad": 10.0, "conn": 10.0}
"""Default limits in any stratum."""


@dataclass(frozen=True)
class QualityLimits:
    """How much worse than the float network an artefact may be, in per cent of the float network's figure, by metric.

    Attributes:
        whole: Over all images (whole frame, and unknown region); a metric that is not named is shown and not judged.
        strata: In the worst stratum, likewise.
    """

    whole: Mapping[str, float] = field(default_factory=lambda: dict(WHOLE))
    strata: Mapping[str, float] = field(default_factory=lambda: dict(STRATA))

    def __post_init__(self) -> None:
        """Refuse what names no metric or keeps nothing out."""
        for name, limit in (*self.whole.items(), *self.strata.items()):
            if name not in METRICS or not (math.isfinite(limit) and limit >= 0):
                raise InputError(
                    f"quality limit {name} = {limit}: expected a metric of {', '.join(METRICS)}, and per cent >= 0"
                )


class Quality:
    """Measures artefacts beside the float network, whose own figures are computed once.

    Attributes:
        not_proven: What a reader must not conclude, a sentence each.

    Example:
        >>> face, alpha = np.zeros((1, 8, 8, 3), np.uint8), np.ones((1, 8, 8), np.float32)
        >>> none = np.zeros((0, 2, 8, 8), np.float32)
        >>> one = ParitySet(face, alpha, None, ((),), ("anna",), np.zeros((0, 2, 8, 8, 3), np.uint8), none, ())
        >>> print(Quality(one, alpha * np.float32(0.5)).figures(alpha * np.float32(0.4))[0])
        quantization mad: 20 %, at most 5 %; 500 -> 600 1e-3; 1 image of 1 face: no interval
    """

    def __init__(self, images: ParitySet, reference: Alphas, limits: QualityLimits | None = None) -> None:
        """Measure the float network.

        Args:
            images: What everything was run on.
            reference: The float trunk's alpha (ONNX Runtime) of ``images.to_run``, float32, (N + C * T, H, W).
            limits: For artefacts that are given none of their own; the defaults if None.

        Raises:
            InputError: The reference has another shape, or is not finite.
            BackendMissingError: SciPy is missing, and there is a truth.
        """
        self._images = images
        self._pixels = math.prod(images.images.shape[1:3])
        self._limits = QualityLimits() if limits is None else limits
        self._names, self._masks = places.regions(images)
        self._bands = places.bands(images)
        self._parts = tuple(places.parts(images, self._names, self._masks))
        self._alphas = self._checked(reference)
        self._base = self._scores(self._alphas) if images.truth is not None else np.zeros((0, 0, 0))
        self._still = self._flicker(self._alphas)
        classes = [part for part in self._parts if part.place == 0 and part.region != FRAME]
        self._classes = [part for part in classes if self._faces(part) >= LEAST_FACES]
        members = np.zeros((len(images.images), len(self._classes)), np.bool_)
        for column, part in enumerate(self._classes):
            members[part.images, column] = True
        self._exchange = Exchange(members, images.faces)
        self.not_proven = tuple(self._unproven())

    def figures(self, alphas: Alphas, limits: QualityLimits | None = None) -> tuple[Figure, ...]:
        """Return one artefact's figures; empty where there is no truth.

        Figures over all images come first, then the strata's, in the order of `edgemat.verify.groups.ordered`.

        Args:
            alphas: The artefact's alpha of ``images.to_run``, float32, (N + C * T, H, W); what is beyond [0, 1] by a
                rounding is cut.
            limits: Its own; those of the constructor if None.

        Raises:
            InputError: The alphas have another shape, or are not finite.
        """
        if self._images.truth is None:
            return ()
        given = self._limits if limits is None else limits
        found = self._checked(alphas)
        scores = self._scores(found)
        return (*self._whole(scores, given), *self._moving(found, given), *self._strata(scores, given))

    def _checked(self, alphas: Alphas) -> Alphas:
        shape = self._images.to_run.shape[:3]
        if alphas.shape != shape or not np.isfinite(alphas).all():
            raise InputError(f"parity: alpha {alphas.dtype}{alphas.shape}, expected finite float32 {shape}")
        return np.clip(alphas, 0, 1)

    def _scores(self, alphas: Alphas) -> Values:
        """Return every metric, (images, regions, metrics), NaN where an image has no such region."""
        truth = self._images.truth
        assert truth is not None
        scores = np.full((len(truth), len(self._names), len(IMAGE_METRICS)), np.nan)
        for i, (masks, true) in enumerate(zip(self._masks, truth, strict=True)):
            if alphas is not self._alphas and np.array_equal(alphas[i], self._alphas[i]):
                scores[i] = self._base[i]  # as it is in a float32 artefact
                continue
            there = masks.any(axis=(1, 2))
            for column, key in enumerate(IMAGE_METRICS):
                scores[i, there, column] = METRICS[key].function(alphas[i], true, masks[there])
        return scores

    def _flicker(self, alphas: Alphas) -> Values:
        """Return dtSSD, (clips, 2): over the frame, and over the band around edges, NaN where a frame has none."""
        moving = self._images.split(alphas)[1]
        found = np.full((len(moving), 2), np.nan)
        for i, (alpha, truth, bands) in enumerate(zip(moving, self._images.clip_truth, self._bands, strict=True)):
            found[i, 0] = dtssd(alpha, truth)
            if bands.any(axis=(1, 2)).all():
                found[i, 1] = dtssd(alpha, truth, bands)
        return found

    def _whole(self, scores: Values, limits: QualityLimits) -> Iterator[Figure]:
        """Yield the figures over all images."""
        for part in self._parts:
            if part.region in (FRAME, UNKNOWN):
                first, other = self._base[part.images, part.place], scores[part.images, part.place]
                faces = [self._images.faces[i] for i in part.images]
                for difference in paired(part.region, IMAGE_METRICS, first, other, faces, "image"):
                    yield judge(difference, limits.whole, self._pixels)

    def _moving(self, alphas: Alphas, limits: QualityLimits) -> Iterator[Figure]:
        scores = self._flicker(alphas)
        for place, region in enumerate((FRAME, UNKNOWN)):
            rows = np.flatnonzero(np.isfinite(self._still[:, place]))
            if rows.size:
                first, other = self._still[rows, place, None], scores[rows, place, None]
                faces = [self._images.clip_faces[i] for i in rows]
                for difference in paired(region, (DTSSD,), first, other, faces, "clip"):
                    yield judge(difference, limits.whole, self._pixels)

    def _strata(self, scores: Values, limits: QualityLimits) -> Iterator[Figure]:
        """Yield the figures of every stratum; all that have an interval are one family."""
        parts = [part for part in self._parts if part.region not in (FRAME, UNKNOWN)]
        if not parts:
            return
        metrics = len(IMAGE_METRICS)
        columns = [self._parts[0], *parts]  # the whole frame first: the spread that a small class has at least
        first, other = (np.full((len(scores), len(columns) * metrics), np.nan) for _ in range(2))
        for place, part in enumerate(columns):
            at = slice(place * metrics, (place + 1) * metrics)
            first[part.images, at] = self._base[part.images, part.place]
            other[part.images, at] = scores[part.images, part.place]
        # A bin holds pixels of every image and has a scale of its own: its own spread is known well enough.
        whole = [m if part.place == 0 else p * metrics + m for p, part in enumerate(columns) for m in range(metrics)]
        found = intervals(first, other, self._images.faces, whole)
        lucky = self._lucky(scores, limits.strata)
        for place, part in enumerate(columns[1:], 1):
            size = count(len(part.images), "image", self._faces(part))
            for m, metric in enumerate(IMAGE_METRICS):
                k = place * metrics + m
                ends = Interval(float(found.value[k]), float(found.low[k]), float(found.high[k]))
                means = [float(values[part.images, k].mean()) for values in (first, other)]
                difference = Difference(metric, part.region, means[0], means[1], ends, size)
                judged = limits.strata if found.faces[k] >= LEAST_FACES else {}
                chance = lucky.get((part.region, metric), True)
                yield judge(difference, judged, self._pixels, shown_worse=True, lucky=chance)

    def _lucky(self, scores: Values, limits: Mapping[str, float]) -> dict[tuple[str, str], bool]:
        """Return, for each class and judged metric, whether a random choice of faces may well be as bad."""
        keys = [key for key in IMAGE_METRICS if key in limits]
        if not keys or not self._classes:
            return {}
        columns = [IMAGE_METRICS.index(key) for key in keys]
        signs = np.array([-1.0 if METRICS[key].better == "higher" else 1.0 for key in keys])
        chances = self._exchange.chances(signs * (scores[:, 0, columns] - self._base[:, 0, columns]))
        likely = chances > ALARM / chances.size
        return {
            (part.region, key): bool(likely[s, m]) for s, part in enumerate(self._classes) for m, key in enumerate(keys)
        }

    def _faces(self, part: Part) -> int:
        return len({self._images.faces[i] for i in part.images})

    def _unproven(self) -> Iterator[str]:
        yield from self._images.not_proven
        if self._images.truth is None:
            return
        small = [part.region for part in self._parts if self._faces(part) < LEAST_FACES]
        if small:
            yield f"Strata of fewer than {LEAST_FACES} faces were not judged: {', '.join(dict.fromkeys(small))}."
