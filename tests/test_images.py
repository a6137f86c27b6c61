"""Image files: what is read, what is refused and with which words."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgemat.errors import InputError, OutputError
from edgemat.images import read_gray, read_rgb, write_png


def _save(path: Path, mode: str, **options: object) -> Path:
    Image.new(mode, (4, 3)).save(path, **options)
    return path


def _png_16_bit_rgb(path: Path) -> Path:
    """Write what Pillow cannot: 16-bit RGB."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress((b"\0" + bytes(4 * 6)) * 3)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 3, 16, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_png_round_trip(tmp_path_factory: pytest.TempPathFactory, height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = tmp_path_factory.mktemp("png") / "a.png"
    write_png(file, image)
    np.testing.assert_array_equal(read_rgb(file), image)
    write_png(file, image[..., 0])
    np.testing.assert_array_equal(read_gray(file) * 255, image[..., 0])


def test_jpeg_is_read_and_turned_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    assert read_rgb(_save(tmp_path / "a.jpg", "RGB", exif=exif)).shape == (4, 3, 3)


def test_gray_reaches_exactly_one_at_both_depths(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "8.png")
    Image.fromarray(np.array([[0, 65535]], np.uint16)).save(tmp_path / "16.png")
    for name in ("8.png", "16.png"):
        alpha = read_gray(tmp_path / name)
        assert alpha.dtype == np.float32
        assert alpha.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("mode", "found"),
    [
        ("L", "8-bit grayscale"),
        ("I;16", "16-bit grayscale"),
        ("LA", "grayscale with alpha"),
        ("RGBA", "RGBA"),
        ("P", "palette"),
        ("1", "1-bit"),
    ],
)
def test_rgb_refuses_other_modes(tmp_path: Path, mode: str, found: str) -> None:
    file = _save(tmp_path / "a.png", mode)
    with pytest.raises(InputError, match=rf"a\.png: found {found}.*expected an 8-bit RGB image.*Convert it with"):
        read_rgb(file)


def test_rgb_refuses_cmyk_jpeg(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found CMYK"):
        read_rgb(_save(tmp_path / "a.jpg", "CMYK"))


def test_rgb_refuses_16_bit_colour_that_pillow_would_halve(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found 16-bit RGB, expected an 8-bit RGB image"):
        read_rgb(_png_16_bit_rgb(tmp_path / "a.png"))


@pytest.mark.parametrize(("mode", "found"), [("RGB", "8-bit RGB"), ("RGBA", "RGBA"), ("P", "palette"), ("1", "1-bit")])
def test_gray_refuses_other_modes(tmp_path: Path, mode: str, found: str) -> None:
    file = _save(tmp_path / "a.png", mode)
    with pytest.raises(InputError, match=f"found {found}.*expected an 8- or 16-bit grayscale image"):
        read_gray(file)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match="truncated or damaged"):
        read_rgb(file)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_rgb(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match="not an image"):
        read_rgb(tmp_path / "text.png")
    with pytest.raises(InputError, match="found BMP, expected PNG or JPEG"):
        read_rgb(_save(tmp_path / "a.bmp", "RGB"))
    with pytest.raises(InputError, match="truncated or damaged"):
        read_rgb(tmp_path)


def test_write_refuses_other_arrays_and_places(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot write float32"):
        write_png(tmp_path / "a.png", np.zeros((2, 2), np.float32))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_png(tmp_path / "file" / "a.png", np.zeros((2, 2), np.uint8))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]
