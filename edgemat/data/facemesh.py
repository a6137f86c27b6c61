"""Find a face and its 468 mesh points with the fetched MediaPipe networks, run by LiteRT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgemat.data import registry
from edgemat.errors import BackendMissingError

Image = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]

_MIN_SCORE = 0.5
_MARGIN = 1.5  # the mesh network was trained on crops half as large again as the face box
_EYE_CORNERS = (33, 263)  # outer corners: the face's right eye, then its left


class Detection(NamedTuple):
    """The best face of an image.

    Attributes:
        landmarks: Mesh points, float32, (468, 2), x and y in pixels of the image.
        score: The detector's score for the face, in [0, 1].
        presence: The mesh network's own belief that it looks at a face, in [0, 1].
    """

    landmarks: Points
    score: float
    presence: float


@dataclass(frozen=True)
class _Crop:
    """A rotated square of the image: centre and side in pixels, angle in radians (clockwise, y down)."""

    x: float
    y: float
    side: float
    angle: float

    def matrix(self, size: int) -> npt.NDArray[np.float64]:
        """Return the (2, 3) affine map from the pixels of a ``size`` square crop to those of the image."""
        step = self.side / size
        cos, sin = np.cos(self.angle) * step, np.sin(self.angle) * step
        half = (size - 1) / 2
        return np.array([[cos, -sin, self.x - (cos - sin) * half], [sin, cos, self.y - (sin + cos) * half]], np.float64)


class Landmarker:
    """Runs the face detector (128 px) and, on its best face, the face mesh (192 px) twice.

    The second pass crops by the points of the first, which is how the networks' own tracker steadies them.

    Example:
        >>> landmarks = Landmarker().find(image).landmarks  # doctest: +SKIP
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Load both networks.

        Args:
            folder: The unpacked ``mediapipe`` source; from the cache by default.

        Raises:
            BackendMissingError: LiteRT is not installed.
            InputError: The networks were not fetched.
        """
        folder = registry.folder("mediapipe") if folder is None else folder
        self._detector = _interpreter(folder / "face_detection" / "face_detection_short_range.tflite")
        self._mesh = _interpreter(folder / "face_landmark" / "face_landmark.tflite")
        self._anchors = _anchors()

    def find(self, image: Image) -> Detection | None:
        """Return the most certain face of an image, or None.

        Args:
            image: RGB, uint8, (H, W, 3).
        """
        crop, score = self._detect(image)
        if crop is None:
            return None
        landmarks, _ = self._landmarks(image, crop)
        landmarks, presence = self._landmarks(image, _crop_of_points(landmarks))
        return Detection(landmarks, score, presence)

    def _detect(self, image: Image) -> tuple[_Crop | None, float]:
        height, width = image.shape[:2]
        whole = _Crop((width - 1) / 2, (height - 1) / 2, float(max(height, width)), 0.0)
        boxes, logits = _run(self._detector, _sample(image, whole, 128).astype(np.float32) / 127.5 - 1.0)
        scores = 1.0 / (1.0 + np.exp(-np.clip(logits[0, :, 0], -60, 60)))
        best = int(np.argmax(scores))
        if scores[best] < _MIN_SCORE:
            return None, float(scores[best])
        # Each row: box centre, box size, then six key points; offsets from the anchor in crop pixels.
        row = boxes[0, best].reshape(8, 2).astype(np.float64)
        row[[0, 2, 3, 4, 5, 6, 7]] += self._anchors[best] * 128
        points = row @ whole.matrix(128)[:, :2].T + whole.matrix(128)[:, 2] - 0.5 * whole.side / 128
        eye_right, eye_left = points[2], points[3]
        side = float(row[1].max()) * whole.side / 128 * _MARGIN
        return _Crop(float(points[0, 0]), float(points[0, 1]), side, _angle(eye_right, eye_left)), float(scores[best])

    def _landmarks(self, image: Image, crop: _Crop) -> tuple[Points, float]:
        mesh, presence = _run(self._mesh, _sample(image, crop, 192).astype(np.float32) / 255.0)
        points = mesh.reshape(468, 3)[:, :2].astype(np.float64) - 0.5
        matrix = crop.matrix(192)
        belief = 1.0 / (1.0 + np.exp(-float(presence.reshape(-1)[0])))
        return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32), float(belief)


def _crop_of_points(points: Points) -> _Crop:
    """Return the crop about mesh points, upright with the eyes level."""
    angle = _angle(points[_EYE_CORNERS[0]], points[_EYE_CORNERS[1]])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    upright = points @ turn
    low, high = upright.min(axis=0), upright.max(axis=0)
    x, y = turn @ ((low + high) / 2)
    return _Crop(float(x), float(y), float((high - low).max()) * _MARGIN, angle)


def _angle(eye_right: npt.NDArray[Any], eye_left: npt.NDArray[Any]) -> float:
    dx, dy = eye_left - eye_right
    return float(np.arctan2(dy, dx))


def _anchors() -> npt.NDArray[np.float64]:
    """Return the detector's 896 anchor centres in [0, 1]: two a cell at stride 8, six a cell at stride 16."""
    rows = []
    for cells, each in ((16, 2), (8, 6)):
        centre = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(centre, centre, indexing="ij")
        rows.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), each, axis=0))
    return np.concatenate(rows)


def _sample(image: Image, crop: _Crop, size: int) -> Image:
    """Cut a crop out of the image at ``size`` pixels; black outside."""
    import cv2

    shrink = crop.side / size
    if shrink > 2:  # bilinear sampling skips pixels beyond that
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), shrink / 4), np.uint8)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, crop.matrix(size), (size, size), flags=flags), np.uint8)


def _interpreter(path: Path) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise BackendMissingError(
            "finding faces needs ai-edge-litert. Install it with: pip install 'edgemat[data]'"
        ) from error
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _run(interpreter: Any, image: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(out["index"])) for out in interpreter.get_output_details()]
