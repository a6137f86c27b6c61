"""The picture sheet: which samples it shows, what stands where, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.verify.sheet import choose, sheet

SIZE, LABEL = 32, 16


def make_samples(count: int) -> list[Sample]:
    """Make samples whose left half is skin."""
    alpha = np.zeros((SIZE, SIZE), np.float32)
    alpha[:, : SIZE // 2] = 1
    image = np.full((SIZE, SIZE, 3), (200, 100, 40), np.uint8)
    return [Sample(image, alpha, alpha, alpha, f"face-{number}", ("cup-1",), ("cup",)) for number in range(count)]


def test_panels_show_image_truth_prediction_difference_and_filter(tmp_path: Path) -> None:
    samples = make_samples(1)
    prediction = samples[0].alpha[None].copy()
    prediction[0, :, -4:] = 0.125  # a planted fault: difference 0.5 after the fourfold gain
    sheet(samples, prediction, tmp_path / "sheet.png")
    picture = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert picture.shape == (2 * LABEL + SIZE, 5 * SIZE, 3)
    row = picture[-1].astype(int)
    image, truth, shown, difference, filtered = row.reshape(5, SIZE, 3)
    assert (image == (200, 100, 40)).all()
    assert truth[0].tolist() == [255] * 3
    assert truth[-1].tolist() == [0] * 3
    assert shown[-1].tolist() == [32] * 3
    assert difference[0].tolist() == [0] * 3
    assert difference[-1].tolist() == [128] * 3
    assert filtered[0].tolist() == [0, 204, 76]  # the filter where alpha is 1
    assert filtered[SIZE // 2].tolist() == [200, 100, 40]  # the image where it is 0
    assert filtered[-1].tolist() == pytest.approx([175, 113, 45], abs=1)
    assert picture[:LABEL].max() == 255  # titles are printed


def test_at_most_n_rows_from_the_lowest_error_to_the_highest(tmp_path: Path) -> None:
    samples = make_samples(12)
    predictions = np.stack([s.alpha * (1 - number / 24) for number, s in enumerate(samples)]).astype(np.float32)
    sheet(samples, predictions[::-1], tmp_path / "sheet.png", n=4)
    picture = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert picture.shape[0] == LABEL + 4 * (LABEL + SIZE)
    brightness = [int(picture[LABEL + (k + 1) * (LABEL + SIZE) - 1, 2 * SIZE, 0]) for k in range(4)]
    assert brightness[0] == 255
    assert brightness == sorted(brightness, reverse=True)


@pytest.mark.parametrize("total", range(1, 24))
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 9])
def test_choose_never_repeats_and_keeps_the_worst(total: int, n: int) -> None:
    errors = np.random.default_rng(total).random(total)
    picked = choose(errors, n)
    places = [place for place, _ in picked]
    assert len(places) == len(set(places)) == min(n, total)
    assert int(errors.argmax()) in places
    assert [errors[place] for place in places] == sorted(errors[place] for place in places)


def test_choose_takes_the_median_from_the_middle() -> None:
    picked = choose(np.arange(101.0), 8)
    assert [place for place, kind in picked if kind == "median"] == [49, 50]
    assert [place for place, kind in picked if kind == "best"] == [0, 1]
    assert [place for place, kind in picked if kind == "worst"] == [97, 98, 99, 100]


def test_what_does_not_fit_is_refused_and_nothing_written(tmp_path: Path) -> None:
    samples = make_samples(2)
    good = np.stack([sample.alpha for sample in samples])
    goal = tmp_path / "sheet.png"
    with pytest.raises(InputError, match="0 samples"):
        sheet([], good, goal)
    with pytest.raises(InputError, match="0 rows"):
        sheet(samples, good, goal, n=0)
    with pytest.raises(InputError, match=r"predictions \(1, 32, 32\) for 2 samples"):
        sheet(samples, good[:1], goal)
    with pytest.raises(InputError, match="prediction spans"):
        sheet(samples, good * 2, goal)
    assert not goal.exists()
