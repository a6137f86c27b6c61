"""What artefacts are judged on: images, their truth and strata, where the truth is hard to know, and short clips."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from edgemat.errors import BackendMissingError, InputError
from edgemat.verify.groups import face_height, groups

if TYPE_CHECKING:
    from edgemat.data.types import Face, Occluder, Sample

Images = npt.NDArray[np.uint8]
Alphas = npt.NDArray[np.float32]
Source = Literal["holdout", "calibration"]

HOLDOUT: Source = "holdout"
CALIBRATION: Source = "calibration"
LIMIT = 32
"""Images by default: one of each face of the hold-out."""
CLIPS, FRAMES = 8, 4
"""Clips, and the frames of each: the middle ones of the hold-out's clips, where occluders cross the face."""

_BATCH = 8  # of the teacher: 16 would take another 200 MB and no less time
_PER_FACE = 8  # numbers of occluders repeat after as many composites
_SUFFIXES = (".png", ".jpg", ".jpeg")
_FETCH = "edgemat data fetch, then edgemat parity --images holdout"


@dataclass(frozen=True, eq=False)
class ParitySet:
    """Images with what is known of them.

    Attributes:
        images: RGB, uint8, (N, H, W, 3), N >= 1.
        truth: True alpha, float32, (N, H, W), in [0, 1]; None where it is not known.
        uncertainty: The shipped teacher's expected absolute error, float32, (N, H, W), >= 0; None where it was not
            computed, and then `not_proven` says why.
        strata: Of each image, the groups that it counts in (`edgemat.verify.groups.groups`), unknown ones left out.
        faces: Of each image, the face; images of one face are drawn together.
        clips: Frames of short clips, uint8, (C, T, H, W, 3); C = 0 where there are none.
        clip_truth: Their true alpha, float32, (C, T, H, W).
        clip_faces: Of each clip, the face.
        facts: For the report: name, count, of how many, faces, draw, clips, frames, size, SHA-256 of all pixels,
            whether truth and uncertainty are known.
        not_proven: What a reader must not conclude because of what is missing, a sentence each.
    """

    images: Images
    truth: Alphas | None
    uncertainty: Alphas | None
    strata: tuple[tuple[str, ...], ...]
    faces: tuple[str, ...]
    clips: Images
    clip_truth: Alphas
    clip_faces: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    not_proven: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or not shape[0]:
            raise ValueError(f"parity set: images {self.images.dtype}{shape}, expected uint8 (N, H, W, 3), N >= 1")
        for name, plane in (("truth", self.truth), ("uncertainty", self.uncertainty)):
            if plane is not None and (plane.shape != shape[:3] or plane.dtype != np.float32):
                raise ValueError(f"parity set: {name} {plane.dtype}{plane.shape}, expected float32 {shape[:3]}")
        if not len(self.strata) == len(self.faces) == shape[0]:
            raise ValueError(f"parity set: {shape[0]} images, {len(self.strata)} strata, {len(self.faces)} faces")
        clips = self.clips.shape
        if clips[2:] != shape[1:] or self.clip_truth.shape != clips[:4] or len(self.clip_faces) != clips[0]:
            raise ValueError(
                f"parity set: clips {clips}, their truth {self.clip_truth.shape}, {len(self.clip_faces)} faces; "
                f"expected (C, T, {', '.join(map(str, shape[1:]))})"
            )

    @property
    def to_run(self) -> Images:
        """Everything that an artefact is run on: the images, then the clips' frames; uint8, (N + C * T, H, W, 3)."""
        return np.concatenate([self.images, self.clips.reshape(-1, *self.images.shape[1:])])

    def split(self, alphas: Alphas) -> tuple[Alphas, Alphas]:
        """Part what was predicted on `to_run` into that of the images (N, H, W) and of the clips (C, T, H, W)."""
        count = len(self.images)
        return alphas[:count], alphas[count:].reshape(self.clips.shape[:-1])


