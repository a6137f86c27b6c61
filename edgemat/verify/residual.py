"""Split what a network still gets wrong by where it lies: at the face's own edge, at an occluder, or in the plain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.metrics import UNKNOWN_RADIUS, unknown_region

REGIONS = ("face edge", "occluder edge", "both edges", "inside occluder", "free skin", "background")
"""Disjoint, and together the frame.

``face edge``: the unknown region of the base matte (hairline, jaw) where no occluder hides it. ``occluder edge``: the
unknown region of what occluders let through, half-transparent ones included. ``both edges``: where the two meet.
``inside occluder``: what an occluder hides of the face. ``free skin`` and ``background``: the rest.
"""

Alphas = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Share:
    """What one region holds of all samples' pixels and errors; shares of all regions add up to 1.

    Attributes:
        region: One of `REGIONS`.
        pixels: Share of the frame.
        error: Share of the total absolute error.
        mad: Mean absolute error inside the region, 1e-3.
        missed: Share, of all pixels on the wrong side of 0.5, of those here that are skin and were not found. With
            ``added``, what keeps IoU below 1.
        added: Likewise, of those that are no skin and were taken for it.
    """

    region: str
    pixels: float
    error: float
    mad: float
    missed: float
    added: float

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        return asdict(self)


def residual(samples: Iterable[Sample], predictions: Iterable[Alphas]) -> tuple[Share, ...]:
    """Split the error of predictions by region, over all samples together.

    Args:
        samples: What was predicted on, with their base mattes, at least one.
        predictions: Alpha of each, float32, (H, W), in [0, 1], in the samples' order.

    Returns:
        One share a region, in the order of `REGIONS`. Where nothing is wrong, shares of errors are 0.

    Raises:
        InputError: There are no samples, or a sample shows skin and has no base matte (a folder of one's own).

    Example:
        >>> y, x = np.mgrid[:64, :64]
        >>> face = np.asarray(np.hypot(y - 32, x - 32) < 24, np.float32)
        >>> shares = residual([Sample(np.zeros((64, 64, 3), np.uint8), face, face, face, "a")], [face * 0.5])
        >>> [(share.region, f"{share.error:.0%}") for share in shares if share.error]
        [('face edge', '17%'), ('free skin', '83%')]
    """
    pixels, errors, missed, added = (np.zeros(len(REGIONS)) for _ in range(4))
    for sample, prediction in zip(samples, predictions, strict=True):
        places = regions(sample).ravel()
        wrong = (sample.alpha >= 0.5).astype(int) - (prediction >= 0.5)
        for total, values in (
            (pixels, np.ones_like(prediction)),
            (errors, np.abs(prediction.astype(np.float64) - sample.alpha)),
            (missed, wrong > 0),
            (added, wrong < 0),
        ):
            total += np.bincount(places, values.ravel(), len(REGIONS))
    if not pixels.any():
        raise InputError("residual: no samples; expected at least one")
    flips = missed.sum() + added.sum()
    columns = zip(
        REGIONS,
        pixels / pixels.sum(),
        errors / (errors.sum() or 1),
        1e3 * errors / np.maximum(pixels, 1),
        missed / (flips or 1),
        added / (flips or 1),
        strict=True,
    )
    return tuple(Share(region, *map(float, values)) for region, *values in columns)


def regions(sample: Sample) -> npt.NDArray[np.intp]:
    """Say of each pixel in which of `REGIONS` it lies, by position, (H, W).

    Raises:
        InputError: The sample shows skin and has no base matte.
    """
    if not sample.base_alpha.any() and sample.alpha.any():
        raise InputError(f"residual: sample {sample.face_id} has no base matte, so its edges cannot be told apart")
    radius = UNKNOWN_RADIUS * min(sample.alpha.shape) / 256
    free = _let_through(sample)
    face_edge = unknown_region(sample.base_alpha, radius)
    occluder_edge = unknown_region(free, radius)
    inside, hidden = sample.base_alpha >= 0.5, free < 0.5
    conditions = {
        "both edges": face_edge & occluder_edge,
        "occluder edge": inside & occluder_edge,
        "inside occluder": hidden & (inside | face_edge),
        "face edge": face_edge,
        "free skin": inside,
    }
    places = [REGIONS.index(region) for region in conditions]
    return np.select(list(conditions.values()), places, REGIONS.index("background"))


def _let_through(sample: Sample) -> Alphas:
    """Return what share of the face's light occluders let through, (H, W).

    Beyond the face it cannot be seen and takes the value of the nearest skin, lest the face's own edge counts as an
    occluder's.
    """
    from scipy import ndimage

    known = sample.base_alpha >= 0.5
    free = np.ones_like(sample.alpha)
    if not known.any():
        return free
    np.divide(sample.alpha, sample.base_alpha, out=free, where=known)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(np.clip(free, 0, 1)[tuple(nearest)], np.float32)
