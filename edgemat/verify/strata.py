"""Where a network is worse than its mean: each stratum's error beside that of all images, the worst one named."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgemat.errors import InputError
from edgemat.verify.bootstrap import Interval, mean_intervals
from edgemat.verify.evaluate import FRAME, MODEL, Evaluation
from edgemat.verify.groups import FAMILIES, ordered

LEAST_IMAGES = 10
LEAST_FACES = 3
"""A smaller stratum is shown and not judged: with one or two faces its figure is theirs, not the stratum's."""


@dataclass(frozen=True)
class Stratum:
    """The network's figures over the whole frame in one stratum.

    Attributes:
        family: One of `edgemat.verify.groups.FAMILIES`.
        name: Which of its strata.
        count: Images.
        faces: Faces that they show.
        mad: Mean MAD, 1e-3, with its 95 % interval over faces.
        iou: Mean IoU, likewise.
        ratio: The mean MAD over that of all images.
    """

    family: str
    name: str
    count: int
    faces: int
    mad: Interval
    iou: Interval
    ratio: float

    @property
    def judged(self) -> bool:
        """Whether it is large enough for its ratio to mean something, and is not the rest whose place is unknown."""
        return self.count >= LEAST_IMAGES and self.faces >= LEAST_FACES and self.name != "unknown"

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        return {
            "family": self.family,
            "name": self.name,
            "count": self.count,
            "faces": self.faces,
            "judged": self.judged,
            "mad": self.mad.to_json(),
            "iou": self.iou.to_json(),
            "ratio": self.ratio,
        }


@dataclass(frozen=True)
class Strata:
    """All strata of an evaluation, family by family.

    Attributes:
        rows: In the order of `edgemat.verify.groups.ordered`.
    """

    rows: tuple[Stratum, ...]

    def worst(self, family: str) -> Stratum | None:
        """Return the judged stratum of a family with the highest MAD, None where none is large enough.

        Raises:
            InputError: There is no such family.
        """
        return max(self._judged(family), key=lambda row: row.ratio, default=None)

    def between(self, family: str) -> float:
        """Return the MAD of the worst judged stratum over that of the best, NaN where fewer than two are judged.

        Args:
            family: One of `edgemat.verify.groups.FAMILIES`, such as ``skin``.

        Raises:
            InputError: There is no such family.
        """
        mads = [row.mad.value for row in self._judged(family)]
        return max(mads) / min(mads) if len(mads) > 1 and min(mads) > 0 else math.nan

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        families: dict[str, object] = {}
        for family in FAMILIES:
            worst = self.worst(family)
            families[family] = None if worst is None else {"worst": worst.name, "worst_ratio": worst.ratio}
        return {
            "least_images": LEAST_IMAGES,
            "least_faces": LEAST_FACES,
            "families": families,
            "rows": [row.to_json() for row in self.rows],
        }

    def _judged(self, family: str) -> list[Stratum]:
        if family not in FAMILIES:
            raise InputError(f"strata: no family {family!r}; there are {', '.join(FAMILIES)}")
        return [row for row in self.rows if row.family == family and row.judged]


def strata(evaluation: Evaluation) -> Strata:
    """Average MAD and IoU of the network over the whole frame in every stratum.

    An image with two kinds of occluders counts in the stratum of each. Intervals resample faces.

    Args:
        evaluation: The figures of every image.
    """
    return Strata(tuple(_rows(evaluation)))


def _rows(evaluation: Evaluation) -> Iterator[Stratum]:
    mean = evaluation.mean("mad").value
    for group in ordered({group for image in evaluation.images for group in image.groups} - {"all"}):
        members = [image for image in evaluation.images if group in image.groups]
        faces = [image.face_id for image in members]
        scores = [image.scores[MODEL][FRAME] for image in members]
        mad, iou = mean_intervals(np.array([[score["mad"], score["iou"]] for score in scores]), faces)
        family, _, name = group.partition(": ")
        ratio = mad.value / mean if mean > 0 else 1.0
        yield Stratum(family, name, len(members), len(set(faces)), mad, iou, ratio)