def load(
    source: Source | Path | None = None,
    height: int = 256,
    width: int = 256,
    limit: int = LIMIT,
    clips: bool = True,
    cache_dir: Path | None = None,
    draw: int = 0,
) -> ParitySet:
    """Read or make a parity set; the same arguments give the same bytes.

    Args:
        source: ``holdout``: composites with exact alpha, spread over all faces and numbers of occluders.
            ``calibration``: the images that come with the package, without truth. A folder: images of one's own; with
            ``image/`` and ``alpha/`` or shards they have a truth, as plain images they have none. None takes the
            hold-out where it is fetched, else the calibration images.
        height: Rows that the artefacts take; images of another size are scaled to cover it and cut in the middle.
        width: Columns.
        limit: Images at most, >= 1; of a larger folder, as many at equal distances.
        clips: Whether to make clips for dtSSD (hold-out only).
        cache_dir: Where ``edgemat data fetch`` put the data; the default cache if None.
        draw: Which of the eight disjoint choices of one composite a face comes first.

    Raises:
        InputError: The data is not fetched, or the folder cannot be used.
        BackendMissingError: A package is missing that makes the hold-out.
    """
    if limit < 1:
        raise InputError(f"parity: {limit} images, expected at least 1")
    missing = ""
    if source is None or source == HOLDOUT:
        try:
            return _holdout(height, width, limit, clips, cache_dir, draw)
        except (InputError, BackendMissingError) as error:
            if source is not None:
                raise
            missing = f"The hold-out was not used: {error}"
    if source is None or source == CALIBRATION:
        return _calibration(height, width, limit, missing)
    return _folder(Path(source), height, width, limit)


def _holdout(height: int, width: int, limit: int, clips: bool, cache_dir: Path | None, draw: int) -> ParitySet:
    try:
        from edgemat.data.compositor import holdout_of
        from edgemat.data.faces import load_faces
        from edgemat.data.occluders import load_occluders
    except ImportError as error:
        raise BackendMissingError(
            f"the hold-out's composites need {error.name}, which is missing: pip install 'edgemat[eval]'"
        ) from error
    faces, occluders = load_faces("test", cache_dir), load_occluders("test", cache_dir)
    samples = holdout_of(faces, occluders, _pairs(len(faces), limit, draw))
    moving = _clips(faces, occluders, draw) if clips else []
    strata = tuple(_groups(s) for s in samples)
    return _assemble(
        {"name": HOLDOUT, "of": len(faces) * _PER_FACE, "draw": draw},
        np.stack([_image(s.image, height, width) for s in samples]),
        np.stack([_plane(s.alpha, height, width) for s in samples]),
        strata,
        tuple(s.face_id for s in samples),
        [[(_image(s.image, height, width), _plane(s.alpha, height, width)) for s in clip] for clip in moving],
        tuple(clip[0].face_id for clip in moving),
        () if clips else ("dtSSD was not measured: clips were not asked for.",),
    )


def _groups(sample: Sample) -> tuple[str, ...]:
    found = groups(sample.kinds, sample.ita, face_height(sample.hull))
    return tuple(name for name in found if not name.endswith(": unknown"))


def _pairs(faces: int, limit: int, draw: int) -> list[tuple[int, int]]:
    """Choose composites: one of every face before a second of any, with another number of occluders face by face."""
    every = [(face, (face + turn + draw) % _PER_FACE) for turn in range(_PER_FACE) for face in range(faces)]
    return every[:limit]


