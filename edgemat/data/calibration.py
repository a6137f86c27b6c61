"""Makes the shipped calibration images out of freely licensed pictures: ``calib_data/`` and its manifest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgemat.data.augment import Augmentation
from edgemat.data.basematte import base_matte, ita
from edgemat.data.compositor import Compositor
from edgemat.data.facemesh import Landmarker
from edgemat.data.occluders import load_occluders
from edgemat.data.registry import folder
from edgemat.data.types import Face, Sample
from edgemat.errors import InputError
from edgemat.files import sha256, write_json
from edgemat.images import read_rgb, write_png

Image = npt.NDArray[np.uint8]

SCHEMA_VERSION = 1
_SIZE = 256
_SEED = 77
_FACE_ROWS, _FACE_COLUMNS = slice(0, 288), slice(80, 368)  # of astronaut.png: head, collar and some of the scene
# Skin colours that the face is given in turn; None leaves it as it is.
_TONES = (None, (244, 208, 186), (222, 172, 140), (188, 136, 102), (150, 104, 76), (112, 74, 54), (82, 54, 42))
_COUNTS = (1, 1, 2, 1, 3, 0, 2, 1, 1, 2, 1, 3, 1, 0, 2, 1, 1, 2, 1, 1, 2, 3)
# No skin in them; where each is cut, top and left.
_WITHOUT_FACE = {"coffee": (60, 170), "chelsea": (20, 110)}
_ASTRONAUT = "scikit-image 0.26.0 astronaut.png (NASA)"
_EMOJI = "@lobehub/fluent-emoji-3d 1.1.0"


@dataclass(frozen=True, eq=False)
class _Entry:
    """One image to write, its matte, and what the manifest says of it."""

    name: str
    image: Image
    alpha: npt.NDArray[np.float32]
    licence: str
    source: str
    description: str


def build(out_dir: str | os.PathLike[str], cache_dir: Path | None = None) -> None:
    """Write the calibration images, their mattes under ``alpha/``, and ``manifest.json``; nothing else is touched.

    All of it is a fixed function of the fetched data: a photo in the public domain, CC0 textures, and MIT-licensed
    emoji of the training split.

    Args:
        out_dir: Folder to write to.
        cache_dir: Cache folder of the fetched data; the default one if None.

    Raises:
        InputError: The data is not fetched, or no face was found in the photo.
        OutputError: The folder cannot be written.
    """
    out = Path(out_dir)
    files = []
    for entry in [*_composites(cache_dir), *_without_face(cache_dir)]:
        write_png(out / entry.name, entry.image)
        write_png(out / "alpha" / entry.name, np.rint(entry.alpha * 255).astype(np.uint8))
        files.append(
            {
                "name": entry.name,
                "sha256": sha256(out / entry.name),
                "alpha": f"alpha/{entry.name}",
                "alpha_sha256": sha256(out / "alpha" / entry.name),
                "licence": entry.licence,
                "source": entry.source,
                "split": "calibration",
                "description": entry.description,
            }
        )
    write_json(out / "manifest.json", {"schema_version": SCHEMA_VERSION, "size": [_SIZE, _SIZE], "files": files})


def _composites(cache_dir: Path | None) -> Iterator[_Entry]:
    """Compose the one free face, in several skin colours, with drawn occluders and emoji of the training split."""
    photo = read_rgb(folder("scikit-image", cache_dir) / "astronaut.png")[_FACE_ROWS, _FACE_COLUMNS]
    plain = _face(np.ascontiguousarray(photo))
    faces = [plain if tone is None else _retoned(plain, tone) for tone in _TONES]
    level = replace(Augmentation.mild(), rotation=20.0, face_height=(0.4, 0.8), relight=0.3, noise=(0.0, 2.5))
    compositor = Compositor(faces, load_occluders("train", cache_dir), _SIZE, _SEED, level)
    for i, count in enumerate(_COUNTS):
        sample = compositor.sample_of(i % len(faces), i, count)
        emoji = [name for name in sample.occluder_ids if not name.startswith("drawn-")]
        yield _Entry(
            name=f"composite-{i:02d}.png",
            image=sample.image,
            alpha=sample.alpha,
            licence="public domain (photo); MIT (emoji)" if emoji else "public domain",
            source=f"{_ASTRONAUT}; {_EMOJI}: {', '.join(emoji)}" if emoji else _ASTRONAUT,
            description=_describe(sample),
        )


def _describe(sample: Sample) -> str:
    before = ", ".join(sample.kinds) if sample.kinds else "nothing"
    return f"face with an individual typology angle of {sample.ita:.0f} degrees, before it: {before}"


def _without_face(cache_dir: Path | None) -> Iterator[_Entry]:
    """Cut pictures that hold no skin: their matte is 0 throughout."""
    for name, (top, left) in _WITHOUT_FACE.items():
        image = read_rgb(folder("scikit-image", cache_dir) / f"{name}.png")
        cut = np.ascontiguousarray(image[top : top + _SIZE, left : left + _SIZE])
        empty = np.zeros((_SIZE, _SIZE), np.float32)
        source = f"scikit-image 0.26.0 {name}.png"
        yield _Entry(f"without-face-{name}.png", cut, empty, "CC0-1.0", source, f"no skin: {name}")


def _face(photo: Image) -> Face:
    found = Landmarker().find(photo)
    if found is None:
        raise InputError("astronaut.png: no face was found, expected one. Fetch it again: edgemat data fetch")
    alpha = base_matte(photo, found.landmarks).alpha
    return Face("astronaut", photo, alpha, found.landmarks, ita(photo, alpha))


def _retoned(face: Face, target: tuple[int, int, int]) -> Face:
    """Give everything of skin colour in a face's photo another skin colour by a gamma per channel.

    Highlights and shadows stay, and what is far from skin in CIELAB stays as it is.

    Args:
        face: The face.
        target: RGB of its skin's median afterwards.
    """
    skin = np.median(face.image[face.alpha > 0.9], axis=0)
    gammas = np.log(np.array(target) / 255) / np.log(skin / 255)
    toned = 255 * (face.image / np.float32(255)) ** gammas.astype(np.float32)
    lab = cv2.cvtColor(face.image, cv2.COLOR_RGB2LAB).astype(np.float32)
    centre = np.median(lab[face.alpha > 0.9], axis=0)
    distance = np.linalg.norm((lab - centre) / np.array([110, 18, 18], np.float32), axis=2)
    likely = np.maximum(np.exp(-(distance**2)), face.alpha).astype(np.float32)
    share = cv2.GaussianBlur(likely, (0, 0), 1.5)[..., None]
    image = np.rint(face.image * (1 - share) + toned * share).astype(np.uint8)
    return replace(face, id=f"astronaut-{target[0]}", image=image, ita=ita(image, face.alpha))
