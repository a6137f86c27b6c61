"""The evaluation of hand-made predictions: figures, groups, regions, the baseline, and bad predictions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.metrics import METRICS, unknown_region
from edgemat.verify.evaluate import BASELINE, IMAGE_METRICS, MODEL, Evaluation, evaluate

SIZE = 64


def make_sample(number: int, kinds: tuple[str, ...] = (), ita: float = 50.0) -> Sample:
    """Make a disk of skin with a bar in front of it; the image's red channel tells the truth."""
    y, x = np.mgrid[:SIZE, :SIZE]
    base = np.clip(24.5 - np.hypot(y - 31.5, x - 31.5), 0, 1).astype(np.float32)
    alpha = base.copy()
    if kinds:
        alpha[20 + number : 30 + number] = 0
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[..., 0] = np.round(alpha * 255)
    ids = tuple(f"{kind}-{number}" for kind in kinds)
    return Sample(image, alpha, base, base, f"face-{number}", ids, kinds, ita)


SAMPLES = [
    make_sample(0, ("hand",), 60),
    make_sample(1, ("hand", "glasses"), 45),
    make_sample(2, ("hand", "hand"), 0),
    make_sample(3, (), -40),
    make_sample(4, ("cup",), 45),
]


def perfect(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Read the truth that the samples carry."""
    return (images[..., 0] / 255).astype(np.float32)


def nothing(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Find no skin at all."""
    return np.zeros(images.shape[:3], np.float32)


@pytest.fixture(scope="module")
def result() -> Evaluation:
    """Evaluate a network that finds nothing beside the hull."""
    return evaluate(nothing, SAMPLES)


def test_a_perfect_network_beats_the_hull_on_every_metric() -> None:
    result = evaluate(perfect, SAMPLES)
    for key in IMAGE_METRICS:
        ours, theirs = result.mean(key), result.mean(key, BASELINE)
        if METRICS[key].better == "higher":
            assert ours.value == 1 > theirs.value
        else:
            assert ours.value < 0.1 * theirs.value  # not 0: the samples' red channel rounds to 8 bits
    assert result.mean("mad").value < 1


def test_every_figure_is_the_metric_itself(result: Evaluation) -> None:
    for sample, image in zip(SAMPLES, result.images, strict=True):
        band = unknown_region(sample.alpha, 10 * SIZE / 256)
        for who, alpha in {MODEL: np.zeros_like(sample.alpha), BASELINE: sample.hull}.items():
            for key in IMAGE_METRICS:
                function = METRICS[key].function
                assert image.scores[who]["frame"][key] == pytest.approx(float(function(alpha, sample.alpha)))
                expected = float(function(alpha, sample.alpha, band))
                assert image.scores[who]["unknown"][key] == pytest.approx(expected)


def test_rows_average_by_stratum(result: Evaluation) -> None:
    frame = {row.group: row for row in result.rows() if row.predictor == MODEL and row.region == "frame"}
    assert {group: row.count for group, row in frame.items()} == {
        "all": 5,
        "occluder: cup": 1,
        "occluder: glasses": 1,
        "occluder: hand": 3,  # two hands in one image count once
        "occluder: none": 1,
        "number: 0": 1,
        "number: 1": 2,
        "number: 2": 2,
        "size: large": 5,
        "skin: very light": 1,
        "skin: light": 2,
        "skin: brown": 1,
        "skin: dark": 1,
    }
    values = [image.scores[MODEL]["frame"]["mad"] for image in result.images]
    assert frame["all"].means["mad"].value == pytest.approx(np.mean(values))
    assert frame["occluder: hand"].means["mad"].value == pytest.approx(np.mean(values[:3]))
    assert frame["skin: light"].means["mad"].value == pytest.approx(np.mean([values[1], values[4]]))
    for row in frame.values():
        assert row.means["mad"].low <= row.means["mad"].value <= row.means["mad"].high


def test_rows_come_in_a_fixed_order_with_the_baseline_beside_the_network(result: Evaluation) -> None:
    rows = result.rows()
    assert [(row.predictor, row.group, row.region) for row in rows[:4]] == [
        (MODEL, "all", "frame"),
        (BASELINE, "all", "frame"),
        (MODEL, "all", "unknown"),
        (BASELINE, "all", "unknown"),
    ]
    assert list(dict.fromkeys(row.group for row in rows))[-4:] == [
        "skin: very light",
        "skin: light",
        "skin: brown",
        "skin: dark",
    ]


def test_an_image_without_an_edge_counts_in_the_frame_only() -> None:
    blank = np.zeros((SIZE, SIZE), np.float32)
    hidden = replace(SAMPLES[0], alpha=blank)
    result = evaluate(nothing, [hidden, SAMPLES[1]])
    counts = {row.region: row.count for row in result.rows() if row.group == "all" and row.predictor == MODEL}
    assert counts == {"frame": 2, "unknown": 1}
    alone = evaluate(nothing, [hidden])
    assert {row.region for row in alone.rows()} == {"frame"}
    with pytest.raises(InputError, match="region 'unknown'"):
        alone.mean("mad", region="unknown")


def test_without_the_baseline_it_has_no_row() -> None:
    result = evaluate(perfect, SAMPLES[:2], baseline=False)
    assert {row.predictor for row in result.rows()} == {MODEL}
    with pytest.raises(InputError, match="mesh hull"):
        result.mean("mad", BASELINE)


def test_samples_may_be_a_generator_longer_than_a_batch() -> None:
    seen: list[int] = []

    def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        seen.append(len(images))
        return perfect(images)

    def stream() -> Iterator[Sample]:
        yield from (SAMPLES[number % 5] for number in range(18))

    result = evaluate(predict, stream(), baseline=False)
    assert seen == [16, 2]
    assert [image.index for image in result.images] == list(range(18))


def test_worst_finds_the_planted_failure() -> None:
    def fails_on_the_free_face(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        alpha = perfect(images)
        alpha[3] = 0
        return alpha

    result = evaluate(fails_on_the_free_face, SAMPLES)
    assert result.worst(1)[0].index == 3
    assert result.worst(1, "iou")[0].index == 3
    assert len(result.worst(2)) == 2
    with pytest.raises(InputError, match="no metric 'dtssd'"):
        result.worst(1, "dtssd")


def test_the_interval_repeats_and_json_round_trips(result: Evaluation) -> None:
    again = evaluate(nothing, SAMPLES)
    text = json.dumps(result.to_json(), allow_nan=False)
    assert text == json.dumps(again.to_json(), allow_nan=False)
    value = json.loads(text)
    assert value["schema_version"] == 2
    assert len(value["images"]) == 5
    assert value["images"][1]["kinds"] == ["hand", "glasses"]
    assert value["images"][1]["face_height"] == 0.75
    assert value["rows"][0]["means"]["mad"]["value"] == pytest.approx(result.mean("mad").value)
    assert value["metrics"]["iou"] == {"name": "IoU", "unit": "1", "better": "higher"}


def test_an_unknown_skin_tone_is_said_and_not_guessed() -> None:
    result = evaluate(nothing, [make_sample(0, (), math.nan)])
    assert result.rows()[-1].group == "skin: unknown"
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["images"][0]["ita"] is None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            np.zeros((2, SIZE, SIZE, 1), np.float32),
            r"returned float32\(2, 64, 64, 1\).*expected float32\(2, 64, 64\)",
        ),
        (np.zeros((1, SIZE, SIZE), np.float32), "for 2 images"),
        (np.zeros((2, SIZE, SIZE)), "returned float64"),
        (np.full((2, SIZE, SIZE), 1.5, np.float32), r"alpha in \[1\.5, 1\.5\]"),
        (np.full((2, SIZE, SIZE), np.nan, np.float32), "expected finite"),
    ],
)
def test_a_bad_prediction_is_named(answer: npt.NDArray[np.float32], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(lambda _: answer, SAMPLES[:2])


def test_no_samples_and_mixed_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="no samples"):
        evaluate(perfect, [])
    small = np.zeros((8, 8), np.float32)
    other = Sample(np.zeros((8, 8, 3), np.uint8), small, small, small, "small")
    with pytest.raises(InputError, match="differ in size"):
        evaluate(perfect, [SAMPLES[0], other])
