"""The paired comparison: differences known beforehand are found, chance is not, limits break where they should."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.verify import paired
from edgemat.verify.bootstrap import Interval
from edgemat.verify.clips import Clip
from edgemat.verify.evaluate import Predict
from edgemat.verify.paired import Difference, Limit, compare, limits


def scene(face: int, count: int = 1) -> list[Sample]:
    """Squares of one face that wander to the right; the face's number decides how hard they are."""
    frames = []
    for i in range(count):
        alpha = np.zeros((32, 32), np.float32)
        alpha[8:24, 4 + i : 20 + i] = 1.0
        image = np.full((32, 32, 3), 10 + face, np.uint8)
        image[..., 1] = alpha * 255
        frames.append(Sample(image, alpha, alpha, alpha, face_id=f"face-{face}"))
    return frames


SAMPLES = [sample for face in range(8) for sample in scene(face) * 2]


def wrong_by(share: float, chance: float = 0.0) -> Predict:
    """Predict the truth, wrong by a share of how hard the face is, and by chance."""
    rng = np.random.default_rng(0)

    def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        truth = images[..., 1] / 255
        error = share * (images[:, :1, :1, 0] - 9) / 80 + chance * rng.normal(size=(len(images), 1, 1))
        return np.abs(truth - np.clip(error, 0, 1)).astype(np.float32)

    return predict


def found(result: paired.Paired, network: str, metric: str, region: str = "frame") -> Difference:
    (one,) = [d for d in result.differences if (d.network, d.metric, d.region) == (network, metric, region)]
    return one


def test_a_proportion_is_found_exactly_however_much_faces_differ() -> None:
    result = compare({"a": wrong_by(1.0), "b": wrong_by(1.02), "c": wrong_by(0.9)}, SAMPLES)
    for name, percent, verdict in (("b", 2.0, "worse"), ("c", -10.0, "better")):
        one = found(result, name, "mad")
        assert (one.percent.low, one.percent.high) == pytest.approx((percent, percent), abs=1e-3)
        assert (one.count, one.verdict) == (16, verdict)
    assert result
    assert {d.region for d in result.differences} == {"frame", "unknown"}
    assert "dtssd" not in {d.metric for d in result.differences}


def test_chance_is_told_from_a_difference() -> None:
    result = compare({"a": wrong_by(1.0), "b": wrong_by(1.0, chance=0.002)}, SAMPLES)
    assert found(result, "b", "mad").verdict == "same"


def test_flicker_is_compared_on_the_same_clips() -> None:
    scenes: list[tuple[Clip, Clip]] = [(scene(face, 3), scene(face, 1) * 3) for face in range(4)]

    def flickering(strength: float) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
        def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            swing = strength * (np.arange(len(images)) % 2)[:, None, None]
            return np.clip(images[..., 1] / 255 - swing, 0, 1).astype(np.float32)

        return predict

    result = compare({"a": flickering(0.1), "b": flickering(0.2)}, SAMPLES[:2], iter(scenes))
    one = found(result, "b", "dtssd")
    assert one.count == 4
    assert one.percent.value == pytest.approx(100.0, abs=1.0)


def difference(metric: str, low: float, high: float) -> Difference:
    return Difference("b", metric, "frame", 3, 1.0, 1.0, Interval((low + high) / 2, low, high))


@pytest.mark.parametrize(
    ("metric", "low", "high", "percent", "broken"),
    [
        ("mad", -1.0, 0.9, 1.0, False),
        ("mad", -1.0, 1.1, 1.0, True),
        ("iou", -0.9, 5.0, -1.0, False),
        ("iou", -1.1, 0.0, -1.0, True),
        ("mad", float("nan"), float("nan"), 1.0, True),
    ],
)
def test_the_worse_end_decides(metric: str, low: float, high: float, percent: float, broken: bool) -> None:
    assert difference(metric, low, high).breaks(Limit(metric, "frame", percent)) is broken


def test_a_limit_that_breaks_names_the_network_and_makes_the_result_false() -> None:
    networks = {"a": wrong_by(1.0), "b": wrong_by(1.02)}
    assert compare(networks, SAMPLES, gate=limits("mad=+3%"))
    result = compare(networks, SAMPLES, gate=limits("mad=+1%,mad.unknown=+3%"))
    assert not result
    (sentence,) = result.broken
    assert sentence.startswith("b: mad (frame) +2.00 %")
    document = json.loads(json.dumps(result.to_json()))
    assert (document["schema_version"], document["networks"], document["broken"]) == (1, ["a", "b"], [sentence])


def test_more_of_what_is_good_is_better() -> None:
    assert difference("iou", 0.1, 0.2).verdict == "better"
    assert difference("iou", -0.2, -0.1).verdict == "worse"
    assert difference("grad", -0.2, -0.1).verdict == "better"


@pytest.mark.parametrize("text", ["mad", "mad=1%", "mad=+1", "speed=+1%", "mad.edge=+1%", "mad=+1%;grad=+1%", ""])
def test_other_words_are_no_limits(text: str) -> None:
    with pytest.raises(InputError, match="expected METRIC"):
        limits(text)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InputError, match="at least two"):
        compare({"a": wrong_by(1.0)}, SAMPLES)
    with pytest.raises(InputError, match="no samples"):
        compare({"a": wrong_by(1.0), "b": wrong_by(2.0)}, [])
    with pytest.raises(InputError, match="not measured"):
        compare({"a": wrong_by(1.0), "b": wrong_by(2.0)}, SAMPLES, gate=limits("dtssd=+1%"))
