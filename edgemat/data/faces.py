"""The faces with their base mattes: made once from the fetched images, then read from the cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.data import registry
from edgemat.data.archive import Progress
from edgemat.data.splits import SPLITS, Split, split_faces
from edgemat.data.types import Face
from edgemat.errors import InputError
from edgemat.files import atomic_path, sha256, write_json
from edgemat.images import read_gray, read_rgb, write_png

_SCHEMA = 1
_SOURCE = "fake-avatars"


def prepare(cache: Path | None = None, progress: Progress | None = None) -> Path:
    """Make every face's landmarks and base matte, unless that was done before with the same images and rules.

    The result is a folder ``faces`` in the cache: ``image/<id>.png`` (RGB), ``alpha/<id>.png`` (8-bit),
    ``landmarks.npz`` (one array an id) and ``faces.json`` (split, skin tone and flaw of each).

    Args:
        cache: Cache folder; :func:`edgemat.data.registry.cache_dir` by default.
        progress: Called with ``faces``, how many are done and how many there are.

    Returns:
        The folder.

    Raises:
        InputError: The images or the networks were not fetched.
        BackendMissingError: LiteRT is not installed.
        OutputError: The cache cannot be written.
    """
    cache = registry.cache_dir() if cache is None else cache
    goal = cache / "faces"
    if _is_current(goal):
        return goal
    files = {sha256(f): f for f in sorted((registry.folder(_SOURCE, cache) / "avatars" / "png").glob("*.png"))}
    split_of = {digest: name for name, digests in split_faces(files).items() for digest in digests}
    with atomic_path(goal) as temporary:
        faces: dict[str, dict[str, Any]] = {}
        landmarks: dict[str, npt.NDArray[np.float32]] = {}
        finder = _Maker(cache)
        for done, (digest, file) in enumerate(sorted(files.items()), start=1):
            made = finder.make(digest[:16], file)
            if made is not None:
                face, flaw = made
                faces[face.id] = {"split": split_of[digest], "ita": round(face.ita, 2), "flaw": flaw}
                landmarks[face.id] = face.landmarks
                write_png(temporary / "image" / f"{face.id}.png", face.image)
                write_png(temporary / "alpha" / f"{face.id}.png", np.rint(face.alpha * 255).astype(np.uint8))
            if progress is not None:
                progress("faces", done, len(files))
        np.savez_compressed(temporary / "landmarks.npz", allow_pickle=False, **landmarks)
        write_json(temporary / "faces.json", {**_version(), "faces": faces})
    return goal


def load_faces(split: Split, cache: Path | None = None, flawed: bool | None = None) -> list[Face]:
    """Read the faces of one split, in the order of their ids.

    Args:
        split: ``train``, ``val`` or ``test``.
        cache: Cache folder; :func:`edgemat.data.registry.cache_dir` by default.
        flawed: Whether to include faces whose base matte has a stated flaw (glasses, a cover); by default the
            test split keeps them, because leaving hard faces out would flatter, and the others do not, because
            they would teach noise.

    Returns:
        Faces of 256x256 pixels.

    Raises:
        InputError: The split is not known, or the faces were not prepared.
    """
    if split not in SPLITS:
        raise InputError(f"face split {split!r} is not known; expected one of {', '.join(SPLITS)}")
    goal = (registry.cache_dir() if cache is None else cache) / "faces"
    if not _is_current(goal):
        raise InputError(f"{goal}: the faces are not there or of an older version. Make them with: edgemat data fetch")
    keep = split == "test" if flawed is None else flawed
    listing = _listing(goal)["faces"]
    with np.load(goal / "landmarks.npz", allow_pickle=False) as landmarks:
        return [
            Face(
                id=name,
                image=read_rgb(goal / "image" / f"{name}.png"),
                alpha=read_gray(goal / "alpha" / f"{name}.png"),
                landmarks=landmarks[name],
                ita=entry["ita"],
            )
            for name, entry in sorted(listing.items())
            if entry["split"] == split and (keep or not entry["flaw"])
        ]


class _Maker:
    """Makes one face after another with networks that are loaded once."""

    def __init__(self, cache: Path) -> None:
        from edgemat.data.facemesh import Landmarker

        self._landmarker = Landmarker(registry.folder("mediapipe", cache))

    def make(self, name: str, file: Path) -> tuple[Face, str] | None:
        """Return a face and its flaw, or None where no face is found."""
        from edgemat.data.basematte import base_matte, ita
        from edgemat.data.mends import mended, read_mends

        image = read_rgb(file)
        found = self._landmarker.find(image)
        if found is None:
            return None
        matte, mend = base_matte(image, found.landmarks), read_mends().get(name)
        alpha, flaw = matte if mend is None else mended(matte, mend)
        return Face(name, image, alpha, found.landmarks, ita(image, alpha)), flaw


def _version() -> dict[str, Any]:
    """Return what the prepared faces depend on; another value makes them anew."""
    from edgemat.data import mends
    from edgemat.data.basematte import VERSION

    sources = {name: registry.source(name).sha256 for name in (_SOURCE, "mediapipe")}
    return {"schema": _SCHEMA, "matte": VERSION, "mends": sha256(mends.FILE), "sources": sources}


def _listing(goal: Path) -> Mapping[str, Any]:
    listing: Mapping[str, Any] = json.loads((goal / "faces.json").read_text(encoding="utf-8"))
    return listing


def _is_current(goal: Path) -> bool:
    try:
        listing = _listing(goal)
    except (OSError, ValueError):
        return False
    return isinstance(listing, dict) and all(listing.get(key) == value for key, value in _version().items())
