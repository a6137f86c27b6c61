"""Scoring on a team's own folder: read at the student's size, without a baseline, through the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.cli import main
from edgemat.data.folder import MatteFolder
from edgemat.data.shards import write_shards
from edgemat.data.types import Example
from edgemat.errors import InputError
from edgemat.images import write_png
from edgemat.verify import holdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, (height, width) in {"anna": (256, 256), "ben": (300, 420)}.items():
        alpha = np.zeros((height, width), np.uint8)
        alpha[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 255
        write_png(tmp_path / "image" / f"{name}.png", rng.integers(0, 256, (height, width, 3), np.uint8))
        write_png(tmp_path / "alpha" / f"{name}.png", alpha)
    return tmp_path


def test_a_folder_is_read_at_the_students_size(folder: Path) -> None:
    anna, ben = holdout.folder_samples(folder)
    assert (anna.face_id, ben.face_id) == ("anna", "ben")
    assert anna.alpha.mean() == 0.25
    assert ben.image.shape == (256, 256, 3)
    assert ben.alpha.dtype == np.float32
    assert (ben.alpha.min(), ben.alpha.max()) == (0, 1)
    # Scaled to 256 rows and cut to the middle 256 of 358 columns: 128 rows by 179 columns of ones are left.
    assert ben.alpha.sum() == pytest.approx(128 * 179, rel=0.01)
    assert math.isnan(ben.ita)


def test_shards_are_read_as_the_folder_is(folder: Path) -> None:
    pairs = MatteFolder(folder)
    write_shards(((name, Example(*pairs[i])) for i, name in enumerate(pairs.names)), folder / "shards")
    for ours, theirs in zip(holdout.folder_samples(folder / "shards"), holdout.folder_samples(folder), strict=True):
        assert ours.face_id == theirs.face_id
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_allclose(ours.alpha, theirs.alpha, atol=1e-6)


def test_the_command_scores_a_folder(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--weights", str(weights), "--folder", str(folder), "--json", "--out", str(folder / "out")]
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert {row["predictor"] for row in document["rows"]} == {"model"}
    assert len(document["images"]) == 2
    assert (folder / "out" / "sheet.png").exists()


def test_the_document_holds_strata_and_says_what_a_folder_does_not_tell(
    folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--weights", str(weights), "--folder", str(folder)]
    assert main([*words, "--out", str(folder / "out"), "--strata"]) == 0
    shown = capsys.readouterr()
    assert "family" in shown.out
    assert "where its error lies is not known" in shown.err
    document = json.loads((folder / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert document["schema_version"] == 2
    assert document["strata"]["families"]["skin"] is None
    assert document["residual"] == []
    assert document["clips"] is None
    assert (folder / "out" / "worst.png").exists()


def test_clips_need_the_hold_outs_faces(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--folder", str(folder), "--clips"]) == 2
    assert "leave it out with --folder" in capsys.readouterr().err


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """Return the file of a small teacher with fresh weights."""
    import torch

    from edgemat.model import weights as files
    from edgemat.model.teacher import Teacher, TeacherConfig

    torch.manual_seed(0)
    card = {"version": "0.0", "license": "Apache-2.0", "author": "the tests", "description": "A small teacher."}
    files.save_teacher(
        Teacher(TeacherConfig(widths=(4, 8), depths=(0, 1))), tmp_path / "teacher" / "teacher.safetensors", card
    )
    return tmp_path / "teacher" / "teacher.safetensors"


def test_a_file_says_itself_whether_it_is_a_student_or_a_teacher(
    weights: Path, teacher: Path, images: npt.NDArray[np.uint8]
) -> None:
    from edgemat.model.predict import predict, predict_teacher
    from edgemat.model.weights import load, load_teacher

    np.testing.assert_array_equal(holdout.predictor(weights)(images), predict(load(weights).net, images))
    alpha, _ = predict_teacher(load_teacher(teacher).net, images)
    np.testing.assert_array_equal(holdout.predictor(teacher)(images), alpha)


def test_the_command_scores_a_teacher(folder: Path, teacher: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--weights", str(teacher), "--folder", str(folder)]) == 0
    assert "model" in capsys.readouterr().out


def test_a_file_of_neither_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "other.safetensors", {"format": "elsewhere"})
    with pytest.raises(InputError, match="format 'elsewhere'"):
        holdout.predictor(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="no such file"):
        holdout.predictor(tmp_path / "none.safetensors")


def test_a_folder_without_partners_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "alpha" / "ben.png").unlink()
    assert main(["evaluate", "--folder", str(folder)]) == 2
    assert "image/ben.png has no alpha" in capsys.readouterr().err


@pytest.mark.data
def test_the_clips_are_the_same_every_time() -> None:
    first, second = (next(holdout.clips("val", frames=3)) for _ in range(2))
    for ours, theirs in zip(first, second, strict=True):
        assert all(np.array_equal(a.image, b.image) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.data
def test_the_hold_out_is_the_same_every_time() -> None:
    first, second = (holdout.samples("val", per_face=1) for _ in range(2))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, second, strict=True))
    assert len({sample.face_id for sample in first}) == len(first)
