"""Where a resize samples: beside ONNX Runtime, which computes it, and between formats."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgemat.verify.lint import sampling
from edgemat.verify.lint.facts import Resize

from .cases import model, node

SIZES = ((5, 7), (10, 7), (8, 16))


@pytest.mark.parametrize("how", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("sizes", [(5, 10), (8, 3), (4, 9)])
def test_bilinear_places_are_those_of_onnx_runtime(how: str, sizes: tuple[int, int]) -> None:
    """A ramp, resized, shows the place that each of its pixels was taken from."""
    from edgemat.export.onnx import session

    before, after = sizes
    resize = node("Resize", ["image", "", "", "s"], "alpha", mode="linear", coordinate_transformation_mode=how)
    graph = model([resize], {"s": np.array([1, 1, after, after], np.int64)}, (1, 1, before, before))
    ramp = np.broadcast_to(np.arange(before, dtype=np.float32)[:, None], (before, before))[None, None].copy()
    (shown,) = session(graph.SerializeToString()).run(None, {"image": ramp})
    places = sampling.places(Resize("r", "r", "linear", how, "", (before, before), (after, after)))
    assert places is not None
    assert np.abs(places[0] - shown[0, 0, :, 0]).max() < 1e-5


@pytest.mark.parametrize("how", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
def test_nearest_places_are_those_of_onnx_runtime(how: str, rounding: str) -> None:
    from edgemat.export.onnx import session

    for before, after in SIZES:
        resize = node("Resize", ["image", "", "", "s"], "alpha", mode="nearest", nearest_mode=rounding,
                      coordinate_transformation_mode=how)  # fmt: skip
        graph = model([resize], {"s": np.array([1, 1, after, after], np.int64)}, (1, 1, before, before))
        ramp = np.broadcast_to(np.arange(before, dtype=np.float32), (before, before))[None, None].copy()
        (shown,) = session(graph.SerializeToString()).run(None, {"image": ramp})
        places = sampling.places(Resize("r", "r", "nearest", how, rounding, (before, before), (after, after)))
        assert places is not None
        assert places[1].tolist() == shown[0, 0, 0].tolist()


def test_resizes_of_the_same_places_are_not_apart() -> None:
    up = {"before": (4, 4), "after": (8, 8)}
    same = [
        Resize("r", "r", "nearest", "asymmetric", "floor", **up),  # type: ignore[arg-type]
        Resize("r", "r", "nearest", "half_pixel", "round_prefer_ceil", **up),  # type: ignore[arg-type]
        Resize("r", "r", "nearest", "half_pixel", "round_prefer_floor", **up),  # type: ignore[arg-type]
    ]
    for one, two in itertools.combinations(same, 2):
        assert sampling.apart(one, two) == 0.0
    bilinear = [Resize("r", "r", "linear", how, "", **up) for how in ("half_pixel", "align_corners")]  # type: ignore[arg-type]
    assert sampling.apart(*bilinear) == pytest.approx(0.25 - 1 / 14)


def test_what_cannot_be_told_is_not_guessed() -> None:
    known = Resize("r", "r", "linear", "half_pixel", "", (4, 4), (8, 8))
    for other in (
        Resize("r", "r", "linear", "half_pixel", "", None, (8, 8)),
        Resize("r", "r", "linear", "Core ML's OFFSET_CORNERS", "", (4, 4), (8, 8)),
        Resize("r", "r", "nearest", "half_pixel", "odd", (4, 4), (8, 8)),
    ):
        assert sampling.places(other) is None
        assert sampling.apart(known, other) is None
    assert sampling.apart(known, Resize("r", "r", "linear", "half_pixel", "", (4, 4), (8, 9))) == float("inf")
