"""Read a team's own matting set: a folder with ``image/`` and ``alpha/``, paired by file name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError
from edgemat.images import read_gray, read_rgb

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_SHOWN = 10


class MatteFolder:
    """A CelebAMat-shaped set: ``image/<name>.png`` or ``.jpg`` (RGB) and ``alpha/<name>.png`` or ``.jpg`` (grayscale).

    Every file is opened once when the set is made, so that a training run does not stop at its thousandth sample.

    Attributes:
        path: The folder.
        names: The pairs' common names, sorted; the order of the samples.

    Example:
        >>> import pathlib, tempfile
        >>> from edgemat.images import write_png
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> write_png(root / "image" / "anna.png", np.zeros((4, 4, 3), np.uint8))
        >>> write_png(root / "alpha" / "anna.png", np.full((4, 4), 255, np.uint8))
        >>> image, alpha = MatteFolder(root)[0]
        >>> image.shape, float(alpha.max())
        ((4, 4, 3), 1.0)
    """

    def __init__(self, path: str | Path) -> None:
        """Pair the files and check each.

        Args:
            path: The folder.

        Raises:
            InputError: A folder is missing or empty, a file has no partner, two files share a name, or a file is
                truncated, of the wrong mode or of another size than its partner. All faults of a kind are counted
                and at most ten shown.
        """
        self.path = Path(path)
        self._images = _index(self.path / "image")
        self._alphas = _index(self.path / "alpha")
        unpaired = [f"image/{self._images[n].name} has no alpha" for n in sorted(self._images.keys() - self._alphas)]
        unpaired += [f"alpha/{self._alphas[n].name} has no image" for n in sorted(self._alphas.keys() - self._images)]
        refuse(self.path, unpaired, "Pairs share a name: image/<name>.png and alpha/<name>.png")
        self.names = tuple(sorted(self._images))
        faults = [fault for index in range(len(self.names)) if (fault := self._fault(index))]
        refuse(self.path, faults, "Mend or remove these pairs")

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Return the image (RGB, uint8, (H, W, 3)) and its alpha (float32, (H, W), in [0, 1])."""
        name = self.names[index]
        return read_rgb(self._images[name]), read_gray(self._alphas[name])

    def __iter__(self) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]]:
        """Yield the pairs in the order of their names."""
        return (self[index] for index in range(len(self)))

    def _fault(self, index: int) -> str:
        try:
            image, alpha = self[index]
        except InputError as error:
            return str(error)
        if image.shape[:2] != alpha.shape:
            return f"{self.names[index]}: image {_size(image.shape)}, alpha {_size(alpha.shape)}; expected equal sizes"
        return ""


def _index(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected image/ and alpha/ side by side")
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in _SUFFIXES and not file.name.startswith("."):
            if file.stem in found:
                raise InputError(f"{folder}: {found[file.stem].name} and {file.name} share a name; remove one")
            found[file.stem] = file
    if not found:
        raise InputError(f"{folder}: holds no .png or .jpg file; expected one or more")
    return found


def refuse(path: Path, faults: Sequence[str], remedy: str) -> None:
    """Raise where a set has faults, with their count and the first ten.

    Args:
        path: The set.
        faults: One line each.
        remedy: What to do about them.

    Raises:
        InputError: There is a fault.
    """
    if faults:
        shown = [f"  {fault}" for fault in faults[:_SHOWN]]
        if len(faults) > _SHOWN:
            shown.append(f"  ... and {len(faults) - _SHOWN} more")
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise InputError("\n".join([f"{path}: {count}. {remedy}:", *shown]))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
