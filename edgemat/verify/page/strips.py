"""The pictures of a proof: a few images, what every artefact made of them, and what it should have been."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError
from edgemat.files import atomic_path

Codes = npt.NDArray[np.uint8]

SCHEMA_VERSION = 1
_ALPHA = "alpha/"
"""Before an artefact's name in the file."""


@dataclass(frozen=True, eq=False)
class Strips:
    """A few images and every artefact's alpha of them, in the order of the images.

    Attributes:
        images: RGB, uint8, (K, H, W, 3), at least one.
        alphas: By the artefact's name, such as ``tflite int8``: alpha, uint8, (K, H, W), 255 is 1.
        reference: The float network's alpha, uint8, (K, H, W).
        truth: The true alpha, uint8, (K, H, W); None where it is not known.
        uncertainty: How unsure the teacher is, uint8, (K, H, W), 255 is the most of all; None where nobody asked it.
        names: A caption an image, such as its file's name or what covers the face; none, or one each.
    """

    images: Codes
    alphas: Mapping[str, Codes]
    reference: Codes
    truth: Codes | None = None
    uncertainty: Codes | None = None
    names: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit each other.

        Raises:
            InputError: With what was found and expected.
        """
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3:] != (3,) or not len(self):
            raise InputError(f"strips: images are {_kind(self.images)}, expected uint8 (K, H, W, 3), K >= 1")
        planes = {f"alpha of {name}": alpha for name, alpha in self.alphas.items()}
        planes |= {"reference": self.reference}
        planes |= {k: v for k, v in (("truth", self.truth), ("uncertainty", self.uncertainty)) if v is not None}
        for name, plane in planes.items():
            if plane.dtype != np.uint8 or plane.shape != self.images.shape[:3]:
                raise InputError(f"strips: {name} is {_kind(plane)}, expected uint8 {self.images.shape[:3]}")
        if self.names and len(self.names) != len(self):
            raise InputError(f"strips: {len(self.names)} names for {len(self)} images")

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.images)


def codes(alpha: npt.NDArray[np.floating[Any]]) -> Codes:
    """Return alpha or any other plane in [0, 1] as uint8, of the same shape; what is beyond is cut.

    Example:
        >>> codes(np.array([0.0, 0.5, 1.0])).tolist()
        [0, 128, 255]
    """
    return np.asarray(np.round(np.clip(np.nan_to_num(alpha), 0, 1) * 255), np.uint8)


def save(strips: Strips, path: Path) -> None:
    """Write strips as .npz, atomically; the same strips give the same bytes.

    The file holds ``schema_version``, ``images``, ``reference``, ``alpha/NAME`` an artefact and, where they are known,
    ``truth``, ``uncertainty`` and ``names``.

    Args:
        strips: What to write.
        path: The goal, such as ``DIR/proof/strips.npz``.

    Raises:
        OutputError: It cannot be written.

    Example:
        >>> import tempfile
        >>> goal = Path(tempfile.mkdtemp()) / "strips.npz"
        >>> plane = np.zeros((1, 4, 4), np.uint8)
        >>> save(Strips(np.zeros((1, 4, 4, 3), np.uint8), {"tflite int8": plane}, plane), goal)
        >>> load(goal).alphas["tflite int8"].shape
        (1, 4, 4)
    """
    arrays: dict[str, npt.NDArray[Any]] = {"schema_version": np.array(SCHEMA_VERSION), "images": strips.images}
    arrays["reference"] = strips.reference
    for name in ("truth", "uncertainty"):
        if (plane := getattr(strips, name)) is not None:
            arrays[name] = plane
    if strips.names:
        arrays["names"] = np.array(strips.names, np.str_)
    arrays |= {_ALPHA + name: alpha for name, alpha in strips.alphas.items()}
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def load(path: Path) -> Strips:
    """Read what `save` wrote; never unpickles.

    Raises:
        InputError: Missing, damaged, of another version, or its arrays do not fit each other.
    """
    again = "make it again with: edgemat parity"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        version = int(arrays.pop("schema_version"))
        if version != SCHEMA_VERSION:
            raise InputError(f"{path}: schema version {version}, expected {SCHEMA_VERSION}; {again}")
        return Strips(
            images=arrays["images"],
            alphas={n.removeprefix(_ALPHA): plane for n, plane in arrays.items() if n.startswith(_ALPHA)},
            reference=arrays["reference"],
            truth=arrays.get("truth"),
            uncertainty=arrays.get("uncertainty"),
            names=tuple(str(name) for name in arrays.get("names", ())),
        )
    except InputError as error:
        raise InputError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read ({type(error).__name__}: {error}); {again}") from error


def _kind(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} {array.shape}"
