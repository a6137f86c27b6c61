"""The shipped calibration images are what their manifest says; folders of one's own are read or refused clearly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgemat import calib_data
from edgemat.calib_data import load, resize
from edgemat.data.occluders import kind_of
from edgemat.data.splits import split_of_occluder
from edgemat.errors import InputError
from edgemat.images import read_rgb, write_png

SHIPPED = Path(calib_data.__path__[0])
MANIFEST = json.loads((SHIPPED / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the shipped set, to be damaged."""
    goal = tmp_path / "copy"
    shutil.copytree(SHIPPED, goal, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return goal


def test_shipped_images_and_mattes() -> None:
    found = load()
    assert len(found) == len(found.images) == 24
    assert list(found.names) == sorted(found.names)
    for name, image, alpha in zip(found.names, found.images, found.alphas, strict=True):
        assert image.shape == (256, 256, 3)
        assert image.dtype == np.uint8
        assert image.std() > 5
        assert alpha is not None
        assert alpha.shape == (256, 256)
        assert (alpha.max() == 0) == name.startswith("without-face")
    assert found.resized(128, 96).shape == (24, 128, 96, 3)


def test_nothing_lies_about_that_the_manifest_does_not_list() -> None:
    listed = {e[key] for e in MANIFEST["files"] for key in ("name", "alpha")}
    assert {p.relative_to(SHIPPED).as_posix() for p in SHIPPED.rglob("*.png")} == listed
    assert sum((SHIPPED / name).stat().st_size for name in listed) < 3_000_000


def test_every_image_is_free_and_of_the_training_occluders() -> None:
    for entry in MANIFEST["files"]:
        assert entry["split"] == "calibration"
        assert entry["licence"].split(" (")[0] in ("public domain", "CC0-1.0")
        photo, _, emoji = entry["source"].partition("; @lobehub/fluent-emoji-3d 1.1.0: ")
        assert photo.startswith("scikit-image 0.26.0 ")
        assert photo.split()[2] in ("astronaut.png", "chelsea.png", "coffee.png")
        assert bool(emoji) == ("MIT" in entry["licence"])
        for name in filter(None, emoji.split(", ")):
            assert kind_of(name) is not None
            assert split_of_occluder(name) == "train"
    assert any("MIT" in e["licence"] for e in MANIFEST["files"])


def test_a_changed_image_is_found(copy: Path) -> None:
    name = MANIFEST["files"][0]["name"]
    image = read_rgb(copy / name)
    image[0, 0] ^= 1
    write_png(copy / name, image)
    with pytest.raises(InputError, match=rf"{name}: sha256 .* the manifest expects .* changed"):
        load(copy)


def test_a_missing_matte_is_found(copy: Path) -> None:
    (copy / MANIFEST["files"][1]["alpha"]).unlink()
    with pytest.raises(InputError, match="missing, but its manifest lists it"):
        load(copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a manifest"),
        ('{"files": []}', "schema_version"),
        ('{"schema_version": 2, "files": []}', "schema_version 2, expected 1"),
        ('{"schema_version": 1, "files": []}', "lists no file"),
        ('{"schema_version": 1, "files": [{"name": "a.png"}]}', "sha256"),
        ('{"schema_version": 1, "files": [{"name": "../a.png", "sha256": "0"}]}', "outside the folder"),
    ],
)
def test_a_bad_manifest_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load(tmp_path)


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    write_png(tmp_path / "b.png", np.full((30, 20, 3), 7, np.uint8))
    Image.fromarray(np.full((16, 64, 3), 9, np.uint8)).save(tmp_path / "a.JPG")
    (tmp_path / "notes.txt").write_text("not an image")
    found = load(tmp_path)
    assert found.names == ("a.JPG", "b.png")
    assert [i.shape for i in found.images] == [(16, 64, 3), (30, 20, 3)]
    assert found.alphas == (None, None)
    assert (found.resized(32, 32)[1] == 7).all()


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \.png, \.jpg, \.jpeg file"):
        load(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        load(tmp_path / "nowhere")


def test_images_that_are_not_8_bit_rgb_are_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "grey.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(InputError, match=r"grey\.png: found 8-bit grayscale"):
        load(tmp_path)
    (tmp_path / "grey.png").write_bytes((SHIPPED / MANIFEST["files"][0]["name"]).read_bytes()[:4000])
    with pytest.raises(InputError, match="truncated"):
        load(tmp_path)


def test_resize_covers_and_cuts_the_middle() -> None:
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 15:25] = 200
    middle = resize(wide, 20, 20)
    assert middle.shape == (20, 20, 3)
    assert (middle[:, 4:16] > 150).all()
    assert resize(wide, 10, 40) is wide


@pytest.mark.data
def test_the_set_can_be_made_again(tmp_path: Path) -> None:
    from edgemat.data.calibration import build

    build(tmp_path)
    again = load(tmp_path)
    shipped = load()
    assert again.names == shipped.names
    entries = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))["files"]
    for new, old in zip(entries, MANIFEST["files"], strict=True):
        assert {key: new[key] for key in new if "sha256" not in key} == {
            key: old[key] for key in old if "sha256" not in key
        }
    # Not the hashes: other versions of OpenCV and zlib may round and pack otherwise.
    for new, old in zip(again.images, shipped.images, strict=True):
        assert np.abs(new.astype(int) - old).mean() < 0.2
