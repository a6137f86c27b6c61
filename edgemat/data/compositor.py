"""Composites of faces and occluders with exact alpha, one for every (seed, index)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgemat.data import procedural, wearables
from edgemat.data.augment import Augmentation, photograph
from edgemat.data.basematte import OVAL
from edgemat.data.placement import place
from edgemat.data.scene import Layer, Map, Patch, Points, Scene, alpha_of, times
from edgemat.data.stage import Homography, Source, Stage, geometry, ready, stage
from edgemat.data.types import Face, Occluder, Sample
from edgemat.errors import InputError

HOLDOUT_SEED = 2025

_DRAWN: dict[str, Callable[[np.random.Generator, Scene], Layer]] = {
    "hair": procedural.hair,
    "fingers": procedural.fingers,
    "blob": procedural.blob,
    "smoke": procedural.smoke,
    "veil": procedural.veil,
    "glasses": wearables.glasses,
    "mask": wearables.mask,
    "scarf": wearables.scarf,
    "microphone": wearables.microphone,
}
# Back to front, with how often each kind is met. Hands and hair are what faces are most often behind.
_WEIGHTS = {
    "scarf": 0.03, "mask": 0.07, "glasses": 0.11, "hair": 0.18, "hat": 0.03, "food": 0.05, "plant": 0.04,
    "object": 0.09, "blob": 0.05, "phone": 0.03, "cup": 0.05, "microphone": 0.05, "fingers": 0.1, "hand": 0.24,
    "veil": 0.04, "smoke": 0.06,
}  # fmt: skip
_EMOJI_WHERE_BOTH = 0.25
_FINE = frozenset({"hair", "glasses", "smoke"})  # what a full blur of the edge would wash away


@dataclass(frozen=True, eq=False)
class Placed:
    """An occluder where it stands in the frame.

    Attributes:
        kind: Its class.
        id: Its name; ``drawn-KIND`` when it was drawn.
        patch: Its layer.
    """

    kind: str
    id: str
    patch: Patch


class Compositor:
    """Makes training and evaluation samples; the same (seed, index) gives the same bytes in any process and order.

    ``alpha = base_alpha * (1 - occluder_alpha)`` at the moment of exposure. Blur of the whole frame (defocus, camera
    motion) mixes light after that, and so blurs image, alpha and base alpha alike; light, colour, shadow, noise and
    JPEG change the image alone.

    Example:
        >>> compositor = Compositor(faces, occluders, seed=1)  # doctest: +SKIP
        >>> compositor.sample(41).alpha.shape  # doctest: +SKIP
        (256, 256)
    """

    def __init__(
        self,
        faces: Sequence[Face],
        occluders: Sequence[Occluder],
        size: int = 256,
        seed: int = 0,
        level: Augmentation | None = None,
    ) -> None:
        """Make faces and occluders ready.

        Args:
            faces: At least one.
            occluders: Emoji occluders of one split; may be empty, drawn ones are always there.
            size: Height and width of the samples, pixels.
            seed: Starts another sequence of samples.
            level: How far the samples vary; ``Augmentation()`` if None.

        Raises:
            InputError: There is no face, or the size is below 32.
        """
        if not faces:
            raise InputError("compositor: no face was given, expected at least one. Fetch some: edgemat data fetch")
        if size < 32:
            raise InputError(f"compositor: size {size}, expected at least 32 pixels")
        cv2.setNumThreads(0)  # a worker process a core; threads of their own would only wait for each other
        self.size, self.seed = size, seed
        self.level = Augmentation() if level is None else level
        self.sources = tuple(ready(face) for face in faces)
        self._by_kind: dict[str, list[Occluder]] = {}
        for occluder in sorted(occluders, key=lambda o: o.id):
            self._by_kind.setdefault(occluder.kind, []).append(occluder)
        unknown = sorted(set(self._by_kind) - set(_WEIGHTS))
        if unknown:
            raise InputError(f"compositor: occluder kind {unknown[0]!r} is not known; known: {', '.join(_WEIGHTS)}")
        self._kinds = [kind for kind in _WEIGHTS if kind in _DRAWN or kind in self._by_kind]
        weights = np.array([_WEIGHTS[kind] for kind in self._kinds])
        self._chances = weights / weights.sum()

    def sample(self, index: int) -> Sample:
        """Make sample number ``index``.

        Args:
            index: Any number from 0 on.
        """
        rng = generator(self.seed, index)
        source = self.sources[int(rng.integers(len(self.sources)))]
        low, high = self.level.occluders
        count = 0 if rng.random() < self.level.free else int(rng.integers(low, high + 1))
        return self._compose(source, count, rng)

    def sample_of(self, face: int, index: int, count: int) -> Sample:
        """Make a sample of a given face with a given number of occluders.

        Args:
            face: Position in the list of faces.
            index: Any number from 0 on; with the seed and the face it fixes the sample.
            count: Occluders, at most as many as there are kinds.
        """
        return self._compose(self.sources[face], count, generator(self.seed, face, index))

    def _compose(self, source: Source, count: int, rng: np.random.Generator) -> Sample:
        matrix = geometry(source.face.landmarks, self.size, rng, self.level)
        staged = self.stage(source, matrix, rng)
        kinds = self.pick_kinds(count, rng)
        # Made one by one: each shadow's draws come before the next occluder's.
        return self.finish(staged, (self.occluder(kind, rng, staged.scene) for kind in kinds), rng)

    def stage(self, source: Source, matrix: Homography, rng: np.random.Generator) -> Stage:
        """Put one of `sources` into the frame.

        Args:
            source: The face.
            matrix: From the source photo's pixels to the frame's, float64, (3, 3).
            rng: Source of randomness for what surrounds the photo.
        """
        return stage(source, matrix, self.size, rng, self.level, self.sources)

    def finish(
        self,
        staged: Stage,
        occluders: Iterable[Placed],
        rng: np.random.Generator,
        noise: np.random.Generator | None = None,
    ) -> Sample:
        """Lay occluders before a staged face and photograph the result.

        Args:
            staged: The face; its image and matte stay as they are.
            occluders: Back to front.
            rng: Source of randomness for shadows, blur, light, colour and compression.
            noise: Where the sensor noise comes from, when frames of one clip differ by it; ``rng`` if None.
        """
        image, scene, face = staged.image, staged.scene, staged.source.face
        free = np.ones((self.size, self.size), np.float32)
        ids, kinds = [], []
        for placed in occluders:
            patch = placed.patch
            if self.level.shadow and rng.random() < self.level.shadow and placed.kind not in ("smoke", "veil"):
                image = times(image, _shadow(rng, patch, self.size, scene.height))
            clear = 1 - alpha_of(patch.layer)
            colour = np.asarray(cv2.cvtColor(patch.layer, cv2.COLOR_RGBA2RGB), np.float32)
            patch.cut(image)[:] = cv2.scaleAdd(colour, 255.0, times(patch.cut(image), clear))
            patch.cut(free)[:] *= clear
            ids.append(placed.id)
            kinds.append(placed.kind)
        alpha = staged.base * free
        image, alpha, base = self._expose(rng, image, alpha, staged.base)
        pixels = photograph(image, rng, self.level, noise)
        hull = _hull(scene.landmarks, self.size)
        return Sample(pixels, alpha, base, hull, face.id, tuple(ids), tuple(kinds), face.ita)

    def pick_kinds(self, count: int, rng: np.random.Generator) -> list[str]:
        """Draw different kinds of occluders and order them back to front.

        Args:
            count: How many, at most as many as there are kinds.
            rng: Source of randomness.
        """
        count = min(count, len(self._kinds))
        drawn = rng.choice(len(self._kinds), size=count, replace=False, p=self._chances)
        return [self._kinds[i] for i in sorted(int(d) for d in drawn)]

    def occluder(self, kind: str, rng: np.random.Generator, scene: Scene) -> Placed:
        """Make one occluder: an emoji or a drawn one, softened at the edge, at times in motion.

        Args:
            kind: One of the known kinds.
            rng: Source of randomness.
            scene: The face that it is put before; its frame may be larger than the samples.
        """
        sigma = rng.uniform(*self.level.edge_blur) * self.size / 256 * (0.5 if kind in _FINE else 1.0)
        moves = rng.random() < self.level.motion_blur
        reach = 0.06 * self.size if moves else 0.0
        margin = int(np.ceil(4 * sigma + reach)) + 1
        emoji = self._by_kind.get(kind, [])
        if emoji and (kind not in _DRAWN or rng.random() < _EMOJI_WHERE_BOTH):
            chosen = emoji[int(rng.integers(len(emoji)))]
            name, patch = chosen.id, place(chosen, rng, scene, self.level, margin)
        else:
            name, patch = f"drawn-{kind}", Patch(_DRAWN[kind](rng, scene)).trimmed(margin)
        layer = patch.layer
        if sigma > 0.2 and layer.size:
            layer = _blur(layer, sigma)
        if moves and layer.size:
            layer = _smear(layer, *_motion(rng, reach))
        return Placed(kind, name, Patch(layer, patch.top, patch.left))

    def _expose(
        self, rng: np.random.Generator, image: npt.NDArray[np.float32], alpha: Map, base: Map
    ) -> tuple[npt.NDArray[np.float32], Map, Map]:
        """Defocus or shake the camera: image and mattes mix alike."""
        parts = [image, alpha, base]  # not the mattes in one: cv2 interpolates two channels more coarsely
        if rng.random() < self.level.defocus:
            sigma = rng.uniform(*self.level.defocus_sigma) * self.size / 256
            parts = [_blur(part, sigma) for part in parts]
        if rng.random() < self.level.camera_motion:
            way = _motion(rng, 0.03 * self.size)
            parts = [_smear(part, *way) for part in parts]
        return parts[0], np.clip(parts[1], 0, 1), np.clip(parts[2], 0, 1)


def holdout(
    faces: Sequence[Face],
    occluders: Sequence[Occluder],
    per_face: int = 8,
    seed: int = HOLDOUT_SEED,
    size: int = 256,
) -> list[Sample]:
    """Make the fixed evaluation set: each face the same number of times, mildly augmented.

    Args:
        faces: The test faces.
        occluders: The test occluders.
        per_face: Samples a face; every eighth is free of occluders, the others have one to three.
        seed: Keep the default to compare with published figures.
        size: Height and width, pixels.

    Returns:
        ``len(faces) * per_face`` samples, face by face.

    Raises:
        InputError: No face was given.
    """
    pairs = ((face, i) for face in range(len(faces)) for i in range(per_face))
    return holdout_of(faces, occluders, pairs, seed, size)


def holdout_of(
    faces: Sequence[Face],
    occluders: Sequence[Occluder],
    pairs: Iterable[tuple[int, int]],
    seed: int = HOLDOUT_SEED,
    size: int = 256,
) -> list[Sample]:
    """Make some samples of the fixed evaluation set without making the others.

    Args:
        faces: The test faces.
        occluders: The test occluders.
        pairs: Position of a face, and which of its samples, from 0 on.
        seed: As for `holdout`.
        size: Likewise.

    Raises:
        InputError: No face was given.
    """
    compositor = Compositor(faces, occluders, size, seed, Augmentation.mild())
    counts = (1, 2, 1, 3, 2, 1, 2, 0)
    return [compositor.sample_of(face, i, counts[i % 8]) for face, i in pairs]


def generator(*key: int) -> np.random.Generator:
    """Return a source of randomness that depends on the key alone, not on the process or what was drawn before."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def _hull(landmarks: Points, size: int) -> Map:
    """Fill the face mesh's outline, antialiased: the baseline that knows no occluder."""
    canvas = np.zeros((size, size), np.uint8)
    outline = np.rint(np.clip(landmarks[list(OVAL)], -8 * size, 8 * size) * 16).astype(np.int32)
    cv2.fillPoly(canvas, [outline], 255.0, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) * np.float32(1 / 255)


