"""Where things are in a frame, and an antialiased canvas to draw occluders with exact alpha.

A *layer* is what an occluder contributes: premultiplied RGBA, float32, (H, W, 4), all channels in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgemat.data.basematte import OVAL

Layer = npt.NDArray[np.float32]
Map = npt.NDArray[np.float32]
Points = npt.NDArray[np.float32]
Colour = npt.NDArray[np.floating] | tuple[float, float, float]

# The outline's lower part, from ear to ear.
JAW = OVAL[8:29]
_RIGHT_EYE, _LEFT_EYE = (33, 133), (362, 263)
_SUBPIXEL_BITS = 4


@dataclass(frozen=True, eq=False)
class Scene:
    """A face in a frame, as the procedural occluders need to know it.

    Attributes:
        landmarks: Mesh points in pixels of the frame, float32, (468, 2).
        size: Height and width of the frame, pixels.
        skin: Colour of the visible skin, RGB, 0 to 255, float32, (3,).
        hair: Colour of what is above the forehead, most often hair; likewise.
    """

    landmarks: Points
    size: int
    skin: npt.NDArray[np.float32]
    hair: npt.NDArray[np.float32]

    @property
    def centre(self) -> Points:
        """Middle of the face's outline, (2,), pixels."""
        return np.asarray(self.landmarks[list(OVAL)].mean(axis=0), np.float32)

    @property
    def axes(self) -> Points:
        """Rows: half the face's width to its left eye's side, half its height to the chin; (2, 2), pixels."""
        across = (self.landmarks[454] - self.landmarks[234]) / 2
        down = (self.landmarks[152] - self.landmarks[10]) / 2
        floor = 0.3 * float(np.linalg.norm(down))  # a profile has hardly any width of its own
        width = float(np.linalg.norm(across))
        if width < floor:
            across = across * (floor / max(width, 1e-6))
        return np.stack([across, down]).astype(np.float32)

    @property
    def eyes(self) -> Points:
        """Centres of the two eyes, left in the image first as the face is upright; (2, 2), pixels."""
        right, left = (self.landmarks[list(e)].mean(axis=0) for e in (_RIGHT_EYE, _LEFT_EYE))
        return np.stack([right, left]).astype(np.float32)

    @property
    def height(self) -> float:
        """From the middle of the forehead to the chin, pixels."""
        return float(np.linalg.norm(self.landmarks[152] - self.landmarks[10]))

    def at(self, uv: npt.ArrayLike) -> Points:
        """Map face coordinates to pixels: (0, 0) is the middle, (1, 0) an ear, (0, 1) the chin, (0, -1) the forehead.

        Args:
            uv: (..., 2).
        """
        return np.asarray(np.asarray(uv, np.float32) @ self.axes + self.centre, np.float32)


