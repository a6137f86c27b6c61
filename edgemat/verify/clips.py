"""Measure a network's flicker on clips with exact alpha: in motion, and on a still scene under fresh noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.metrics import UNKNOWN_RADIUS, dtssd, unknown_region
from edgemat.verify.bootstrap import Interval, mean_intervals
from edgemat.verify.evaluate import UNKNOWN, Predict

FIGURES = {
    "moving": "dtSSD in motion",
    "moving unknown": "the same over the unknown region",
    "still": "dtSSD on the still scene: noise alone",
    "still unknown": "the same over the unknown region",
    "frozen": "dtSSD of the first frame's truth kept: how much there is to follow",
}
"""What is measured on each pair of clips, in 1e-2."""

Alphas = npt.NDArray[np.float32]
Clip = Sequence[Sample]


@dataclass(frozen=True)
class ClipScores:
    """The figures of one scene.

    Attributes:
        face_id: The source face.
        kinds: Classes of its occluders, back to front.
        figures: By key of `FIGURES`, 1e-2; ``unknown`` ones only where every frame has such pixels.
    """

    face_id: str
    kinds: tuple[str, ...]
    figures: Mapping[str, float]

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        return {"face_id": self.face_id, "kinds": list(self.kinds), "figures": dict(self.figures)}


@dataclass(frozen=True, eq=False)
class Flicker:
    """The figures of all scenes, and the worst of the moving ones to look at.

    Attributes:
        clips: One entry a scene, at least one.
        frames: Frames of each clip.
        worst: The moving clip of the highest dtSSD.
        worst_alphas: What was predicted on it, float32, (T, H, W).
    """

    clips: tuple[ClipScores, ...]
    frames: int
    worst: Clip
    worst_alphas: Alphas

    def means(self) -> dict[str, Interval]:
        """Return the mean of each figure over scenes, with its 95 % interval over faces, by key of `FIGURES`."""
        result = {}
        for key in FIGURES:
            values = [(clip.figures[key], clip.face_id) for clip in self.clips if key in clip.figures]
            if values:
                result[key] = mean_intervals(np.array([[v] for v, _ in values]), [face for _, face in values])[0]
        return result

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        return {
            "frames": self.frames,
            "unit": "1e-2",
            "figures": dict(FIGURES),
            "means": {key: interval.to_json() for key, interval in self.means().items()},
            "clips": [clip.to_json() for clip in self.clips],
        }


def flicker(predict: Predict, scenes: Iterable[tuple[Clip, Clip]]) -> Flicker:
    """Run a network on clips frame by frame and measure dtSSD.

    Args:
        predict: RGB images, uint8, (N, H, W, 3) -> alpha, float32, (N, H, W), in [0, 1].
        scenes: Pairs of a clip in motion and one of the same scene standing still, as
            `edgemat.data.clips.holdout_clips` makes them; all of as many frames.

    Raises:
        InputError: There are no clips, a clip is too short, or predictions have a wrong shape or range.
    """
    results: list[ClipScores] = []
    worst: tuple[float, Clip, Alphas] | None = None
    for moving, still in scenes:
        alphas = predict(np.stack([frame.image for frame in moving]))
        truth = np.stack([frame.alpha for frame in moving])
        figures = _measure("moving", alphas, truth)
        figures |= _measure("still", predict(np.stack([f.image for f in still])), np.stack([f.alpha for f in still]))
        figures["frozen"] = float(dtssd(np.repeat(truth[:1], len(truth), axis=0), truth))
        results.append(ClipScores(moving[0].face_id, moving[0].kinds, figures))
        if worst is None or figures["moving"] > worst[0]:
            worst = figures["moving"], moving, alphas
    if worst is None:
        raise InputError("clips: there are none; expected at least one (is the split empty?)")
    return Flicker(tuple(results), len(worst[1]), worst[1], worst[2])


def _measure(name: str, alphas: Alphas, truth: Alphas) -> dict[str, float]:
    """Return dtSSD over the frame, and over the band around edges where every frame has one."""
    radius = UNKNOWN_RADIUS * min(truth.shape[1:]) / 256
    bands = np.stack([unknown_region(frame, radius) for frame in truth])
    figures = {name: float(dtssd(alphas, truth))}
    if bands.any(axis=(1, 2)).all():
        figures[f"{name} {UNKNOWN}"] = float(dtssd(alphas, truth, bands))
    return figures
