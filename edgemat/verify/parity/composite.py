"""Composite space: the filtered 8-bit frame that a user sees, with the float network's alpha and with an artefact's.

Nobody sees an alpha. What is seen is ``alpha * filter + (1 - alpha) * image``, in 8 bits, and there the same difference
of alpha is nothing or a stain: it counts times the distance between filter and image. A matte metric is blind to that;
so an artefact's frames are compared with the float network's, under filters that show most (`FILTERS`). Two steps of
255 are what rounding may do: an 8-bit alpha is off by up to half a step and the blend rounds once more. A third is a
difference that was made, and on plain skin it is the first that a trained eye finds.

No truth is needed, and none is used: this says how far a user's frame moves, not whether for the worse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError
from edgemat.verify.bootstrap import Values, mean_intervals
from edgemat.verify.parity.images import Alphas, Images, ParitySet
from edgemat.verify.parity.report import COMPOSITE, Figure

STEPS = 2
"""A pixel may be off by as many steps of 255 in its worst channel."""

_COLOUR = (0, 64, 255)  # far from any skin: its red is what skin has most of, its blue what skin has least of
_BLUR = 4.0  # radius in pixels of a 256-pixel image


def _colour(images: Images) -> Images:
    return np.broadcast_to(np.array(_COLOUR, np.uint8), images.shape)


def _smooth(images: Images) -> Images:
    from PIL import Image, ImageFilter

    blur = ImageFilter.GaussianBlur(_BLUR * min(images.shape[1:3]) / 256)
    return np.stack([np.array(Image.fromarray(image).filter(blur)) for image in images])


def _inverted(images: Images) -> Images:
    return 255 - images


FILTERS: Mapping[str, Callable[[Images], Images]] = MappingProxyType(
    {"colour": _colour, "smooth": _smooth, "inverted": _inverted}
)
"""An opaque blue (a mask, a make-up at its strongest), a blurred copy (skin smoothing), a negative (the farthest from
its own image). RGB, uint8, (N, H, W, 3), in and out."""


@dataclass(frozen=True)
class CompositeLimits:
    """How far a filtered frame may be from the one that the float network's alpha gives, under every filter.

    Attributes:
        share: Per cent of all pixels off by more than `STEPS` of 255. An int8 network moves alpha by a code or two
            wherever a face has an edge: the shipped ones come to 2-6 % of the pixels, float16 to 0.003 %. A matte that
            is 2 % too thin everywhere comes to 22 %.
        worst: The same of the worst image; the shipped ones come to 6-18 %.
    """

    share: float = 10.0
    worst: float = 30.0

    def __post_init__(self) -> None:
        """Refuse limits that keep nothing out."""
        if not 0 <= self.share <= self.worst < 100:
            raise InputError(f"composite limits: found {self}, expected 0 <= share <= worst < 100")


class Composite:
    """Filters the images once, and compares each artefact's frames with the float network's.

    Example:
        >>> face, alpha = np.zeros((1, 8, 8, 3), np.uint8), np.ones((1, 8, 8), np.float32)
        >>> none = np.zeros((0, 2, 8, 8), np.float32)
        >>> one = ParitySet(face, alpha, None, ((),), ("anna",), np.zeros((0, 2, 8, 8, 3), np.uint8), none, ())
        >>> for figure in Composite(one, alpha).figures(alpha * np.float32(0.8))[:2]:
        ...     print(figure)
        composite max_abs (filter: colour): 51 steps of 255
        composite mean_abs (filter: colour): 51 steps of 255
    """

    def __init__(self, images: ParitySet, reference: Alphas, limits: CompositeLimits | None = None) -> None:
        """Make the filtered frames of the float network.

        Args:
            images: What everything was run on; clips are left out.
            reference: The float trunk's alpha (ONNX Runtime) of ``images.to_run``, float32, (N + C * T, H, W).
            limits: For artefacts that are given none of their own; the defaults if None.

        Raises:
            InputError: The reference has another shape, or is not finite.
        """
        self._images = images
        self._limits = CompositeLimits() if limits is None else limits
        self._filtered = {name: make(images.images) for name, make in FILTERS.items()}
        alphas = self._checked(reference)
        self._frames = {name: self._blended(alphas, name) for name in FILTERS}

    def figures(self, alphas: Alphas, limits: CompositeLimits | None = None) -> tuple[Figure, ...]:
        """Return one artefact's figures: for each filter the largest and the mean difference, and the two shares.

        Args:
            alphas: The artefact's alpha of ``images.to_run``, float32, (N + C * T, H, W); what is beyond [0, 1] by a
                rounding is cut.
            limits: Its own; those of the constructor if None.

        Raises:
            InputError: The alphas have another shape, or are not finite.
        """
        given = self._limits if limits is None else limits
        found = self._checked(alphas)
        return tuple(figure for name in FILTERS for figure in self._figures(found, name, given))

    def _checked(self, alphas: Alphas) -> Alphas:
        shape = self._images.to_run.shape[:3]
        if alphas.shape != shape or not np.isfinite(alphas).all():
            raise InputError(f"parity: alpha {alphas.dtype}{alphas.shape}, expected finite float32 {shape}")
        return np.clip(self._images.split(alphas)[0], 0, 1)

    def _blended(self, alphas: Alphas, name: str) -> Images:
        """Blend as an app does: in float, rounded once, half up."""
        frames = [
            blend(image, filtered, alpha)
            for image, filtered, alpha in zip(self._images.images, self._filtered[name], alphas, strict=True)
        ]
        return np.stack(frames)

    def _figures(self, alphas: Alphas, name: str, limits: CompositeLimits) -> Iterator[Figure]:
        off = np.stack(
            [_steps(one, other) for one, other in zip(self._blended(alphas, name), self._frames[name], strict=True)]
        )
        region = f"filter: {name}"
        shares: Values = 100.0 * (off > STEPS).mean(axis=(1, 2))
        worst = int(shares.argmax())
        yield Figure(COMPOSITE, "max_abs", float(off.max()), "steps of 255", region)
        yield Figure(COMPOSITE, "mean_abs", float(off.mean()), "steps of 255", region)
        mean = mean_intervals(shares[:, None], self._images.faces)[0]
        many = len(set(self._images.faces)) > 1
        yield Figure(
            COMPOSITE,
            f"off_by_more_than_{STEPS}",
            mean.value,
            "%",
            region,
            mean.low if many else None,
            mean.high if many else None,
            limits.share,
            passed=mean.value <= limits.share,
            detail=f"of the pixels of {len(shares)} images",
        )
        yield Figure(
            COMPOSITE,
            f"off_by_more_than_{STEPS}_worst",
            float(shares[worst]),
            "%",
            region,
            limit=limits.worst,
            passed=float(shares[worst]) <= limits.worst,
            detail=f"of the pixels of image {worst} ({self._images.faces[worst]})",
        )


def blend(image: Images, filtered: Images, alpha: Alphas) -> Images:
    """Lay a filtered image over an image as an app does: in float32, rounded once.

    Args:
        image: RGB, uint8, (H, W, 3).
        filtered: The same.
        alpha: How much of the filter shows, float32, (H, W), in [0, 1].

    Example:
        >>> pixel = np.zeros((1, 1, 3), np.uint8)
        >>> blend(pixel, pixel + 255, np.full((1, 1), 0.5, np.float32))[0, 0].tolist()
        [128, 128, 128]
    """
    share = alpha[..., None]
    return (share * filtered + (1 - share) * image + np.float32(0.5)).astype(np.uint8)


def _steps(one: Images, other: Images) -> npt.NDArray[np.uint8]:
    """Return by how much a pixel's worst channel differs, uint8, (H, W)."""
    return np.asarray((np.maximum(one, other) - np.minimum(one, other)).max(axis=2))
