"""The values that pass between the parts of the data pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Face:
    """One un-occluded face with its base matte.

    Attributes:
        id: First 16 hex digits of the SHA-256 of the source file.
        image: RGB, uint8, (H, W, 3).
        alpha: Skin matte, float32, (H, W), in [0, 1]; eyes, brows, nostrils and mouth count as skin.
        landmarks: Face-mesh points, float32, (468, 2), x and y in pixels.
        ita: Individual typology angle of the skin, degrees (skin tone: high is light, low is dark).
    """

    id: str
    image: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.float32]
    landmarks: npt.NDArray[np.float32]
    ita: float

    def __post_init__(self) -> None:
        """Check the shapes and dtypes against each other."""
        height, width = self.alpha.shape
        if self.image.shape != (height, width, 3) or self.image.dtype != np.uint8:
            raise ValueError(f"face {self.id}: image {self.image.dtype}{self.image.shape}, alpha {self.alpha.shape}")
        if self.landmarks.shape != (468, 2):
            raise ValueError(f"face {self.id}: landmarks {self.landmarks.shape}, expected (468, 2)")


@dataclass(frozen=True, eq=False)
class Occluder:
    """One thing to put before a face.

    Attributes:
        id: Stable name; the split is by this.
        kind: Class, such as ``hand``, ``glasses``, ``mask``, ``cup``, ``microphone``, ``object``.
        rgba: Straight (not premultiplied) RGB and alpha, uint8, (H, W, 4).
    """

    id: str
    kind: str
    rgba: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Check the shape and dtype."""
        if self.rgba.ndim != 3 or self.rgba.shape[2] != 4 or self.rgba.dtype != np.uint8:
            raise ValueError(f"occluder {self.id}: rgba {self.rgba.dtype}{self.rgba.shape}, expected uint8 (H, W, 4)")


@dataclass(frozen=True, eq=False)
class Sample:
    """One composite with its ground truth.

    Attributes:
        image: RGB, uint8, (H, W, 3).
        alpha: Ground-truth skin matte after occlusion, float32, (H, W), in [0, 1].
        base_alpha: The matte before occlusion under the same geometry, float32, (H, W), in [0, 1].
        face_id: The source face.
        occluder_ids: The occluders, back to front; empty when the face is free.
        kinds: The occluders' classes, in the same order.
        ita: Skin tone of the source face, degrees.
        hull: Baseline that knows no occluder: the face-mesh hull under the same geometry, float32, (H, W).
    """

    image: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.float32]
    base_alpha: npt.NDArray[np.float32]
    hull: npt.NDArray[np.float32]
    face_id: str
    occluder_ids: tuple[str, ...] = field(default=())
    kinds: tuple[str, ...] = field(default=())
    ita: float = 0.0


@dataclass(frozen=True, eq=False)
class Example:
    """What a training step reads: an image, its true matte, and what a teacher made of it where that is known.

    Attributes:
        image: RGB, uint8, (H, W, 3).
        alpha: Ground-truth skin matte, float32, (H, W), in [0, 1].
        teacher: A teacher's alpha, float32, (H, W), in [0, 1]; None where it was not computed before.
        uncertainty: The teacher's expected absolute error of alpha, float32, (H, W), at least 0; None likewise.

    Example:
        >>> Example(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), np.float32)).teacher is None
        True
    """

    image: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.float32]
    teacher: npt.NDArray[np.float32] | None = None
    uncertainty: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        """Check the shapes, dtypes and ranges."""
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"example: image {self.image.dtype}{self.image.shape}, expected uint8 (H, W, 3)")
        for name, highest in (("alpha", 1.0), ("teacher", 1.0), ("uncertainty", np.inf)):
            plane: npt.NDArray[np.float32] | None = getattr(self, name)
            if plane is None and name != "alpha":
                continue
            if plane is None or plane.dtype != np.float32 or plane.shape != self.image.shape[:2]:
                found = "None" if plane is None else f"{plane.dtype}{plane.shape}"
                raise ValueError(f"example: {name} {found}, expected float32 {self.image.shape[:2]}")
            if plane.size and not (plane.min() >= 0 and plane.max() <= highest):  # false for NaN as well
                raise ValueError(f"example: {name} from {plane.min()} to {plane.max()}, expected 0 to {highest:g}")
