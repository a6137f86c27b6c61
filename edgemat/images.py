"""Read and write still images, refusing what would be silently converted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import InputError
from edgemat.files import atomic_path

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_FORMATS = {"PNG", "JPEG"}
_MODE_NAMES = {
    "1": "1-bit black and white",
    "L": "8-bit grayscale",
    "LA": "grayscale with alpha",
    "P": "palette colours",
    "RGB": "8-bit RGB",
    "RGBA": "RGBA (with transparency)",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
    "I": "32-bit grayscale",
    "I;16": "16-bit grayscale",
    "I;16B": "16-bit grayscale",
    "F": "floating-point grayscale",
}
_RGB_REMEDY = "Convert it with: magick {name} -background white -alpha remove -depth 8 -type TrueColor out.png"
_GRAY_REMEDY = "Convert it with: magick {name} -alpha off -colorspace Gray -depth 8 out.png"


def read_rgb(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """Read a colour image.

    A camera's EXIF rotation is applied, so that the pixels are as every viewer shows them.

    Args:
        path: PNG or JPEG; 8-bit RGB without transparency.

    Returns:
        RGB, uint8, (H, W, 3).

    Raises:
        InputError: Missing, not PNG or JPEG, truncated, or grayscale, palette, RGBA, CMYK or 16-bit.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "red.png"
        >>> write_png(file, np.full((2, 3, 3), (255, 0, 0), np.uint8))
        >>> read_rgb(file)[0, 0].tolist()
        [255, 0, 0]
    """
    return _read(Path(path), {"RGB"}, "an 8-bit RGB image", _RGB_REMEDY)


def read_gray(path: str | os.PathLike[str]) -> npt.NDArray[np.float32]:
    """Read a grayscale image, such as a matte.

    Args:
        path: PNG or JPEG; 8- or 16-bit grayscale without transparency.

    Returns:
        Float32, (H, W), in [0, 1]; the largest code is exactly 1.

    Raises:
        InputError: Missing, not PNG or JPEG, truncated, or colour, palette, with transparency or 1-bit.
    """
    import numpy as np

    pixels = _read(Path(path), {"L", "I;16", "I;16B"}, "an 8- or 16-bit grayscale image", _GRAY_REMEDY)
    return (pixels / np.float32(255 if pixels.dtype == np.uint8 else 65535)).astype(np.float32)


def write_png(path: str | os.PathLike[str], array: npt.NDArray[np.uint8]) -> None:
    """Write an image losslessly, completely or not at all.

    Args:
        path: The goal; missing parent folders are created.
        array: Uint8; (H, W) grayscale, (H, W, 3) RGB or (H, W, 4) RGBA with straight alpha.

    Raises:
        OutputError: The goal cannot be written.
        ValueError: The array is not uint8 or has another shape.
    """
    import numpy as np
    from PIL import Image

    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ValueError(f"{path}: cannot write {array.dtype}{array.shape}; expected uint8 (H, W), (H, W, 3 or 4)")
    with atomic_path(path) as temporary:
        Image.fromarray(array).save(temporary, format="PNG")


def _read(path: Path, modes: set[str], expected: str, remedy: str) -> npt.NDArray[np.uint8]:
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            found = _describe(path, image.mode)
            if image.format not in _FORMATS:
                raise InputError(f"{path}: found {image.format}, expected PNG or JPEG")
            if image.mode not in modes or found not in {_MODE_NAMES[mode] for mode in modes}:
                raise InputError(f"{path}: found {found}, expected {expected}. {remedy.format(name=path.name)}")
            return np.array(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected {expected}") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not an image that can be read; expected {expected}, PNG or JPEG") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: truncated or damaged ({error}); expected {expected}. Copy it again") from error


def _describe(path: Path, mode: str) -> str:
    """Name a pixel format; Pillow opens 16-bit RGB as 8-bit, so a PNG's own header is asked for the depth."""
    with path.open("rb") as stream:
        header = stream.read(26)
    if header.startswith(b"\x89PNG") and len(header) == 26 and header[24] == 16 and mode in ("RGB", "RGBA", "LA"):
        return f"16-bit {mode}"
    return _MODE_NAMES.get(mode, mode)
