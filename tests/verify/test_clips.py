"""Flicker on hand-made clips: steady predictions have none, planted blinks are measured, the worst is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.metrics import dtssd
from edgemat.verify.clips import FIGURES, flicker

SIZE, FRAMES = 64, 5


def frame(face: str, shift: int) -> Sample:
    """Make a square of skin moved by whole pixels; the image's red channel tells the truth, blue whose it is."""
    alpha = np.zeros((SIZE, SIZE), np.float32)
    alpha[20:40, 10 + shift : 30 + shift] = 1
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[..., 0] = alpha * 255
    image[..., 2] = ord(face)
    return Sample(image, alpha, alpha, alpha, face, ("hand-1",), ("hand",), 50.0)


def scenes() -> Iterator[tuple[list[Sample], list[Sample]]]:
    for face in "ab":
        yield [frame(face, 2 * t) for t in range(FRAMES)], [frame(face, 4)] * FRAMES


def truth(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return (images[..., 0] / 255).astype(np.float32)


def blinks_on_b(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    alpha = truth(images)
    if images[0, 0, 0, 2] == ord("b"):
        alpha[2] *= 0.5
    return alpha


def test_the_truth_does_not_flicker_and_a_frozen_matte_misses_all_motion() -> None:
    means = flicker(truth, scenes()).means()
    assert list(means) == list(FIGURES)
    for key in ("moving", "moving unknown", "still", "still unknown"):
        assert means[key].value == 0
    # Each step uncovers and covers 20 x 2 pixels.
    assert means["frozen"].value == pytest.approx(100 * np.sqrt(2 * 40 / SIZE**2))


def test_a_constant_error_is_no_flicker() -> None:
    assert flicker(lambda images: truth(images) * np.float32(0.5), [(s, s) for _, s in scenes()]).means()[
        "moving"
    ].value == pytest.approx(0)


def test_a_planted_blink_is_measured_and_its_clip_kept() -> None:
    result = flicker(blinks_on_b, scenes())
    step = 100 * np.sqrt(0.25 * 400 / SIZE**2)  # half of the square's alpha, gone and back
    first, second = result.clips
    assert first.figures["moving"] == 0
    assert second.figures["moving"] == pytest.approx(2 * step / (FRAMES - 1), rel=0.1)  # the square moves meanwhile
    assert second.figures["still"] == pytest.approx(2 * step / (FRAMES - 1))
    assert result.means()["still"].value == pytest.approx(step / (FRAMES - 1))
    assert result.worst[0].face_id == "b"
    assert result.worst_alphas[2].max() == 0.5


def test_figures_are_the_metric_itself() -> None:
    moving, still = next(scenes())
    noise = np.random.default_rng(0).random((FRAMES, SIZE, SIZE)).astype(np.float32)
    result = flicker(lambda _: noise, [(moving, still)])
    assert result.clips[0].figures["moving"] == float(dtssd(noise, np.stack([f.alpha for f in moving])))


def test_a_clip_with_an_edgeless_frame_counts_over_the_frame_only() -> None:
    moving, still = next(scenes())
    blank = Sample(np.zeros_like(moving[0].image), *[np.zeros((SIZE, SIZE), np.float32)] * 3, "a")
    result = flicker(truth, [([*moving[:2], blank], still[:3])])
    assert "moving unknown" not in result.clips[0].figures
    assert "moving unknown" not in result.means()
    assert "still unknown" in result.means()


def test_json_and_refusals() -> None:
    value = json.loads(json.dumps(flicker(blinks_on_b, scenes()).to_json(), allow_nan=False))
    assert (value["frames"], len(value["clips"])) == (FRAMES, 2)
    assert value["clips"][1]["kinds"] == ["hand"]
    assert set(value["means"]) == set(value["figures"]) == set(FIGURES)
    with pytest.raises(InputError, match="clips: there are none"):
        flicker(truth, [])
    with pytest.raises(InputError, match="at least two frames"):
        flicker(truth, [(a[:1], b[:1]) for a, b in scenes()])
    with pytest.raises(InputError, match="prediction"):
        flicker(lambda images: truth(images) * 2, scenes())
