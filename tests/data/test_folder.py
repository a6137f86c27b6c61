"""A team's own set: read whole, or refused up front with every fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgemat.data.folder import MatteFolder
from edgemat.errors import InputError
from edgemat.images import write_png


def _pair(root: Path, name: str, size: tuple[int, int] = (6, 5), alpha_size: tuple[int, int] | None = None) -> None:
    write_png(root / "image" / f"{name}.png", np.full((*size, 3), 9, np.uint8))
    write_png(root / "alpha" / f"{name}.png", np.full(alpha_size or size, 51, np.uint8))


def test_pairs_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        _pair(tmp_path, name)
    Image.new("RGB", (5, 6)).save(tmp_path / "image" / "c.JPG")
    Image.fromarray(np.full((6, 5), 65535, np.uint16)).save(tmp_path / "alpha" / "c.png")
    (tmp_path / "image" / ".DS_Store").touch()
    (tmp_path / "image" / "notes.txt").touch()
    matting = MatteFolder(tmp_path)
    assert matting.names == ("a", "b", "c")
    image, alpha = matting[0]
    assert (image.shape, image.dtype, alpha.shape, alpha.dtype) == ((6, 5, 3), np.uint8, (6, 5), np.float32)
    assert alpha[0, 0] == pytest.approx(0.2)
    assert [float(a.max()) for _, a in matting] == pytest.approx([0.2, 0.2, 1.0])
    assert len(matting) == 3


def test_missing_partners_are_all_counted_and_ten_are_shown(tmp_path: Path) -> None:
    _pair(tmp_path, "whole")
    for index in range(13):
        write_png(tmp_path / "image" / f"{index:02}.png", np.zeros((2, 2, 3), np.uint8))
    write_png(tmp_path / "alpha" / "lonely.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(InputError, match="14 faults") as error:
        MatteFolder(tmp_path)
    assert str(error.value).count("has no alpha") == 10
    assert "... and 4 more" in str(error.value)


def test_every_bad_pair_is_named(tmp_path: Path) -> None:
    _pair(tmp_path, "good")
    _pair(tmp_path, "size", alpha_size=(5, 6))
    _pair(tmp_path, "mode")
    Image.new("RGB", (5, 6)).save(tmp_path / "alpha" / "mode.png")
    _pair(tmp_path, "clear")
    Image.new("RGBA", (5, 6)).save(tmp_path / "image" / "clear.png")
    _pair(tmp_path, "cut", size=(64, 64))
    cut = tmp_path / "image" / "cut.png"
    cut.write_bytes(cut.read_bytes()[:60])
    with pytest.raises(InputError, match="4 faults") as error:
        MatteFolder(tmp_path)
    message = str(error.value)
    assert "size: image 5x6, alpha 6x5" in message
    assert "mode.png: found 8-bit RGB, expected an 8- or 16-bit grayscale image" in message
    assert "clear.png: found RGBA" in message
    assert "cut.png: truncated" in message
    assert "good" not in message


def test_empty_missing_and_ambiguous_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"image: no such folder; expected image/ and alpha/"):
        MatteFolder(tmp_path)
    (tmp_path / "image").mkdir()
    (tmp_path / "alpha").mkdir()
    with pytest.raises(InputError, match=r"holds no \.png or \.jpg file"):
        MatteFolder(tmp_path)
    _pair(tmp_path, "a")
    Image.new("RGB", (5, 6)).save(tmp_path / "image" / "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg and a\.png share a name"):
        MatteFolder(tmp_path)
