"""Small calibration images that may be shipped, with their manifest; or a folder of one's own, read the same way."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemat.errors import InputError
from edgemat.files import sha256
from edgemat.images import read_gray, read_rgb

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

if not __name__.startswith("edgemat."):
    raise ImportError(f"import edgemat.calib_data, not {__name__}: the folder is installed under the edgemat name")

_SUFFIXES = (".png", ".jpg", ".jpeg")
_MANIFEST = "manifest.json"
_SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """Images to calibrate and to compare artefacts on.

    Attributes:
        names: File names, sorted.
        images: RGB, uint8, each (H, W, 3), of whatever size the files have; the shipped ones are 256x256.
        alphas: Ground truth, float32, each (H, W) in [0, 1]; None for images that have none.
    """

    names: tuple[str, ...]
    images: tuple[npt.NDArray[np.uint8], ...]
    alphas: tuple[npt.NDArray[np.float32] | None, ...]

    def __post_init__(self) -> None:
        """Check that there is something, and the same number of each."""
        if not len(self.names) == len(self.images) == len(self.alphas) > 0:
            raise ValueError(f"{len(self.names)} names, {len(self.images)} images, {len(self.alphas)} mattes")

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.names)

    def resized(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """Return all images at a model's size, see :func:`resize`: RGB, uint8, (N, height, width, 3)."""
        import numpy as np

        return np.stack([resize(image, height, width) for image in self.images])


def resize(image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Scale an image, keeping its proportions, until it covers the size (bicubic), and cut it in the middle.

    Args:
        image: RGB, uint8, (H, W, 3).
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        RGB, uint8, (height, width, 3); the image itself where it has the size already.

    Example:
        >>> import numpy as np
        >>> resize(np.zeros((40, 30, 3), np.uint8), 16, 16).shape
        (16, 16, 3)
    """
    if image.shape[:2] == (height, width):
        return image
    import numpy as np
    from PIL import Image, ImageOps

    return np.array(ImageOps.fit(Image.fromarray(image), (width, height), Image.Resampling.BICUBIC))


def load(path: str | os.PathLike[str] | None = None) -> CalibrationSet:
    """Read the shipped images, or those of a folder.

    A folder with a ``manifest.json`` is read by it, and every file's hash is checked. Of another folder every PNG
    and JPEG file is read, in the order of the names, and none has a matte.

    Args:
        path: A folder; the shipped images if None.

    Raises:
        InputError: The folder is missing or holds no image, a file differs from the manifest, or is not an 8-bit
            RGB image that can be read.

    Example:
        >>> shipped = load()
        >>> shipped.images[0].shape
        (256, 256, 3)
    """
    where = Path(__file__).parent if path is None else Path(path)
    if not where.is_dir():
        raise InputError(f"{where}: no such folder; expected a folder of PNG or JPEG images")
    if (where / _MANIFEST).is_file():
        return _by_manifest(where)
    files = sorted(p for p in where.iterdir() if p.suffix.lower() in _SUFFIXES and not p.name.startswith("."))
    if not files:
        raise InputError(
            f"{where}: holds no {', '.join(_SUFFIXES)} file, expected at least one image; "
            "name another folder, or none for the shipped images"
        )
    images = tuple(read_rgb(file) for file in files)
    return CalibrationSet(tuple(f.name for f in files), images, (None,) * len(files))


def _by_manifest(where: Path) -> CalibrationSet:
    entries = sorted(_entries(where / _MANIFEST), key=lambda entry: str(entry["name"]))
    for entry in entries:
        _check(where / entry["name"], entry["sha256"])
        if entry.get("alpha"):
            _check(where / entry["alpha"], entry["alpha_sha256"])
    names = tuple(str(entry["name"]) for entry in entries)
    images = tuple(read_rgb(where / name) for name in names)
    alphas = tuple(read_gray(where / entry["alpha"]) if entry.get("alpha") else None for entry in entries)
    return CalibrationSet(names, images, alphas)


def _entries(manifest: Path) -> list[dict[str, Any]]:
    """Read the manifest's files; each has a name and a hash, and stays within the folder."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        version, files = content["schema_version"], content["files"]
        wanted = [str(e[key]) for e in files for key in ("name", "sha256")]
        wanted += [str(e[key]) for e in files if e.get("alpha") for key in ("alpha", "alpha_sha256")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{manifest}: not a manifest ({error!r}); expected schema_version and files") from error
    if version != _SCHEMA_VERSION:
        raise InputError(f"{manifest}: schema_version {version!r}, expected {_SCHEMA_VERSION}; update edgemat")
    if not wanted:
        raise InputError(f"{manifest}: lists no file, expected at least one image")
    outside = [name for name in wanted if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:
        raise InputError(f"{manifest}: {outside[0]!r} lies outside the folder")
    return list(files)


def _check(file: Path, expected: str) -> None:
    if not file.is_file():
        raise InputError(f"{file}: missing, but its manifest lists it. Restore it: git checkout -- calib_data")
    found = sha256(file)
    if found != expected:
        raise InputError(
            f"{file}: sha256 {found[:16]}..., the manifest expects {expected[:16]}...; the file was changed. "
            "Restore it: git checkout -- calib_data, or make the set again as its README says"
        )
