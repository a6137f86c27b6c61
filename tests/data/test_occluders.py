"""Which emoji are used, in which split, and what recolouring keeps."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from edgemat.data import occluders
from edgemat.data.occluders import codepoint_id, crop_visible, kind_of, largest_part, load_occluders, recolour_skin
from edgemat.data.splits import SPLITS, split_of_occluder
from edgemat.errors import InputError

TONES = ("", "-1f3fb", "-1f3fd", "-1f3ff")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("270b-1f3ff", "hand"), ("1faf1", "hand"), ("1f453", "glasses"), ("1f576-fe0f", "glasses"), ("1f9e2", "hat"),
        ("1f3a4", "microphone"), ("1f4f1", "phone"), ("2615", "cup"), ("1f355", "food"), ("1f335", "plant"),
        ("1f4d6", "object"),
        ("1f600", None), ("1f469-1f3fd", None), ("1f1e9-1f1ea", None), ("27a1-fe0f", None), ("1f550", None),
        ("0031-fe0f-20e3", None), ("1f43b", None), ("1f637", None), ("1f9b8-1f3fb-200d-2640-fe0f", None),
    ],
)  # fmt: skip
def test_kinds(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synthetic: ModuleType) -> Path:
    """Lay out a small package: gestures in some tones, things, and a smiley."""
    assets = tmp_path / "assets"
    assets.mkdir()
    monkeypatch.setattr(occluders, "folder", lambda name, cache=None: tmp_path)
    names = [f"{c:x}{t}" for c in range(0x1F446, 0x1F451) for t in TONES]
    names += [f"{c:x}" for c in (*range(0x1F345, 0x1F365), 0x1F600)]
    for name in names:
        Image.fromarray(synthetic.occluder("object").rgba).save(assets / f"{name}.webp", lossless=True)
    return assets


def test_splits_share_no_drawing(cache: Path) -> None:
    by_split = {split: load_occluders(split) for split in SPLITS}
    drawings = {split: {codepoint_id(o.id) for o in found} for split, found in by_split.items()}
    assert all(drawings.values())
    assert not drawings["train"] & drawings["test"]
    assert not drawings["train"] & drawings["val"]
    assert not drawings["val"] & drawings["test"]
    everything = {o.id for found in by_split.values() for o in found}
    assert everything == {f.stem for f in cache.iterdir()} - {"1f600"}
    for split, found in by_split.items():
        assert all(split_of_occluder(o.id) == split for o in found)
        hands = [o.id for o in found if o.kind == "hand"]
        assert len(hands) == len(TONES) * len({codepoint_id(h) for h in hands})


def test_training_does_not_even_open_test_occluders(cache: Path) -> None:
    for file in cache.iterdir():
        if split_of_occluder(file.stem) == "test":
            file.write_bytes(b"not an image")
    assert load_occluders("train")
    with pytest.raises(InputError, match=r"webp: not a readable image.*edgemat data fetch"):
        load_occluders("test")


def test_unknown_split() -> None:
    with pytest.raises(InputError, match="'all' is not known; expected one of train, val, test"):
        load_occluders("all")  # type: ignore[arg-type]


def test_oversized_image_is_refused(cache: Path) -> None:
    file = next(f for f in sorted(cache.iterdir()) if split_of_occluder(f.stem) == "train")
    Image.new("RGBA", (300, 20), (9, 9, 9, 255)).save(file)
    with pytest.raises(InputError, match="300x20 pixels, expected at most 256"):
        load_occluders("train")


def test_occluders_are_cut_to_what_is_visible(cache: Path) -> None:
    rgba = load_occluders("train")[0].rgba
    assert rgba.shape == (82, 82, 4)  # a disc of 80 and a transparent rim
    assert rgba[0].max() == rgba[:, 0].max() == rgba[-1].max() == 0


def test_an_empty_image_is_refused() -> None:
    with pytest.raises(InputError, match="every pixel is transparent"):
        crop_visible(np.zeros((4, 4, 4), np.uint8))


def _hand() -> np.ndarray:
    """Return a yellow ramp of shades, with a violet sleeve in the last rows."""
    rgba = np.zeros((40, 60, 4), np.uint8)
    shade = np.linspace(0.4, 1.0, 60)[None, :, None]
    rgba[:30, :, :3] = np.rint(np.array([255, 200, 40]) * shade)
    rgba[30:, :, :3] = (90, 50, 220)
    rgba[..., 3] = 255
    rgba[0, :, 3] = 100
    return rgba


@pytest.mark.parametrize("colour", [(240, 200, 175), (180, 126, 94), (60, 40, 32)])
def test_recolouring_keeps_shading_alpha_and_sleeve(colour: tuple[int, int, int]) -> None:
    before = _hand()
    after = recolour_skin(before, colour)
    np.testing.assert_array_equal(after[..., 3], before[..., 3])
    np.testing.assert_array_equal(after[30:], before[30:])
    np.testing.assert_allclose(np.median(after[:30, :, :3].reshape(-1, 3), axis=0), colour, atol=6)
    assert (np.diff(after[5, :, 0].astype(int)) >= 0).all()
    assert after[5, -1, 0] > after[5, 0, 0] * 1.5


def test_a_thing_without_skin_is_left_alone() -> None:
    blue = np.full((4, 4, 4), (20, 60, 200, 255), np.uint8)
    np.testing.assert_array_equal(recolour_skin(blue, (200.0, 150.0, 120.0)), blue)


def test_largest_part_keeps_a_pair_and_drops_specks() -> None:
    rgba = np.zeros((40, 80, 4), np.uint8)
    rgba[5:35, 2:30] = rgba[5:35, 40:66] = 255
    rgba[2:5, 74:77] = 255
    kept = largest_part(rgba)[..., 3] > 0
    assert kept[5:35, 2:30].all()
    assert kept[5:35, 40:66].all()
    assert not kept[:, 70:].any()


@pytest.mark.data
def test_the_package_gives_every_kind_to_training_and_test() -> None:
    train, test = load_occluders("train"), load_occluders("test")
    assert {"hand", "glasses", "hat", "cup", "food", "plant", "object"} <= {o.kind for o in train}
    assert {"hand", "food", "object"} <= {o.kind for o in test}
    assert sum(o.kind == "hand" for o in train) > 100
    assert not {codepoint_id(o.id) for o in train} & {codepoint_id(o.id) for o in test}
    assert all(max(o.rgba.shape[:2]) <= 258 for o in train)
