"""The prepared faces: made once, split for good, read fast."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgemat.data import faces, registry
from edgemat.data.faces import load_faces, prepare
from edgemat.data.splits import SPLITS, split_faces
from edgemat.data.types import Face
from edgemat.errors import InputError
from edgemat.files import sha256
from edgemat.images import write_png


class _Maker:
    """Stands in for the networks: a face is its image; a red one is flawed, a black one is none."""

    made = 0

    def __init__(self, cache: Path) -> None:
        """Load nothing."""

    def make(self, name: str, file: Path) -> tuple[Face, str] | None:
        from edgemat.images import read_rgb

        type(self).made += 1
        image = read_rgb(file)
        if not image.any():
            return None
        alpha = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
        flaw = "glasses" if image[0, 0, 0] else ""
        return Face(name, image, alpha, np.full((468, 2), 3.25, np.float32), 12.345), flaw


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with 80 fetched images, of which every fourth is flawed and the last shows no face."""
    source = tmp_path / "fake-avatars"
    for index in range(80):
        colour = (255 * (index % 4 == 0), index + 1, 0) if index < 79 else (0, 0, 0)
        write_png(source / "avatars" / "png" / f"{index}.png", np.full((16, 16, 3), colour, np.uint8))
    monkeypatch.setattr(registry, "folder", lambda name, cache=None: source)
    monkeypatch.setattr(faces, "_Maker", _Maker)
    _Maker.made = 0
    return tmp_path


def test_prepare_makes_each_face_once_and_load_gives_them_back(cache: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    prepare(cache, lambda *step: steps.append(step))
    assert steps == [("faces", i, 80) for i in range(1, 81)]
    prepare(cache)
    assert _Maker.made == 80
    face = load_faces("train", cache, flawed=True)[0]
    np.testing.assert_allclose(face.alpha, np.linspace(0, 1, 256).reshape(16, 16), atol=1 / 500)
    assert (face.landmarks.dtype, float(face.landmarks[0, 0]), face.ita) == (np.float32, 3.25, 12.35)


def test_splits_are_those_of_the_sources_and_share_no_face(cache: Path) -> None:
    prepare(cache)
    expected = split_faces(sha256(file) for file in (cache / "fake-avatars").rglob("*.png"))
    ids = {split: [face.id for face in load_faces(split, cache, flawed=True)] for split in SPLITS}
    faceless = sha256(cache / "fake-avatars" / "avatars" / "png" / "79.png")[:16]
    for split in SPLITS:
        assert ids[split] == [digest[:16] for digest in expected[split] if digest[:16] != faceless]
    assert not set(ids["test"]) & (set(ids["train"]) | set(ids["val"]))
    assert not set(ids["train"]) & set(ids["val"])


def test_flawed_faces_do_not_teach_but_are_tested(cache: Path) -> None:
    prepare(cache)
    assert len(load_faces("test", cache)) == len(load_faces("test", cache, flawed=True))
    for split in ("train", "val"):
        taught = load_faces(split, cache)
        assert 0 < len(taught) < len(load_faces(split, cache, flawed=True))
        assert all(face.image[0, 0, 0] == 0 for face in taught)


@pytest.mark.parametrize("stale", ["{", "[]", '{"schema": 0}', None], ids=["damaged", "list", "older", "other matte"])
def test_stale_faces_are_refused_and_made_anew(cache: Path, stale: str | None) -> None:
    prepare(cache)
    listing = cache / "faces" / "faces.json"
    changed = {**json.loads(listing.read_text()), "matte": -1}
    listing.write_text(json.dumps(changed) if stale is None else stale)
    with pytest.raises(InputError, match=r"faces: .*older version. Make them with: edgemat data fetch"):
        load_faces("train", cache)
    prepare(cache)
    assert _Maker.made == 160
    assert load_faces("train", cache)


def test_what_is_said_before_the_fetch(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="edgemat data fetch"):
        load_faces("train", tmp_path)
    with pytest.raises(InputError, match="edgemat data fetch"):
        prepare(tmp_path)
    with pytest.raises(InputError, match="'dev' is not known; expected one of train, val, test"):
        load_faces("dev", tmp_path)  # type: ignore[arg-type]


@pytest.mark.data
def test_fetched_faces() -> None:
    loaded = {split: load_faces(split) for split in SPLITS}
    assert len(loaded["test"]) == 32
    assert 170 <= len(loaded["train"]) <= 200
    assert 24 <= len(loaded["val"]) <= 31
    for face in (face for part in loaded.values() for face in part):
        assert face.alpha.shape == (256, 256)
        assert 0.1 < face.alpha.mean() < 0.5
        assert (face.alpha.min(), face.alpha.max()) == (0, 1)
