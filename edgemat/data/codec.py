"""Turn an example into the files of a shard and back: PNG that decodes fast, 8 bits for alpha, 16 for uncertainty."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgemat.data.types import Example
from edgemat.errors import InputError


def encode(example: Example) -> dict[str, bytes]:
    """Return an example's files by their extensions.

    Alpha and the teacher's alpha are rounded to 1/255, uncertainty (cut at 1) to 1/65535.

    Args:
        example: What to store.

    Example:
        >>> sorted(encode(Example(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), np.float32))))
        ['alpha.png', 'image.png']
    """
    files = {
        "image.png": _png(np.ascontiguousarray(example.image[..., ::-1])),
        "alpha.png": _png(_bytes(example.alpha)),
    }
    if example.teacher is not None:
        files["teacher.png"] = _png(_bytes(example.teacher))
    if example.uncertainty is not None:
        files["uncertainty.png"] = _png(np.rint(np.minimum(example.uncertainty, 1) * 65535).astype(np.uint16))
    return files


def decode_image(content: bytes) -> npt.NDArray[np.uint8]:
    """Decode a colour image.

    Args:
        content: PNG, JPEG or WebP, 8-bit RGB without transparency. The rotation that a JPEG states is applied.

    Returns:
        RGB, uint8, (H, W, 3).

    Raises:
        InputError: Not an image, or of another kind.
    """
    import cv2

    pixels = _decode(content)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InputError(f"found {_describe(pixels)}, expected an 8-bit RGB image")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def decode_plane(content: bytes) -> npt.NDArray[np.float32]:
    """Decode a grey image, such as a matte.

    Args:
        content: PNG, JPEG or WebP, 8- or 16-bit grey. The rotation that a JPEG states is applied.

    Returns:
        Float32, (H, W), in [0, 1]; the largest code is exactly 1.

    Raises:
        InputError: Not an image, or of another kind.
    """
    pixels = _decode(content)
    if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(f"found {_describe(pixels)}, expected an 8- or 16-bit grayscale image")
    return np.asarray(pixels / np.float32(255 if pixels.dtype == np.uint8 else 65535), np.float32)


def _bytes(alpha: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.asarray(np.rint(alpha * np.float32(255)), np.uint8)


def _png(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> bytes:
    import cv2

    # A photo's noise hardly packs: stored as it is, it takes twice the bytes and decodes several times as fast. Mattes
    # are flat: run lengths at the lowest level are small and quick.
    level = 0 if pixels.ndim == 3 else 1
    settings = [cv2.IMWRITE_PNG_COMPRESSION, level, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    done, content = cv2.imencode(".png", pixels, settings)
    if not done:
        raise ValueError(f"cannot encode {pixels.dtype}{pixels.shape} as PNG")
    return content.tobytes()


def _decode(content: bytes) -> npt.NDArray[Any]:
    import cv2

    # Unchanged tells grey, transparency and 16 bits from RGB, but leaves a JPEG's rotation out; that has no alpha.
    turned = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    how = turned if content[:2] == b"\xff\xd8" else cv2.IMREAD_UNCHANGED
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), how) if content else None
    except cv2.error as error:
        raise InputError(f"not an image that can be read ({error.err})") from error
    if pixels is None:
        raise InputError("not an image that can be read; expected PNG, JPEG or WebP")
    return np.asarray(pixels)


def _describe(pixels: npt.NDArray[Any]) -> str:
    channels = {2: "grayscale", 3: "RGB", 4: "RGBA (with transparency)"}
    kind = channels.get(2 if pixels.ndim == 2 else pixels.shape[2], f"{pixels.shape} channels")
    return f"{8 * pixels.dtype.itemsize}-bit {kind}"
