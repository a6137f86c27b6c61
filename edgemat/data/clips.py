"""Short clips of composites in motion, alpha exact in every frame: what flicker is measured on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgemat.data.augment import Augmentation
from edgemat.data.compositor import Compositor, Placed, generator
from edgemat.data.scene import Patch, Points, Scene
from edgemat.data.stage import geometry
from edgemat.data.types import Face, Occluder, Sample

FRAMES = 12
SEED = 2026

_WORN = frozenset({"hair", "glasses", "mask", "scarf", "hat", "veil"})  # these move as the head does
_SHIFT, _TURN, _GROWTH = 0.03, math.radians(4), 0.04
_TRAVEL = (0.2, 0.4)
_LEAN = math.radians(8)

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Path:
    """A smooth motion of the frame's points, starting from rest's place or passing through it halfway.

    Attributes:
        centre: What turning and growing leave in place, pixels, (2,).
        swing: Amplitudes of a wave: shift in x and y, pixels; turn, radians; growth, log of the factor; (4,).
        phase: Of each wave, turns, (4,).
        cycles: Waves in one clip.
        travel: Way from the first frame to the last in x and y, pixels, and turn on it, radians; (3,).
    """

    centre: Points
    swing: npt.NDArray[np.float64]
    phase: npt.NDArray[np.float64]
    cycles: float
    travel: npt.NDArray[np.float64]

    def at(self, moment: float) -> Matrix:
        """Return the affine map (3, 3) at a moment in [0, 1]."""
        start = np.sin(2 * np.pi * self.phase)
        x, y, turn, growth = self.swing * (np.sin(2 * np.pi * (self.phase + self.cycles * moment)) - start)
        x, y, turn = np.array([x, y, turn]) + self.travel * (moment - 0.5)
        cos, sin = math.exp(growth) * math.cos(turn), math.exp(growth) * math.sin(turn)
        linear = np.array([[cos, -sin], [sin, cos]])
        matrix = np.eye(3)
        matrix[:2, :2] = linear
        matrix[:2, 2] = self.centre - linear @ self.centre + (x, y)
        return matrix


def clip(
    compositor: Compositor, face: int, index: int, count: int, frames: int = FRAMES, part: slice = slice(None)
) -> list[Sample]:
    """Make a clip: a face that sways, things that it wears and that sway with it, and things that cross it.

    The face is drawn from its photo anew in each frame. Each occluder is drawn once, on a canvas a quarter larger on
    all sides, and moved as premultiplied colour and alpha together; so ``alpha = base_alpha * (1 - occluder_alpha)`` is
    exact in each frame. Light, colour, shadow and compression stay the same; sensor noise is new in each frame.

    Args:
        compositor: Gives faces, occluders, size, seed and how far clips vary.
        face: Position in the compositor's list of faces.
        index: Any number from 0 on; with the compositor's seed and the face it fixes the clip.
        count: Occluders, at most as many as there are kinds.
        frames: How many, >= 2.
        part: Which of them to make; the others cost nothing.

    Returns:
        One sample a frame.
    """
    return list(_frames(compositor, face, index, count, list(enumerate(np.linspace(0, 1, frames)))[part]))


def still(compositor: Compositor, face: int, index: int, count: int, frames: int = FRAMES) -> list[Sample]:
    """Make a clip in which nothing moves: the middle of `clip`, of which only the noise differs between frames.

    Arguments as for `clip`.
    """
    return list(_frames(compositor, face, index, count, list(enumerate(np.full(frames, 0.5)))))


def holdout_clips(
    faces: Sequence[Face], occluders: Sequence[Occluder], frames: int = FRAMES, seed: int = SEED, size: int = 256
) -> Iterator[tuple[list[Sample], list[Sample]]]:
    """Make the fixed clips, one a face, with one and two occluders by turns, as mild as the hold-out's single images.

    Args:
        faces: The test faces.
        occluders: The test occluders.
        frames: Frames a clip, >= 2.
        seed: Keep the default to compare with published figures.
        size: Height and width, pixels.

    Yields:
        A clip in motion, and one of the same scene standing still.

    Raises:
        InputError: No face was given.
    """
    compositor = Compositor(faces, occluders, size, seed, Augmentation.mild())
    for face in range(len(faces)):
        count = 1 + face % 2
        yield clip(compositor, face, 0, count, frames), still(compositor, face, 0, count, frames)


def _frames(
    compositor: Compositor, face: int, index: int, count: int, moments: Sequence[tuple[int, float]]
) -> Iterator[Sample]:
    size, key = compositor.size, (compositor.seed, face, index)
    rng = generator(*key, 0)
    source = compositor.sources[face]
    placed = geometry(source.face.landmarks, size, rng, compositor.level)
    landmarks = cv2.perspectiveTransform(source.face.landmarks[None].astype(np.float64), placed)[0].astype(np.float32)
    margin = size // 4
    wide = Scene(landmarks + np.float32(margin), size + 2 * margin, source.skin, source.hair)
    sway = _sway(rng, Scene(landmarks, size, source.skin, source.hair).centre, size)
    things = []
    for kind in compositor.pick_kinds(count, rng):
        thing = compositor.occluder(kind, rng, wide)
        things.append((thing, sway if kind in _WORN else _crossing(rng, thing.patch, size, margin)))
    for number, moment in moments:
        # The same draws in every frame, however many the frame before has taken; only the noise has its own.
        staged = compositor.stage(source, sway.at(moment) @ placed, generator(*key, 1))
        layers = [_moved(thing, path.at(moment), size, margin) for thing, path in things]
        yield compositor.finish(staged, layers, generator(*key, 2), generator(*key, 3, number))


def _sway(rng: np.random.Generator, centre: Points, size: int) -> _Path:
    """Draw how a head moves: back and forth, a little turned and nearer or farther."""
    swing = np.array([_SHIFT * size, _SHIFT * size, _TURN, _GROWTH]) * rng.uniform(0.3, 1.0, 4)
    return _Path(centre, swing, rng.uniform(0, 1, 4), float(rng.uniform(0.5, 1.0)), np.zeros(3))


def _crossing(rng: np.random.Generator, patch: Patch, size: int, margin: int) -> _Path:
    """Draw a straight way that passes, halfway through the clip, where the occluder was placed."""
    height, width = patch.layer.shape[:2]
    centre = np.array([patch.left + width / 2, patch.top + height / 2], np.float32) - margin
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(*_TRAVEL) * size
    travel = np.array([length * math.cos(angle), length * math.sin(angle), rng.uniform(-_LEAN, _LEAN)])
    return _Path(centre, np.zeros(4), np.zeros(4), 0.0, travel)


def _moved(thing: Placed, motion: Matrix, size: int, margin: int) -> Placed:
    """Move an occluder from the large canvas into the frame."""
    if not thing.patch.layer.size:  # placed wholly outside
        return Placed(thing.kind, thing.id, Patch(np.zeros((size, size, 4), np.float32)))
    origin = np.array([[1, 0, thing.patch.left - margin], [0, 1, thing.patch.top - margin], [0, 0, 1.0]])
    layer = cv2.warpAffine(thing.patch.layer, (motion @ origin)[:2], (size, size))
    return Placed(thing.kind, thing.id, Patch(np.asarray(layer, np.float32)))
