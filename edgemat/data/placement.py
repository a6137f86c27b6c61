"""Put an emoji occluder where such a thing is met: hands from below or a side, hats on top, cups at the mouth."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from edgemat.data.augment import Augmentation
from edgemat.data.noise import fractal
from edgemat.data.occluders import recolour_skin
from edgemat.data.procedural import limb_colour
from edgemat.data.scene import Layer, Patch, Scene, alpha_of, lit
from edgemat.data.types import Occluder

Matrix = npt.NDArray[np.float64]

_AT_MOUTH = frozenset({"cup", "microphone", "food", "phone"})


def place(occluder: Occluder, rng: np.random.Generator, scene: Scene, level: Augmentation, margin: int) -> Patch:
    """Put an emoji occluder into the frame: recoloured, lit like the face, turned, sized and moved.

    Args:
        occluder: What to place.
        rng: Source of randomness.
        scene: The face.
        level: The ranges.
        margin: Transparent pixels to keep around it, where the frame has them.
    """
    rgba = occluder.rgba
    toneless = "-1f3f" not in occluder.id
    if occluder.kind == "hand" and (toneless or rng.random() < 0.85):
        rgba = recolour_skin(rgba, limb_colour(rng, scene))
    patch = warp_rgba(rgba, _matrix(occluder, rng, scene, level), scene.size, margin)
    gain = rng.uniform(0.65, 1.1) if occluder.kind != "hand" else rng.uniform(0.85, 1.08)
    layer = _graded(patch.layer, rng, float(gain), turn_hue=occluder.kind not in ("hand", "food", "plant"))
    return Patch(layer, patch.top, patch.left)


def warp_rgba(rgba: npt.NDArray[np.uint8], matrix: Matrix, size: int, margin: int = 0) -> Patch:
    """Move straight RGBA into a frame: premultiplied before any interpolation, so that no edge darkens.

    Args:
        rgba: Straight RGBA, uint8, (H, W, 4), with a transparent rim of a pixel.
        matrix: (2, 3), from the image's pixels to the frame's.
        size: Height and width of the frame, pixels.
        margin: Transparent pixels to keep around it, where the frame has them.
    """
    source = rgba.astype(np.float32) * np.float32(1 / 255)
    alpha = alpha_of(source)
    source = np.asarray(cv2.multiply(source, cv2.merge([alpha, alpha, alpha, np.ones_like(alpha)])), np.float32)
    height, width = rgba.shape[:2]
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [width - 1, height - 1, 1], [0, height - 1, 1]]) @ matrix.T
    left, top = (int(v) for v in np.clip(np.floor(corners.min(axis=0)) - margin, 0, size - 1))
    right, bottom = (int(v) for v in np.clip(np.ceil(corners.max(axis=0)) + margin, (left, top), size - 1))
    matrix = matrix - np.array([[0, 0, left], [0, 0, top]])
    while np.hypot(matrix[0, 0], matrix[1, 0]) < 0.6 and min(source.shape[:2]) > 8:
        # Bilinear sampling would skip pixels: halve first, by areas. Pixel centres move by half a pixel.
        even = source[: source.shape[0] // 2 * 2, : source.shape[1] // 2 * 2]
        half = (even.shape[1] // 2, even.shape[0] // 2)
        source = np.asarray(cv2.resize(even, half, interpolation=cv2.INTER_AREA), np.float32)
        matrix = matrix @ np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5], [0.0, 0.0, 1.0]])
    box = (right - left + 1, bottom - top + 1)
    return Patch(np.asarray(cv2.warpAffine(source, matrix, box), np.float32), top, left)


def _matrix(occluder: Occluder, rng: np.random.Generator, scene: Scene, level: Augmentation) -> Matrix:
    height, width = occluder.rgba.shape[:2]
    upright = float(np.arctan2(scene.axes[1][0], scene.axes[1][1]))  # roll: 0 where the chin is straight below
    if occluder.kind == "glasses":
        span = float(np.linalg.norm(scene.eyes[1] - scene.eyes[0]))
        scale, at = span * rng.uniform(2.0, 2.5) / width, scene.eyes.mean(axis=0)
        return _about(width, height, scale, -upright + rng.normal(0, 0.05), at)
    face_area = 4 * float(np.linalg.norm(scene.axes[0])) * float(np.linalg.norm(scene.axes[1]))
    share = rng.uniform(*level.occluder_area) * (0.8 if occluder.kind in ("hand", "object") else 0.5)
    scale = float(np.sqrt(share * face_area / (width * height)))
    if occluder.kind == "hat":
        scale = 2 * float(np.linalg.norm(scene.axes[0])) * rng.uniform(1.15, 1.5) / width
        at = scene.at((rng.normal(0, 0.05), rng.uniform(-1.35, -0.95)))
        return _about(width, height, scale, -upright + rng.normal(0, 0.1), at)
    if occluder.kind == "hand":
        side = rng.uniform(-0.25, np.pi + 0.25)  # 0 is one cheek, a quarter turn is the chin
        spot = np.array([math.cos(side), math.sin(side)])
        at = scene.at(spot * rng.uniform(0.25, 0.95))
        outward = spot @ scene.axes
        wrist_down = float(np.arctan2(outward[0], outward[1]))  # turns the wrist, below in the emoji, outward
        lean = 0.6 if rng.random() < 0.8 else np.pi
        return _about(width, height, scale, -wrist_down + rng.uniform(-lean, lean), at, rng.random() < 0.5)
    spot = rng.uniform((-0.7, 0.3), (0.7, 1.1)) if occluder.kind in _AT_MOUTH else rng.uniform(-1.0, 1.0, 2)
    turn = rng.normal(0, 0.4) if rng.random() < 0.7 else rng.uniform(-np.pi, np.pi)
    return _about(width, height, scale, -upright + turn, scene.at(spot), rng.random() < 0.5)


def _about(
    width: int, height: int, scale: float, radians: float, at: npt.NDArray[np.float32], mirrored: bool = False
) -> Matrix:
    """Return the map that sends an image's middle to ``at``, scaled and turned clockwise by ``radians``."""
    cos, sin = math.cos(radians) * scale, math.sin(radians) * scale
    linear = np.array([[cos, -sin], [sin, cos]])
    if mirrored:
        linear[:, 0] *= -1
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.concatenate([linear, (np.asarray(at, np.float64) - linear @ middle)[:, None]], axis=1)


def _graded(layer: Layer, rng: np.random.Generator, gain: float, turn_hue: bool) -> Layer:
    """Grade an occluder: overall gain, channel balance, and a faint texture against the emoji's plastic look."""
    if turn_hue and rng.random() < 0.6:
        layer = np.ascontiguousarray(layer[..., [*rng.permutation(3), 3]])
    height, width = layer.shape[:2]
    grain = 0.9 + 0.2 * fractal(rng, max(height, width), float(rng.uniform(0.3, 1.5)))[:height, :width]
    return lit(layer, grain, gain * rng.uniform(0.93, 1.07, 3))
