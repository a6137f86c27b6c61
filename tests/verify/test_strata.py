"""The strata table on planted failures: the worst stratum is found, small ones are shown and not judged."""

from __future__ import annotations

import json
import math

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.verify.evaluate import Evaluation, evaluate
from edgemat.verify.strata import LEAST_FACES, LEAST_IMAGES, Strata, strata

SIZE = 40


def planted(index: int, face: int, kinds: tuple[str, ...], ita: float, error: float, height: float = 0.65) -> Sample:
    """Make an image of skin; its red channel tells ``predict`` how much of it to miss."""
    alpha = np.ones((SIZE, SIZE), np.float32)
    hull = np.zeros_like(alpha)
    hull[: round(height * SIZE)] = 1
    image = np.full((SIZE, SIZE, 3), round(error * 255), np.uint8)
    return Sample(image, alpha, alpha, hull, f"face-{face}", tuple(f"{k}-{index}" for k in kinds), kinds, ita)


def misses(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return (1 - images[..., 0] / 255).astype(np.float32)


def evaluation(*parts: list[Sample]) -> Evaluation:
    return evaluate(misses, [sample for part in parts for sample in part], baseline=False)


@pytest.fixture
def result() -> Strata:
    """Plant 0.2 on everyday images, 0.4 on brown skin, 0.6 behind smoke, and 1 on the one dark face there is."""
    return strata(
        evaluation(
            [planted(i, i % 10, ("hand",), 50, 0.2, 0.5) for i in range(60)],
            [planted(i, 10 + i % 4, ("hand",), 0, 0.4, 0.8) for i in range(20)],
            [planted(i, 20 + i % 5, ("smoke", "hand"), 50, 0.6) for i in range(15)],
            [planted(i, 30, (), -50, 1.0) for i in range(12)],
        )
    )


def test_the_planted_strata_are_the_worst_of_their_families(result: Strata) -> None:
    mean = 1000 * (60 * 0.2 + 20 * 0.4 + 15 * 0.6 + 12 * 1.0) / 107
    worst = {family: result.worst(family) for family in ("occluder", "skin", "number", "size")}
    assert {family: row.name for family, row in worst.items() if row} == {
        "occluder": "smoke",
        "skin": "brown",
        "number": "2",
        "size": "medium",
    }
    smoke = worst["occluder"]
    assert smoke is not None
    assert (smoke.count, smoke.faces) == (15, 5)
    assert smoke.mad.value == pytest.approx(600)
    assert smoke.ratio == pytest.approx(600 / mean)
    assert result.between("skin") == pytest.approx(400 / (1000 * (60 * 0.2 + 15 * 0.6) / 75), rel=1e-3)


def test_one_faces_images_are_shown_and_not_judged_however_many(result: Strata) -> None:
    dark = next(row for row in result.rows if row.name == "dark")
    assert dark.count == 12 >= LEAST_IMAGES
    assert dark.faces == 1 < LEAST_FACES
    assert dark.mad.value == pytest.approx(1000)
    assert not dark.judged
    free = next(row for row in result.rows if (row.family, row.name) == ("number", "0"))
    assert not free.judged


def test_a_stratum_is_judged_from_the_tenth_image_on() -> None:
    def of(count: int) -> Strata:
        return strata(
            evaluation(
                [planted(i, i, ("hand",), 50, 0.2) for i in range(20)],
                [planted(i, 40 + i, ("veil",), 50, 0.8) for i in range(count)],
            )
        )

    worst = of(LEAST_IMAGES).worst("occluder")
    assert worst is not None
    assert worst.name == "veil"
    worst = of(LEAST_IMAGES - 1).worst("occluder")
    assert worst is not None
    assert worst.name == "hand"


def test_an_image_of_two_kinds_counts_in_both(result: Strata) -> None:
    counts = {row.name: row.count for row in result.rows if row.family == "occluder"}
    assert counts == {"hand": 95, "none": 12, "smoke": 15}


def test_intervals_resample_faces() -> None:
    rows = strata(evaluation([planted(i, i % 3, ("hand",), 50, 0.1 * (i % 3)) for i in range(300)])).rows
    assert rows[0].mad.low == pytest.approx(0)  # all draws of one face: with images drawn, 300 would never agree
    assert rows[0].mad.high == pytest.approx(200, abs=1)


def test_what_is_not_known_is_never_the_worst() -> None:
    folder = [planted(i, i, ("unknown",), math.nan, 0.5) for i in range(20)]
    result = strata(evaluation(folder))
    assert result.worst("occluder") is None
    assert result.worst("skin") is None
    assert math.isnan(result.between("skin"))
    assert result.worst("size") is not None


def test_a_perfect_network_has_no_worst_ratio_but_one() -> None:
    result = strata(evaluation([planted(i, i, ("hand",), 50, 0.0) for i in range(12)]))
    worst = result.worst("occluder")
    assert worst is not None
    assert worst.ratio == 1
    assert math.isnan(result.between("occluder"))  # a single one


def test_no_such_family_and_json(result: Strata) -> None:
    with pytest.raises(InputError, match="no family 'age'; there are occluder, number, size, skin"):
        result.worst("age")
    value = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert value["least_images"] == LEAST_IMAGES
    assert value["families"]["skin"]["worst"] == "brown"
    assert value["families"]["skin"]["worst_ratio"] == max(
        r.ratio for r in result.rows if r.family == "skin" and r.judged
    )
    assert len(value["rows"]) == len(result.rows)
    empty = strata(evaluation([planted(0, 0, (), math.nan, 0.5)])).to_json()
    assert empty["families"] == {"occluder": None, "number": None, "size": None, "skin": None}
