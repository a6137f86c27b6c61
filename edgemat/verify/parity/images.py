"""What artefacts are judged on: images, their truth and strata, where the truth is hard to know, and short clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Alphas = npt.NDArray[np.float32]
Source = Literal["holdout", "calibration"]

HOLDOUT: Source = "holdout"
CALIBRATION: Source = "calibration"
LIMIT = 32


@dataclass(frozen=True, eq=False)
class ParitySet:
    """Images with what is known of them.

    Attributes:
        images: RGB, uint8, (N, H, W, 3).
        truth: True alpha, float32, (N, H, W), in [0, 1]; None where it is not known.
        uncertainty: The shipped teacher's expected absolute error, float32, (N, H, W), >= 0; None where it was not
            computed, and then `not_proven` says why.
        strata: Of each image, the groups that it counts in (`edgemat.verify.groups.groups`).
        faces: Of each image, the face; images of one face are drawn together.
        clips: Frames of short clips, uint8, (C, T, H, W, 3); C = 0 where there are none.
        clip_truth: Their true alpha, float32, (C, T, H, W).
        clip_faces: Of each clip, the face.
        facts: For the report: name, count, faces, SHA-256 of the pixels, seed, clips, frames, size, truth, uncertainty.
        not_proven: What a reader must not conclude because of what is missing, a sentence each.
    """

    images: Images
    truth: Alphas | None
    uncertainty: Alphas | None
    strata: tuple[tuple[str, ...], ...]
    faces: tuple[str, ...]
    clips: Images
    clip_truth: Alphas
    clip_faces: tuple[str, ...]
    facts: Mapping[str, Any]
    not_proven: tuple[str, ...] = ()

    @property
    def to_run(self) -> Images:
        """Everything that an artefact is run on: the images, then the clips' frames; uint8, (N + C * T, H, W, 3)."""
        return np.concatenate([self.images, self.clips.reshape(-1, *self.images.shape[1:])])

    def split(self, alphas: Alphas) -> tuple[Alphas, Alphas]:
        """Part what was predicted on `to_run` into that of the images (N, H, W) and of the clips (C, T, H, W)."""
        count = len(self.images)
        return alphas[:count], alphas[count:].reshape(self.clips.shape[:-1])


def load(
    source: Source | Path | None = None,
    height: int = 256,
    width: int = 256,
    limit: int = LIMIT,
    clips: bool = True,
    cache_dir: Path | None = None,
) -> ParitySet:
    """Read or make a parity set; the same arguments give the same bytes.

    Args:
        source: ``holdout``, ``calibration``, or a folder; None for the hold-out where it is fetched, else the shipped
            calibration images.
        height: Rows that the artefacts take.
        width: Columns.
        limit: Images at most, >= 1.
        clips: Whether to make clips for dtSSD (hold-out only).
        cache_dir: Where ``edgemat data fetch`` put the data; the default cache if None.

    Raises:
        InputError: The data is not fetched, or the folder cannot be used.
    """
    raise NotImplementedError