def _shadow(rng: np.random.Generator, patch: Patch, size: int, height: float) -> Map:
    """Return the gain on what lies behind an occluder: its own silhouette, moved and blurred, at a quarter's size."""
    full = np.zeros((size, size), np.float32)
    patch.cut(full)[:] = alpha_of(patch.layer)
    quarter = cv2.resize(full, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    away = rng.normal(0, 0.05 * height, 2) / 4
    moved = np.array([[1, 0, away[0]], [0, 1, abs(away[1])]])
    quarter = cv2.warpAffine(quarter, moved, quarter.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    quarter = cv2.GaussianBlur(quarter, (0, 0), max(0.4, rng.uniform(0.01, 0.07) * height / 4))
    soft = np.asarray(cv2.resize(quarter, (size, size)), np.float32)
    return 1 - np.float32(rng.uniform(0.1, 0.5)) * soft


def _blur(image: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)


def _motion(rng: np.random.Generator, longest: float) -> tuple[float, float]:
    """Draw a movement of up to ``longest`` pixels in any direction."""
    angle, length = rng.uniform(0, np.pi), rng.uniform(0.3, 1.0) * longest
    return length * float(math.cos(angle)), length * float(math.sin(angle))


def _smear(image: npt.NDArray[np.float32], dx: float, dy: float) -> npt.NDArray[np.float32]:
    """Average along a line: each doubling adds a copy moved twice as far as the one before."""
    for share in (1 / 8, 1 / 4, 1 / 2):
        shift = np.array([[1, 0, dx * share], [0, 1, dy * share]])
        moved = cv2.warpAffine(image, shift, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        image = np.asarray(cv2.addWeighted(image, 0.5, moved, 0.5, 0), np.float32)
    return image
