"""Where a difference is looked for: places within images, and classes of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgemat.metrics import UNKNOWN_RADIUS, unknown_region
from edgemat.verify.evaluate import UNKNOWN
from edgemat.verify.groups import ordered
from edgemat.verify.parity.images import Alphas, ParitySet

FRAME = ""
"""All pixels."""
BINS = (0, 50, 80, 95, 100)
"""Edges of the bins of the teacher's uncertainty, per cent of each image's pixels."""

Regions = npt.NDArray[np.bool_]


class Part(NamedTuple):
    """Some images at one place of theirs.

    Attributes:
        region: The name of the place or of the class of images.
        place: Which of the image's masks.
        images: Which images.
    """

    region: str
    place: int
    images: npt.NDArray[np.intp]


def regions(images: ParitySet) -> tuple[tuple[str, ...], list[Regions]]:
    """Return the names of the places within an image, and every image's masks, bool, (places, H, W).

    An image may lack a place: its mask is then empty. Without a truth there are none at all.
    """
    if images.truth is None:
        return (), []
    names = [FRAME, UNKNOWN]
    if images.uncertainty is not None:
        names += [f"uncertainty: {low}-{high} %" for low, high in pairwise(BINS)]
    masks = []
    for i, truth in enumerate(images.truth):
        own = [np.ones(truth.shape, np.bool_), unknown_region(truth, UNKNOWN_RADIUS * min(truth.shape) / 256)]
        if images.uncertainty is not None:
            own += _bins(images.uncertainty[i])
        masks.append(np.stack(own))
    return tuple(names), masks


def _bins(uncertainty: Alphas) -> list[Regions]:
    """Part an image's pixels by their uncertainty; ties, such as all of what is certain, in reading order."""
    places = np.empty(uncertainty.size, np.int64)
    places[np.argsort(uncertainty, axis=None, kind="stable")] = np.arange(uncertainty.size)
    edges = [uncertainty.size * edge // 100 for edge in BINS]
    rank = places.reshape(uncertainty.shape)
    return [(rank >= low) & (rank < high) for low, high in pairwise(edges)]


def bands(images: ParitySet) -> list[Regions]:
    """Return the band around the edges of every frame of each clip, bool, (T, H, W)."""
    radius = UNKNOWN_RADIUS * min(images.images.shape[1:3]) / 256
    return [np.stack([unknown_region(frame, radius) for frame in clip]) for clip in images.clip_truth]


def parts(images: ParitySet, names: Sequence[str], masks: Sequence[Regions]) -> Iterator[Part]:
    """Yield the whole frame, the places within images, then the classes of images."""
    there = np.array([own.any(axis=(1, 2)) for own in masks]).reshape(len(masks), len(names))
    for place, name in enumerate(names):
        rows = np.flatnonzero(there[:, place])
        if rows.size:
            yield Part(name, place, rows)
    if names:
        for group in ordered({name for own in images.strata for name in own}):
            yield Part(group, 0, np.flatnonzero([group in own for own in images.strata]))