def _clips(faces: Sequence[Face], occluders: Sequence[Occluder], draw: int) -> list[list[Sample]]:
    """Make the middle frames of some of the hold-out's clips, with one and two occluders by turns."""
    from edgemat.data import clips
    from edgemat.data.augment import Augmentation
    from edgemat.data.compositor import Compositor

    compositor = Compositor(faces, occluders, 256, clips.SEED, Augmentation.mild())
    count = min(CLIPS, len(faces))
    chosen = sorted({(k * len(faces) // count + k % 2 + draw) % len(faces) for k in range(count)})
    first = (clips.FRAMES - FRAMES) // 2
    part = slice(first, first + FRAMES)
    return [clips.clip(compositor, face, 0, 1 + face % 2, part=part) for face in chosen]


def _calibration(height: int, width: int, limit: int, missing: str) -> ParitySet:
    from edgemat import calib_data

    found = calib_data.load()
    reason = "Quality was not measured: the calibration images are those that the scales were fitted to; " + _FETCH
    return _plain(found, CALIBRATION, height, width, limit, (*([missing] if missing else []), reason))


def _folder(path: Path, height: int, width: int, limit: int) -> ParitySet:
    from edgemat import calib_data

    bare = path / "image" if (path / "image").is_dir() and not (path / "alpha").is_dir() else path
    if bare.is_dir() and any(file.suffix.lower() in _SUFFIXES for file in bare.iterdir()):
        reason = f"Quality was not measured: {path} holds no truth; put it into alpha/ beside image/, or: {_FETCH}"
        return _plain(calib_data.load(bare), str(path), height, width, limit, (reason,))
    try:
        from edgemat.data.shards import Shards, as_example, open_examples
    except ImportError as error:
        raise BackendMissingError(
            f"{path}: reading it needs {error.name}, which is missing: pip install 'edgemat[data]'"
        ) from error
    items = open_examples(path)
    chosen = _spread(len(items), limit)
    examples = [as_example(items[i]) for i in chosen]
    names = tuple(items.key(i) if isinstance(items, Shards) else items.names[i] for i in chosen)
    return _assemble(
        {"name": str(path), "of": len(items)},
        np.stack([_image(example.image, height, width) for example in examples]),
        np.stack([_plane(example.alpha, height, width) for example in examples]),
        ((),) * len(names),
        names,
        not_proven=(
            f"Occluders and skin tones were not told apart: nobody knows those of {path}.",
            f"dtSSD was not measured: {path} holds no clips.",
        ),
    )


def _plain(found: Any, name: str, height: int, width: int, limit: int, not_proven: tuple[str, ...]) -> ParitySet:
    """Make a set of images alone."""
    chosen = _spread(len(found), limit)
    images = np.stack([_image(found.images[i], height, width) for i in chosen])
    names = tuple(found.names[i] for i in chosen)
    facts = {"name": name, "of": len(found)}
    return _assemble(facts, images, None, ((),) * len(names), names, not_proven=not_proven)


def _assemble(
    facts: Mapping[str, Any],
    images: Images,
    truth: Alphas | None,
    strata: tuple[tuple[str, ...], ...],
    faces: tuple[str, ...],
    clips: Sequence[Sequence[tuple[Images, Alphas]]] = (),
    clip_faces: tuple[str, ...] = (),
    not_proven: tuple[str, ...] = (),
) -> ParitySet:
    """Add the teacher's doubt, the clips as arrays, and the facts."""
    height, width = images.shape[1:3]
    moving = np.zeros((0, FRAMES, height, width, 3), np.uint8)
    moving_truth = np.zeros((0, FRAMES, height, width), np.float32)
    if clips:
        moving = np.stack([np.stack([image for image, _ in clip]) for clip in clips])
        moving_truth = np.stack([np.stack([alpha for _, alpha in clip]) for clip in clips])
    uncertainty, why = _uncertainty(images)
    known = {
        "count": len(images),
        "faces": len(set(faces)),
        "size": [height, width],
        "clips": len(moving),
        "frames": moving.shape[1] if len(moving) else 0,
        "truth": truth is not None,
        "uncertainty": uncertainty is not None,
        "sha256": hashlib.sha256(images.tobytes() + moving.tobytes()).hexdigest(),
    }
    said = (*not_proven, *([why] if why and truth is not None else []))
    return ParitySet(
        images, truth, uncertainty, strata, faces, moving, moving_truth, clip_faces, {**facts, **known}, said
    )


def _uncertainty(images: Images) -> tuple[Alphas | None, str]:
    """Return the shipped teacher's expected error, or None and why."""
    failed = "How precision acts where the truth is hard to know was not measured: "
    try:
        from edgemat.model.predict import predict_teacher
        from edgemat.model.weights import load_teacher, shipped_teacher

        net = load_teacher(shipped_teacher()).net
    except ImportError as error:
        return None, f"{failed}the teacher needs {error.name}: pip install 'edgemat[eval]'"
    except InputError as error:
        return None, f"{failed}{error}"
    height, width = images.shape[1:3]
    stride = net.config.stride
    if height % stride or width % stride:
        return None, f"{failed}the teacher takes multiples of {stride} pixels, found {width}x{height}"
    return predict_teacher(net, images, _BATCH)[1], ""


def _spread(count: int, limit: int) -> list[int]:
    """Return at most ``limit`` places of ``count``, at equal distances."""
    return [place * count // min(limit, count) for place in range(min(limit, count))]


def _image(image: Images, height: int, width: int) -> Images:
    from edgemat import calib_data

    return calib_data.resize(image, height, width)


def _plane(plane: Alphas, height: int, width: int) -> Alphas:
    """Bring a matte to a size as `edgemat.calib_data.resize` brings its image."""
    if plane.shape == (height, width):
        return plane
    from PIL import Image, ImageOps

    fitted = ImageOps.fit(Image.fromarray(plane), (width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(fitted, np.float32), 0, 1)  # bicubic overshoots at edges
