"""The error split by region: planted errors fall where they were planted, and shares add up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.verify.residual import REGIONS, Share, regions, residual

SIZE = 256
Mask = npt.NDArray[np.bool_]


def make_sample(occluded: bool = True) -> Sample:
    """Make a disk of skin, radius 100, with an opaque bar in front of rows 100 to 160 left of column 180."""
    y, x = np.mgrid[:SIZE, :SIZE]
    base = np.clip(100.5 - np.hypot(y - 127.5, x - 127.5), 0, 1).astype(np.float32)
    alpha = base.copy()
    if occluded:
        alpha[100:160, :180] = 0
    kinds = ("object",) if occluded else ()
    return Sample(np.zeros((SIZE, SIZE, 3), np.uint8), alpha, base, base, "face", kinds, kinds, 50.0)


def shares_of(error: Callable[[Sample], Mask]) -> dict[str, Share]:
    sample = make_sample()
    wrong = error(sample)
    prediction = np.where(wrong, 1 - sample.alpha, sample.alpha).astype(np.float32)
    return {share.region: share for share in residual([sample], [prediction])}


def box(top: int, left: int, bottom: int, right: int) -> Callable[[Sample], Mask]:
    def error(_: Sample) -> Mask:
        mask = np.zeros((SIZE, SIZE), np.bool_)
        mask[top:bottom, left:right] = True
        return mask

    return error


@pytest.mark.parametrize(
    ("region", "where"),
    [
        ("face edge", box(28, 120, 32, 136)),  # the forehead's upper end
        ("occluder edge", box(94, 100, 106, 150)),  # the bar's upper rim, well inside the face
        ("both edges", box(96, 24, 104, 36)),  # the bar's upper rim where it leaves the face
        ("inside occluder", box(125, 80, 135, 150)),
        ("inside occluder", box(128, 24, 132, 30)),  # the face's edge, hidden by the bar: no edge that can be seen
        ("free skin", box(60, 110, 70, 150)),
        ("background", box(0, 0, 10, 10)),
        ("background", box(128, 0, 132, 8)),  # the bar beyond the face
    ],
)
def test_an_error_counts_where_it_was_planted(region: str, where: Callable[[Sample], Mask]) -> None:
    shares = shares_of(where)
    assert shares[region].error == pytest.approx(1)
    assert shares[region].missed + shares[region].added == pytest.approx(1)
    assert sum(share.error for share in shares.values()) == pytest.approx(1)


def test_shares_add_up_to_one_over_samples_of_all_kinds() -> None:
    rng = np.random.default_rng(0)
    samples = [make_sample(), make_sample(False)]
    shares = residual(samples, [rng.random((SIZE, SIZE)).astype(np.float32) for _ in samples])
    assert [share.region for share in shares] == list(REGIONS)
    assert sum(share.pixels for share in shares) == pytest.approx(1)
    assert sum(share.error for share in shares) == pytest.approx(1)
    assert sum(share.missed + share.added for share in shares) == pytest.approx(1)
    whole = np.mean([np.abs(0.5 - sample.alpha).mean() for sample in samples])  # what noise costs on average
    assert sum(share.pixels * share.mad for share in shares) == pytest.approx(1e3 * whole, rel=0.01)


def test_missed_and_added_tell_lost_skin_from_invented() -> None:
    sample = make_sample()
    prediction = sample.alpha.copy()
    prediction[60:70, 110:140] = 0.4  # 300 pixels of skin lost, less than fully
    prediction[125:135, 80:90] = 0.6  # 100 pixels of the bar taken for skin
    prediction[0:10, 0:10] = 0.3  # wrong, and still background
    shares = {share.region: share for share in residual([sample], [prediction])}
    assert shares["free skin"].missed == pytest.approx(0.75)
    assert shares["inside occluder"].added == pytest.approx(0.25)
    assert shares["background"].added == 0
    assert shares["background"].error == pytest.approx(100 * 0.3 / (300 * 0.6 + 100 * 0.6 + 100 * 0.3))


def test_a_free_face_has_one_edge_and_a_veil_is_all_edge() -> None:
    free = make_sample(False)
    assert set(np.unique(regions(free))) == {REGIONS.index(r) for r in ("face edge", "free skin", "background")}
    veiled = replace(free, alpha=free.base_alpha * np.float32(0.6))
    assert set(np.unique(regions(veiled))) == {REGIONS.index(r) for r in ("both edges", "occluder edge", "background")}


def test_blur_of_the_whole_frame_makes_no_occluder_edge() -> None:
    from scipy.ndimage import gaussian_filter

    sample = make_sample()
    soft = replace(
        sample,
        alpha=gaussian_filter(sample.alpha, 0.8).astype(np.float32),
        base_alpha=gaussian_filter(sample.base_alpha, 0.8).astype(np.float32),
    )
    found = set(np.unique(regions(soft)[:80]))  # well above the bar
    assert found == {REGIONS.index(r) for r in ("face edge", "free skin", "background")}


def test_no_error_has_no_shares_and_a_face_hidden_wholly_has_a_place() -> None:
    sample = make_sample()
    assert all(share.error == share.missed == share.added == 0 for share in residual([sample], [sample.alpha]))
    hidden = replace(sample, alpha=np.zeros_like(sample.alpha))
    assert REGIONS.index("free skin") not in regions(hidden)
    empty = replace(hidden, base_alpha=hidden.alpha)
    assert set(np.unique(regions(empty))) == {REGIONS.index("background")}


def test_a_folders_samples_and_none_are_refused() -> None:
    sample = make_sample()
    with pytest.raises(InputError, match="sample face has no base matte"):
        residual([replace(sample, base_alpha=np.zeros_like(sample.alpha))], [sample.alpha])
    with pytest.raises(InputError, match="no samples"):
        residual([], [])
    with pytest.raises(ValueError, match="shorter"):
        residual([sample, sample], [sample.alpha])
