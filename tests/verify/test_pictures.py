"""The worst sheet shows the planted failures, each image once; the strip shows the clip that flickers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.verify.clips import ClipScores, Flicker
from edgemat.verify.evaluate import Evaluation, evaluate
from edgemat.verify.pictures import clip_strip, pick, worst_sheet

SIZE, LABEL = 32, 16
KINDS = [("hand",), ("hand",), ("cup",), ("cup", "hand"), ()]
ERRORS = [0.5, 0.25, 0.0, 0.125, 0.0625]


@pytest.fixture
def samples() -> list[Sample]:
    alpha = np.zeros((SIZE, SIZE), np.float32)
    alpha[:, : SIZE // 2] = 1
    image = np.full((SIZE, SIZE, 3), (200, 100, 40), np.uint8)
    return [Sample(image, alpha, alpha, alpha, f"face-{i}", kinds, kinds, 50.0) for i, kinds in enumerate(KINDS)]


@pytest.fixture
def predictions(samples: list[Sample]) -> np.ndarray:
    return np.stack([sample.alpha * (1 - error) for sample, error in zip(samples, ERRORS, strict=True)]).astype("f4")


@pytest.fixture
def result(samples: list[Sample], predictions: np.ndarray) -> Evaluation:
    return evaluate(lambda _: predictions, samples, baseline=False)


def test_the_worst_come_first_then_one_a_class(result: Evaluation) -> None:
    assert [(why, image.index) for why, image in pick(result, 1)] == [
        ("worst 1", 0),  # also the worst hand, so it is not shown again
        ("worst of occluder: cup", 3),
        ("worst of occluder: none", 4),
    ]
    assert [image.index for _, image in pick(result, 3)] == [0, 1, 3, 4]
    assert [image.index for _, image in pick(result, 99)] == [0, 1, 3, 4, 2]


def test_rows_show_image_truth_prediction_and_amplified_error(
    result: Evaluation, samples: list[Sample], predictions: np.ndarray, tmp_path: Path
) -> None:
    worst_sheet(result, samples, predictions, tmp_path / "worst.png", n=1)
    picture = np.asarray(Image.open(tmp_path / "worst.png")).astype(int)
    assert picture.shape == (LABEL + 3 * (LABEL + SIZE), 4 * SIZE, 3)
    last = picture[-1].reshape(4, SIZE, 3)  # the free face: an error of 1/16
    assert last[0, 0].tolist() == [200, 100, 40]
    assert [last[k, 0, 0] for k in (1, 2, 3)] == [255, 239, 64]
    assert [last[k, -1, 0] for k in (1, 2, 3)] == [0, 0, 0]
    assert picture[: 2 * LABEL].max() == 255  # titles and captions are printed


def test_counts_that_do_not_fit_are_refused(
    result: Evaluation, samples: list[Sample], predictions: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="4 samples, 5 predictions, figures of 5 images"):
        worst_sheet(result, samples[:4], predictions, tmp_path / "worst.png")
    assert not (tmp_path / "worst.png").exists()


def test_the_strip_shows_where_the_change_is_wrong(samples: list[Sample], tmp_path: Path) -> None:
    alphas = np.stack([samples[0].alpha] * 3)
    alphas[1, :, -4:] = 0.125  # comes and goes
    flicker = Flicker((ClipScores("face-0", ("hand",), {"moving": 1.0}),), 3, samples[:3], alphas)
    clip_strip(flicker, tmp_path / "clip.png")
    picture = np.asarray(Image.open(tmp_path / "clip.png")).astype(int)
    assert picture.shape == (LABEL + 4 * (LABEL + SIZE), 3 * SIZE, 3)
    change = picture[-1, :, 0].reshape(3, SIZE)
    assert not change[0].any()
    assert (change[1:, -4:] == 128).all()
    assert not change[:, :-4].any()
    clip_strip(flicker, tmp_path / "two.png", columns=2)
    assert Image.open(tmp_path / "two.png").size[0] == 2 * SIZE
