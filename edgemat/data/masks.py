"""Areas of an image as masks: bool, (H, W)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bool = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float32]


def polygon(points: Float, shape: tuple[int, ...]) -> Bool:
    """Return the inside of a ring of points (x, y in pixels) in an image of shape (H, W, ...)."""
    import cv2

    filled = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(filled, [np.round(points * 16).astype(np.int32)], 1, shift=4)
    return filled > 0


def convex(points: Float) -> Float:
    """Return the convex ring about points (x, y)."""
    import cv2

    return np.asarray(cv2.convexHull(points.astype(np.float32))[:, 0], np.float32)


def grow(area: Bool, radius: float) -> Bool:
    """Widen an area by a disc of so many pixels."""
    import cv2

    return np.asarray(cv2.dilate(area.astype(np.uint8), _disc(radius)) > 0)


def morph(area: Bool, operation: int, radius: float) -> Bool:
    """Open or close (``cv2.MORPH_OPEN``, ``cv2.MORPH_CLOSE``) an area by a disc of so many pixels."""
    import cv2

    edge = 2 * round(radius)  # room about the image, so that its border neither feeds nor eats the area
    padded = np.pad(area.astype(np.uint8), edge)
    result = cv2.morphologyEx(padded, operation, _disc(radius))
    return np.asarray(result[edge : edge + area.shape[0], edge : edge + area.shape[1]] > 0)


def _disc(radius: float) -> npt.NDArray[np.uint8]:
    import cv2

    side = 2 * max(round(radius), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def pieces(area: Bool, smallest: float) -> Bool:
    """Keep the 4-connected pieces of at least so many pixels."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(area.astype(np.uint8), connectivity=4)
    return np.isin(labels, [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] >= smallest])
