"""Scoring on a team's own folder: read at the student's size, without a baseline, through the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from edgemat.cli import main
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


def test_the_command_scores_a_folder(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--weights", str(weights), "--folder", str(folder), "--json", "--out", str(folder / "out")]
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert {row["predictor"] for row in document["rows"]} == {"model"}
    assert len(document["images"]) == 2
    assert (folder / "out" / "sheet.png").exists()


def test_a_folder_without_partners_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "alpha" / "ben.png").unlink()
    assert main(["evaluate", "--folder", str(folder)]) == 2
    assert "image/ben.png has no alpha" in capsys.readouterr().err


@pytest.mark.data
def test_the_hold_out_is_the_same_every_time() -> None:
    first, second = (holdout.samples("val", per_face=1) for _ in range(2))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, second, strict=True))
    assert len({sample.face_id for sample in first}) == len(first)
