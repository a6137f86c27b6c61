"""Small faces and occluders that need no fetched data; run as a script, it prints a digest of composites."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemat.data.compositor import Compositor
from edgemat.data.types import Face, Occluder, Sample


def mesh(size: int) -> npt.NDArray[np.float32]:
    """Return the mesh points of a frontal face that fills two thirds of a square."""
    stored = json.loads((Path(__file__).parent / "astronaut_landmarks.json").read_text(encoding="utf-8"))
    points = np.array(stored["points"], np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    return ((points - (low + high) / 2) / (high - low).max() * 0.66 * size + (size - 1) / 2).astype(np.float32)


def face(seed: int = 0, size: int = 160) -> Face:
    """Return an oval of a skin colour before a darker ground, with a soft edge and a little texture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    alpha = np.clip((0.66 - np.hypot(x / 0.8, y)) * size / 6, 0, 1).astype(np.float32)
    skin, ground = rng.uniform(90, 230, 3), rng.uniform(0, 120, 3)
    image = alpha[..., None] * skin + (1 - alpha[..., None]) * ground + rng.normal(0, 4, (size, size, 3))
    return Face(f"{seed:016x}", np.clip(image, 0, 255).astype(np.uint8), alpha, mesh(size), 30.0)


def occluder(kind: str, colour: tuple[int, int, int] = (40, 90, 200), name: str | None = None) -> Occluder:
    """Return a disc with an antialiased edge; where it is transparent its colour is black."""
    y, x = np.mgrid[:96, :96] - 47.5
    alpha = np.clip(40 - np.hypot(x, y), 0, 1)
    rgba = np.zeros((96, 96, 4), np.uint8)
    rgba[alpha > 0, :3] = colour
    rgba[..., 3] = np.rint(alpha * 255)
    return Occluder(name or f"synthetic-{kind}", kind, rgba)


def compositor(seed: int = 5) -> Compositor:
    """Return a compositor of three faces and a few kinds of occluders."""
    things = [occluder(kind) for kind in ("object", "cup", "hat")]
    return Compositor([face(i) for i in range(3)], [*things, occluder("hand", (240, 190, 40), "270b")], 96, seed)


def digest(samples: list[Sample]) -> str:
    """Hash everything that a trainer could see of the samples."""
    total = hashlib.sha256()
    for s in samples:
        total.update(repr((s.face_id, s.occluder_ids, s.kinds, s.ita)).encode())
        for array in (s.image, s.alpha, s.base_alpha, s.hull):
            total.update(array.tobytes())
    return total.hexdigest()


if __name__ == "__main__":
    made = compositor()
    print(digest([made.sample(i) for i in range(12)]))
