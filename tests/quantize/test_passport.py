"""The passport says which images, what they cover and how far to trust them."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest

from edgemat import calib_data
from edgemat.quantize import passport
from edgemat.quantize.calibrate import METHODS, calibrate
from edgemat.quantize.scheme import Scheme

from . import nets


def made(images: npt.NDArray[np.uint8], method: str = "mse") -> dict[str, object]:
    return dict(calibrate(nets.net(), images, Scheme(), method).passport)


def warnings(images: npt.NDArray[np.uint8], method: str = "mse") -> str:
    return "\n".join(made(images, method)["warnings"])  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_small_and_json(method: str) -> None:
    text = json.dumps(made(nets.images(), method), allow_nan=False)
    assert len(text) < 5_000


def test_many_images_stay_small() -> None:
    found = made(nets.images(300))
    assert "each" not in found["images"]  # type: ignore[operator]
    assert len(json.dumps(found)) < 5_000


def test_hashes_are_those_of_the_images() -> None:
    images = nets.images()
    one, other = made(images), made(images[::-1].copy())
    assert one["images"]["count"] == 10  # type: ignore[index]
    assert one["images"]["sha256"] != other["images"]["sha256"]  # type: ignore[index]
    assert one["images"]["each"] == other["images"]["each"][::-1]  # type: ignore[index]
    changed = images.copy()
    changed[3, 0, 0, 0] ^= 1
    each = made(changed)["images"]["each"]  # type: ignore[index]
    assert [i for i, (a, b) in enumerate(zip(one["images"]["each"], each, strict=True)) if a != b] == [3]  # type: ignore[index]


def test_rows_say_what_was_chosen_and_clipped() -> None:
    images = nets.images()
    grid = calibrate(nets.net(), images, Scheme(), "percentile", percentile=90.0)
    columns, rows = grid.passport["columns"], grid.passport["tensors"]
    row = dict(zip(columns, rows["second"], strict=True))  # type: ignore[arg-type, index]
    params = grid.activations["second"]
    assert row["bottom"] == pytest.approx(params.bottom, rel=1e-4)
    assert row["top"] == pytest.approx(params.top, rel=1e-4)
    assert 0.1 < row["saturated"] < 0.3  # a tenth at each end
    assert 0.0 < row["spread"] < 0.2
    assert "of its values lie outside" in "\n".join(grid.passport["warnings"])  # type: ignore[arg-type]


def test_coverage_of_the_shipped_images() -> None:
    images = calib_data.load().resized(16, 16)
    found = made(images)["coverage"]
    assert found["skin_like"]["images"] == len(images)  # type: ignore[index]
    assert found["brightness"]["max"] - found["brightness"]["min"] > passport.NARROW  # type: ignore[index]
    assert sum(found["alpha"].values()) == pytest.approx(1.0, abs=1e-3)  # type: ignore[index]


def test_good_set_has_no_warning() -> None:
    assert warnings(nets.images(24)) == ""


def test_narrow_sets_are_warned_of() -> None:
    images = nets.images()
    assert "1 calibration image: too few" in warnings(images[:1])
    assert "3 calibration images: too few" in warnings(images[:3])
    assert "mean brightness is within" in warnings(images[-2:])
    copies = images.copy()
    copies[4:7] = copies[0]
    assert "3 of 10 calibration images are copies" in warnings(copies)
    flat = images.copy()
    flat[2] = 7
    assert "images of one single value: 2" in warnings(flat)
    lonely = np.tile(images[:1] // 16, (9, 1, 1, 1))
    lonely[0] = images[-1]  # one bright image among dark ones decides every range
    assert "varies by" in warnings(lonely, "minmax")
