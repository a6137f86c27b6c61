"""Put a face into a frame: where it stands, what surrounds it, and its matte under the same geometry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgemat.data.augment import Augmentation
from edgemat.data.basematte import OVAL
from edgemat.data.noise import texture
from edgemat.data.scene import Map, Points, Scene, times
from edgemat.data.types import Face

Homography = npt.NDArray[np.float64]

_FEATHER = 0.03


@dataclass(frozen=True, eq=False)
class Source:
    """A face made ready: reduced versions for zooming out, its colours, and a coarse copy."""

    face: Face
    levels: tuple[tuple[npt.NDArray[np.uint8], Map], ...]
    vignettes: tuple[Map, ...]
    skin: npt.NDArray[np.float32]
    hair: npt.NDArray[np.float32]
    backdrop: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Stage:
    """A face in the frame, before anything stands in front of it.

    Attributes:
        source: The face.
        image: RGB, float32, (S, S, 3), 0 to 255.
        base: Its matte, float32, (S, S), in [0, 1].
        scene: Where things are.
    """

    source: Source
    image: npt.NDArray[np.float32]
    base: Map
    scene: Scene


def ready(face: Face) -> Source:
    """Make a face ready to be staged many times."""
    levels = [(face.image, face.alpha)]
    while min(levels[-1][1].shape) >= 128:
        pixels, matte = levels[-1]
        height, width = (s // 2 * 2 for s in matte.shape)
        halves = [
            cv2.resize(a[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
            for a in (pixels, matte)
        ]
        levels.append((np.asarray(halves[0], np.uint8), np.asarray(halves[1], np.float32)))
    certain = face.alpha > 0.9
    skin = np.median(face.image[certain], axis=0) if certain.any() else np.array([180, 140, 120])
    backdrop = np.asarray(cv2.resize(face.image, (14, 14), interpolation=cv2.INTER_AREA), np.uint8)
    vignettes = tuple(_vignette(*matte.shape) for _, matte in levels)
    return Source(face, tuple(levels), vignettes, skin.astype(np.float32), _hair_colour(face), backdrop)


def geometry(landmarks: Points, size: int, rng: np.random.Generator, level: Augmentation) -> Homography:
    """Draw the homography from the source photo to the frame, (3, 3).

    Args:
        landmarks: Mesh points in pixels of the source photo, float32, (468, 2).
        size: Height and width of the frame, pixels.
        rng: Source of randomness.
        level: The ranges.
    """
    oval = landmarks[list(OVAL)]
    low, high = oval.min(axis=0), oval.max(axis=0)
    centre = (low + high) / 2
    scale = rng.uniform(*level.face_height) * size / max(float(high[1] - low[1]), 1.0)
    angle = np.deg2rad(rng.triangular(-level.rotation, 0, level.rotation) if level.rotation else 0.0)
    mirror = -1.0 if rng.random() < level.flip else 1.0
    shear = rng.uniform(-level.shear, level.shear)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = turn @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag([mirror * scale, scale])
    offset = np.clip(rng.normal(0, 0.5, 2), -1, 1) * level.shift * size
    affine = np.eye(3)
    affine[:2, :2] = linear
    affine[:2, 2] = (size - 1) / 2 + offset - linear @ centre
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * (size - 1)
    moved = corners + rng.uniform(-level.perspective, level.perspective, (4, 2)) * size
    return np.asarray(cv2.getPerspectiveTransform(corners, moved.astype(np.float32)) @ affine)


def stage(
    source: Source,
    matrix: Homography,
    size: int,
    rng: np.random.Generator,
    level: Augmentation,
    others: Sequence[Source],
) -> Stage:
    """Put a face into a frame; what surrounds it is drawn only where the photo does not fill the frame.

    Args:
        source: The face.
        matrix: From the source photo's pixels to the frame's, float64, (3, 3).
        size: Height and width of the frame, pixels.
        rng: Source of randomness.
        level: The ranges.
        others: Faces whose coarse copies may serve as surroundings, at least one.
    """
    zoom = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    step = int(np.clip(np.floor(np.log2(0.75 / max(zoom, 1e-6))) + 1, 0, len(source.levels) - 1))
    pixels, matte = source.levels[step]
    grown = 2.0**step  # pixel centres: x of the full image is (x + 0.5) * grown - 0.5
    to_full = np.array([[grown, 0, (grown - 1) / 2], [0, grown, (grown - 1) / 2], [0, 0, 1.0]])
    warp, frame = matrix @ to_full, (size, size)
    # As float32, because cv2 warps that three times faster than bytes.
    photo = pixels.astype(np.float32)
    image = np.asarray(cv2.warpPerspective(photo, warp, frame, borderMode=cv2.BORDER_REFLECT_101), np.float32)
    alpha = np.asarray(cv2.warpPerspective(matte, warp, frame), np.float32)
    if not _fills(matrix, source.face.alpha.shape, size):
        inside = np.asarray(cv2.warpPerspective(source.vignettes[step], warp, frame), np.float32)
        backdrop = _backdrop(source, matrix, size, rng, level, others)
        image = backdrop + times(image - backdrop, inside)
        alpha = alpha * inside
    landmarks = cv2.perspectiveTransform(source.face.landmarks[None].astype(np.float64), matrix)[0]
    scene = Scene(landmarks.astype(np.float32), size, source.skin, source.hair)
    return Stage(source, image, np.asarray(np.clip(alpha, 0, 1), np.float32), scene)


def _backdrop(
    source: Source,
    matrix: Homography,
    size: int,
    rng: np.random.Generator,
    level: Augmentation,
    others: Sequence[Source],
) -> npt.NDArray[np.float32]:
    """Return what surrounds the source photo where the frame reaches beyond it.

    It is the photo itself, mirrored at its border and so coarse that no second face shows, or something else.
    """
    if rng.random() < level.new_background:
        if rng.random() < 0.5:
            return texture(rng, size)
        other = others[int(rng.integers(len(others)))]
        return cv2.resize(other.backdrop, (size, size), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    height, width = source.face.alpha.shape
    coarse_y, coarse_x = source.backdrop.shape[:2]
    grow_x, grow_y = width / coarse_x, height / coarse_y
    to_full = np.array([[grow_x, 0, (grow_x - 1) / 2], [0, grow_y, (grow_y - 1) / 2], [0, 0, 1.0]])
    quarter = np.diag([0.25, 0.25, 1.0])  # it is smooth: warp it small
    coarse, small = source.backdrop.astype(np.float32), (-(-size // 4), -(-size // 4))
    mirrored = cv2.warpPerspective(coarse, quarter @ matrix @ to_full, small, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(mirrored, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def _fills(matrix: npt.NDArray[np.float64], shape: tuple[int, ...], size: int) -> bool:
    """Say whether the source photo, less its fading rim, covers the whole frame."""
    corners = np.array([[[0, 0], [1, 0], [1, 1], [0, 1]]], np.float64) * (size - 1)
    y_x = cv2.perspectiveTransform(corners, np.linalg.inv(matrix))[0][:, ::-1]
    share = y_x / (np.array(shape[:2]) - 1)
    return bool(share.min() > _FEATHER and share.max() < 1 - _FEATHER)


def _hair_colour(face: Face) -> npt.NDArray[np.float32]:
    """Return the median colour of a small square above the forehead, black where the photo ends below it."""
    top, chin = face.landmarks[10], face.landmarks[152]
    x, y = top + 0.22 * (top - chin)
    half = max(1, int(0.06 * abs(float(chin[1] - top[1]))))
    square = face.image[max(0, int(y) - half) : max(0, int(y) + half), max(0, int(x) - half) : int(x) + half]
    return np.median(square.reshape(-1, 3), axis=0).astype(np.float32) if square.size else np.zeros(3, np.float32)


def _vignette(height: int, width: int) -> Map:
    """Return 1 inside, falling to 0 at the border over a few pixels: the photo fades into its surroundings."""
    y, x = (np.minimum(np.arange(n), np.arange(n)[::-1]) / (_FEATHER * n) for n in (height, width))
    return np.asarray(np.clip(np.minimum(y[:, None], x[None, :]), 0, 1), np.float32)