@dataclass(frozen=True, eq=False)
class Patch:
    """A layer that covers a part of the frame only; elsewhere it is transparent.

    Attributes:
        layer: The layer, (h, w, 4).
        top: First row of the frame that it covers.
        left: First column.
    """

    layer: Layer
    top: int = 0
    left: int = 0

    def cut(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the view of an image or a map that the patch covers."""
        height, width = self.layer.shape[:2]
        return image[self.top : self.top + height, self.left : self.left + width]

    def trimmed(self, margin: int) -> Patch:
        """Return the patch cut to what is visible and ``margin`` pixels around it."""
        x, y, width, height = cv2.boundingRect((alpha_of(self.layer) > 0).astype(np.uint8))
        top, left = max(0, y - margin), max(0, x - margin)
        cut = self.layer[top : y + height + margin, left : x + width + margin]
        return Patch(np.ascontiguousarray(cut), self.top + top, self.left + left)


class Canvas:
    """Draws opaque antialiased shapes; later ones cover earlier ones exactly as `over` does."""

    def __init__(self, size: int, oversampling: int = 2) -> None:
        """Start transparent.

        Args:
            size: Height and width of the layer, pixels.
            oversampling: Canvas pixels per layer pixel; two let a hair be half a pixel wide.
        """
        self.size = size
        self.scale = oversampling
        # cv2's antialiased drawing blends all four channels by coverage. On colours whose fourth channel is 255
        # that is the premultiplied `over`.
        self.pixels = np.zeros((size * oversampling, size * oversampling, 4), np.uint8)

    def _fixed(self, points: npt.ArrayLike) -> npt.NDArray[np.int32]:
        on_canvas = np.asarray(points, np.float32) * self.scale + (self.scale - 1) / 2
        bounded = np.clip(on_canvas, -8 * self.size, 8 * self.size)
        return np.asarray(np.rint(bounded * (1 << _SUBPIXEL_BITS)), np.int32)

    @staticmethod
    def _paint(colour: Colour) -> tuple[float, float, float, float]:
        red, green, blue = (float(np.clip(c, 0, 255)) for c in colour)
        return red, green, blue, 255.0

    def lines(self, curves: Sequence[Points] | Points, colour: Colour, width: float, closed: bool = False) -> None:
        """Draw curves of a width in layer pixels (at least half a pixel), each (N, 2) in layer pixels."""
        thick = max(1, min(255, round(width * self.scale)))
        fixed = list(self._fixed(curves)) if isinstance(curves, np.ndarray) else [self._fixed(c) for c in curves]
        cv2.polylines(self.pixels, fixed, closed, self._paint(colour), thick, cv2.LINE_AA, _SUBPIXEL_BITS)

    def polygon(self, points: npt.ArrayLike, colour: Colour) -> None:
        """Fill a polygon, (N, 2) in layer pixels."""
        cv2.fillPoly(self.pixels, [self._fixed(points)], self._paint(colour), cv2.LINE_AA, _SUBPIXEL_BITS)

    def disc(self, centre: npt.ArrayLike, radii: tuple[float, float], degrees: float, colour: Colour) -> None:
        """Fill an ellipse; ``radii`` in layer pixels, ``degrees`` turns it clockwise."""
        turn = np.deg2rad(degrees)
        around = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        x, y = radii[0] * np.cos(around), radii[1] * np.sin(around)
        ring = np.stack([x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)], axis=1)
        self.polygon(ring + np.asarray(centre, np.float32), colour)

    def layer(self) -> Layer:
        """Return what was drawn as a layer."""
        small = np.asarray(cv2.resize(self.pixels, (self.size, self.size), interpolation=cv2.INTER_AREA))
        return small.astype(np.float32) * np.float32(1 / 255)


def times(image: npt.NDArray[np.float32], gain: Map) -> npt.NDArray[np.float32]:
    """Multiply every channel of an image by a map.

    Args:
        image: Float32, (H, W, C), C at most 4.
        gain: Float32, (H, W).

    Example:
        >>> times(np.ones((1, 2, 3), np.float32), np.array([[2, 3]], np.float32))[0, :, 2].tolist()
        [2.0, 3.0]
    """
    # numpy broadcasts over a last axis of three ten times slower than cv2 multiplies two whole images. Fresh memory
    # costs as much as the arithmetic, so results go where the spread gains were.
    gains = cv2.merge([gain] * image.shape[2])
    return np.asarray(cv2.multiply(image, gains, gains), np.float32)


def alpha_of(layer: Layer) -> Map:
    """Return a layer's alpha, contiguous, (H, W)."""
    return np.asarray(cv2.extractChannel(layer, 3), np.float32)


def soft(image: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    """Blur; where ``sigma`` is large, at a quarter of the size, which no one can tell apart.

    Args:
        image: Float32, (H, W) or (H, W, C).
        sigma: Of the Gaussian, pixels.
    """
    border = cv2.BORDER_REPLICATE
    if sigma < 5 or min(image.shape[:2]) < 32:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=border), np.float32)
    quarter = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    quarter = cv2.GaussianBlur(quarter, (0, 0), sigma / 4, borderType=border)
    return np.asarray(cv2.resize(quarter, image.shape[1::-1]), np.float32)


def over(top: Layer, bottom: Layer) -> Layer:
    """Lay one layer over another (Porter and Duff 1984).

    Example:
        >>> half, full = np.full((1, 1, 4), 0.5, np.float32), np.ones((1, 1, 4), np.float32)
        >>> over(half, full)[0, 0].tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    below = times(bottom, 1 - alpha_of(top))
    return np.asarray(cv2.add(top, below, below), np.float32)


def lit(layer: Layer, gain: Map, balance: npt.ArrayLike = (1.0, 1.0, 1.0)) -> Layer:
    """Multiply a layer's colour by a map; alpha stays, and the colour stays within it.

    Args:
        layer: The layer.
        gain: Factor per pixel, float32, (H, W).
        balance: Factor per channel, (3,).
    """
    gain = np.asarray(gain, np.float32)
    factors = cv2.merge([*(gain * b for b in np.asarray(balance, np.float32)), np.ones_like(gain)])
    limit = cv2.merge([alpha_of(layer)] * 4)
    return np.asarray(cv2.min(cv2.multiply(layer, factors, factors), limit, factors), np.float32)


def tinted(alpha: Map, colour: npt.NDArray[np.float32]) -> Layer:
    """Make a layer of one colour, or of an image, with a given alpha.

    Args:
        alpha: Float32, (H, W), in [0, 1].
        colour: RGB, 0 to 255, (3,) or (H, W, 3).
    """
    bounded = np.asarray(np.clip(colour, 0, 255) / 255, np.float32)
    alpha = np.asarray(alpha, np.float32)
    if colour.ndim == 1:
        return np.asarray(cv2.merge([*(alpha * c for c in bounded), alpha]), np.float32)
    rgba = np.asarray(cv2.cvtColor(bounded, cv2.COLOR_RGB2RGBA), np.float32)  # with an alpha of 1
    return times(rgba, alpha)
