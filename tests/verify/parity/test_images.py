"""Tests of parity sets: the same bytes always, any size, and nothing missing without saying so."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.errors import InputError
from edgemat.images import write_png
from edgemat.verify.parity import images as sets
from edgemat.verify.parity.images import ParitySet, load


@pytest.fixture
def no_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the seconds that a teacher takes."""
    monkeypatch.setattr(sets, "_uncertainty", lambda images: (None, "no teacher"))


def folder(path: Path, count: int = 3, mattes: bool = True) -> Path:
    rng = np.random.default_rng(0)
    for i in range(count):
        write_png(path / "image" / f"face{i}.png", rng.integers(0, 256, (40, 30, 3)).astype(np.uint8))
        if mattes:
            write_png(path / "alpha" / f"face{i}.png", np.full((40, 30), 60 * (i % 5), np.uint8))
    return path


def test_calibration_images_have_no_truth_and_that_is_said(no_teacher: None) -> None:
    found = load("calibration")
    assert found.images.shape[1:] == (256, 256, 3)
    assert found.truth is None
    assert found.clips.shape == (0, sets.FRAMES, 256, 256, 3)
    assert found.facts["name"] == "calibration"
    assert found.facts["truth"] is False
    assert "scales were fitted" in found.not_proven[0]
    assert len(found.to_run) == len(found.images)


def test_a_folder_with_mattes_has_a_truth_at_any_size(no_teacher: None, tmp_path: Path) -> None:
    found = load(folder(tmp_path), 24, 32)
    assert found.images.shape == (3, 24, 32, 3)
    assert found.truth is not None
    np.testing.assert_allclose(found.truth[:, 12, 16], np.array([0, 60, 120]) / 255, atol=1e-6)
    assert found.faces == ("face0", "face1", "face2")
    assert found.strata == ((), (), ())
    assert any("dtSSD" in sentence for sentence in found.not_proven)
    assert "no teacher" in found.not_proven


@pytest.mark.parametrize("inner", ["", "image"])
def test_a_folder_without_mattes_has_no_truth(no_teacher: None, tmp_path: Path, inner: str) -> None:
    found = load(folder(tmp_path, mattes=False) / ("" if inner else "image"), 32, 32)
    assert found.truth is None
    assert len(found.images) == 3
    assert "holds no truth" in found.not_proven[0]


def test_a_limit_takes_images_at_equal_distances(no_teacher: None, tmp_path: Path) -> None:
    found = load(folder(tmp_path, 7), 32, 32, limit=3)
    assert found.faces == ("face0", "face2", "face4")
    assert (found.facts["count"], found.facts["of"]) == (3, 7)


def test_the_same_folder_gives_the_same_bytes(no_teacher: None, tmp_path: Path) -> None:
    first, again = load(folder(tmp_path), 32, 32), load(tmp_path, 32, 32)
    assert first.facts == again.facts
    write_png(tmp_path / "image" / "face1.png", np.zeros((40, 30, 3), np.uint8))
    assert load(tmp_path, 32, 32).facts["sha256"] != first.facts["sha256"]


def test_without_the_holdout_the_calibration_images_are_used_and_that_is_said(no_teacher: None, tmp_path: Path) -> None:
    found = load(None, cache_dir=tmp_path)
    assert found.facts["name"] == "calibration"
    assert "edgemat data fetch" in found.not_proven[0]


def test_a_holdout_that_is_asked_for_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="edgemat data fetch"):
        load("holdout", cache_dir=tmp_path)


@pytest.mark.parametrize(("path", "match"), [("nothing", "found nothing"), ("empty", "without these")])
def test_a_folder_that_holds_no_images_is_refused(tmp_path: Path, path: str, match: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=match):
        load(tmp_path / path)


def test_no_images_at_all_are_refused() -> None:
    with pytest.raises(InputError, match="0 images"):
        load("calibration", limit=0)


def test_the_teacher_says_where_the_truth_is_hard_to_know(tmp_path: Path) -> None:
    found = load(folder(tmp_path, 2), 64, 64)
    assert found.uncertainty is not None
    assert found.uncertainty.shape == (2, 64, 64)
    assert (found.uncertainty > 0).all()
    assert found.facts["uncertainty"] is True


def test_a_size_that_the_teacher_cannot_take_is_said(tmp_path: Path) -> None:
    found = load(folder(tmp_path, 1), 60, 50)
    assert found.uncertainty is None
    assert "multiples of" in found.not_proven[-1]
    assert "50x60" in found.not_proven[-1]


def test_a_missing_teacher_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("edgemat.model.weights.shipped_teacher", lambda: tmp_path / "gone.safetensors")
    found = load(folder(tmp_path, 1), 64, 64)
    assert found.uncertainty is None
    assert "gone.safetensors" in found.not_proven[-1]


def test_what_was_run_is_parted_again(discs: tuple[ParitySet, npt.NDArray[np.float32]]) -> None:
    parity_set, _ = discs
    numbers = np.arange(len(parity_set.to_run), dtype=np.float32)[:, None, None] + np.zeros((48, 48), np.float32)
    images, clips = parity_set.split(numbers)
    assert images[:, 0, 0].tolist() == list(range(12))
    assert clips[:, :, 0, 0].tolist() == [[12, 13, 14, 15], [16, 17, 18, 19], [20, 21, 22, 23]]


@pytest.mark.parametrize("name", ["images", "truth", "uncertainty", "strata", "clip_truth", "clip_faces"])
def test_parts_that_do_not_belong_together_are_refused(
    discs: tuple[ParitySet, npt.NDArray[np.float32]], name: str
) -> None:
    with pytest.raises(ValueError, match="parity set"):
        dataclasses.replace(discs[0], **{name: getattr(discs[0], name)[:1]})


@pytest.mark.data
def test_the_holdout_has_one_composite_of_every_face_and_is_what_everyone_is_scored_on(no_teacher: None) -> None:
    from edgemat.verify import holdout

    found = load("holdout")
    assert found.facts["sha256"] == load().facts["sha256"]
    assert len(found.images) == len(set(found.faces)) == 32
    every = {sample.image.tobytes(): sample for sample in holdout.samples()}
    assert found.truth is not None
    for image, truth, face in zip(found.images, found.truth, found.faces, strict=True):
        sample = every[image.tobytes()]
        assert sample.face_id == face
        assert np.array_equal(sample.alpha, truth)
    numbers = {name for names in found.strata for name in names if name.startswith("number")}
    assert numbers == {"number: 0", "number: 1", "number: 2", "number: 3"}
    assert not found.not_proven[:-1]


@pytest.mark.data
def test_its_clips_are_the_middle_of_the_holdouts(no_teacher: None) -> None:
    from edgemat.verify import holdout

    found = load("holdout", limit=1)
    assert found.clips.shape == (sets.CLIPS, sets.FRAMES, 256, 256, 3)
    assert len(set(found.clip_faces)) == sets.CLIPS
    first = next(clip for clip, _ in holdout.clips() if clip[0].face_id == found.clip_faces[0])
    for image, truth, sample in zip(found.clips[0], found.clip_truth[0], first[4:8], strict=True):
        assert np.array_equal(image, sample.image)
        assert np.array_equal(truth, sample.alpha)


@pytest.mark.data
def test_other_draws_have_other_images_of_the_same_faces(no_teacher: None) -> None:
    first, second = load("holdout", clips=False), load("holdout", clips=False, draw=1)
    assert first.faces == second.faces
    assert not {image.tobytes() for image in first.images} & {image.tobytes() for image in second.images}
    assert "clips were not asked for" in first.not_proven[0]
