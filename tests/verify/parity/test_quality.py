"""Tests of what precision costs: each figure has a damage that only it can see, and no damage gives exactly nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from edgemat.errors import InputError
from edgemat.verify.parity.differences import FLOORS
from edgemat.verify.parity.images import ParitySet
from edgemat.verify.parity.quality import STRATA, WHOLE, Quality, QualityLimits
from edgemat.verify.parity.report import QUANTIZATION, Figure

Alphas = npt.NDArray[np.float32]
Discs = tuple[ParitySet, Alphas]


def keyed(figures: tuple[Figure, ...]) -> dict[tuple[str, str], Figure]:
    found = {(figure.name, figure.region): figure for figure in figures}
    assert len(found) == len(figures)
    return found


def failed(figures: tuple[Figure, ...]) -> set[tuple[str, str]]:
    return {key for key, figure in keyed(figures).items() if not figure.passed}


def only(parity_set: ParitySet, images: slice | list[int]) -> ParitySet:
    """Return some images of a set, without clips."""
    chosen = np.arange(len(parity_set.images))[images]
    return dataclasses.replace(
        parity_set,
        images=parity_set.images[chosen],
        truth=None if parity_set.truth is None else parity_set.truth[chosen],
        uncertainty=None if parity_set.uncertainty is None else parity_set.uncertainty[chosen],
        strata=tuple(parity_set.strata[i] for i in chosen),
        faces=tuple(parity_set.faces[i] for i in chosen),
        clips=parity_set.clips[:0],
        clip_truth=parity_set.clip_truth[:0],
        clip_faces=(),
    )


@pytest.fixture(scope="module")
def quality(discs: Discs) -> Quality:
    return Quality(*discs)


def test_the_float_network_itself_differs_by_exactly_nothing(quality: Quality, discs: Discs) -> None:
    figures = quality.figures(discs[1].copy())
    assert {figure.question for figure in figures} == {QUANTIZATION}
    assert all(figure.value == 0 for figure in figures if figure.value is not None)
    assert all(figure.low in (0, None) and figure.high in (0, None) for figure in figures)
    assert not failed(figures)
    assert {figure.name for figure in figures} == {"mad", "mse", "sad", "grad", "conn", "iou", "dtssd"}
    regions = {figure.region for figure in figures}
    assert regions >= {"", "unknown", "uncertainty: 0-50 %", "uncertainty: 95-100 %", "occluder: hand", "skin: tan"}


def test_the_same_alpha_gives_the_same_figures(quality: Quality, discs: Discs) -> None:
    noisy = np.clip(discs[1] + np.random.default_rng(0).normal(0, 0.02, discs[1].shape), 0, 1).astype(np.float32)
    assert quality.figures(noisy) == quality.figures(noisy) == Quality(*discs).figures(noisy)


def test_the_truth_itself_is_better_everywhere_and_fails_nowhere(quality: Quality, discs: Discs) -> None:
    parity_set, _ = discs
    truth = np.concatenate([parity_set.truth, parity_set.clip_truth.reshape(-1, 48, 48)])  # type: ignore[list-item]
    figures = keyed(quality.figures(truth))
    assert not failed(tuple(figures.values()))
    assert figures["mad", ""].value == -100
    assert figures["iou", ""].value is not None
    assert figures["iou", ""].value > 0


def test_a_matte_that_is_a_pixel_off_fails_in_every_metric_over_all_images(quality: Quality, discs: Discs) -> None:
    found = failed(quality.figures(np.roll(discs[1], 1, axis=-1)))
    assert found >= {(metric, "") for metric in WHOLE}
    assert found >= {("mad", "unknown"), ("grad", "unknown"), ("mad", "skin: tan"), ("mad", "skin: light")}


def test_smoothed_edges_fail(quality: Quality, discs: Discs) -> None:
    smooth = np.clip(ndimage.gaussian_filter(discs[1], (0, 1, 1)), 0, 1)
    assert failed(quality.figures(smooth)) >= {("grad", ""), ("mad", ""), ("grad", "unknown"), ("grad", "skin: light")}


def test_ragged_edges_that_mad_forgives_fail_in_grad(discs: Discs) -> None:
    parity_set, reference = discs
    truth = np.concatenate([parity_set.truth, parity_set.clip_truth.reshape(-1, 48, 48)])  # type: ignore[list-item]
    rows, columns = np.mgrid[:48, :48]
    ragged = truth + (reference - truth) * (1 + np.float32(0.9) * np.where((rows // 3 + columns // 3) % 2, 1, -1))
    found = failed(Quality(*discs).figures(np.clip(ragged, 0, 1).astype(np.float32)))
    assert ("grad", "") in found
    assert ("grad", "uncertainty: 95-100 %") in found
    assert not {name for name, region in found if region == ""} & {"mad", "sad", "conn"}


def test_a_loss_in_one_stratum_alone_is_found_there_and_not_in_the_others(discs: Discs) -> None:
    parity_set, reference = discs
    tan = [i for i, names in enumerate(parity_set.strata) if "skin: tan" in names]
    worse = reference.copy()
    worse[tan] = np.clip(worse[tan] + 0.5 * (worse[tan] - parity_set.truth[tan]), 0, 1)  # type: ignore[index]
    limits = QualityLimits(whole={})  # whatever the mean says
    found = failed(Quality(*discs).figures(worse, limits))
    assert ("mad", "skin: tan") in found
    assert not {region for _, region in found} & {"skin: light", "occluder: hand", ""}


def test_a_loss_that_the_faces_of_a_class_share_unequally_is_found_though_its_interval_is_wide(discs: Discs) -> None:
    parity_set, reference = discs
    worse = reference.copy()
    for i, share in zip([0, 3, 6, 9], [0.05, 0.1, 0.15, 1.0], strict=True):  # the tan faces
        worse[i] = np.clip(worse[i] + share * (worse[i] - parity_set.truth[i]), 0, 1)  # type: ignore[index]
    tan = keyed(Quality(*discs).figures(worse))["mad", "skin: tan"]
    assert tan.low is not None
    assert tan.low < 10
    assert not tan.passed
    assert "hardly any random choice" in tan.detail


def test_a_loss_that_all_images_share_is_no_classes(discs: Discs) -> None:
    parity_set, reference = discs
    truth = np.concatenate([parity_set.truth, parity_set.clip_truth.reshape(-1, 48, 48)])  # type: ignore[list-item]
    worse = np.clip(reference + np.float32(0.08) * (reference - truth), 0, 1)
    found = failed(Quality(*discs).figures(worse, QualityLimits(strata={"mad": 10.0})))
    assert ("mad", "") in found
    assert not {region for _, region in found} & {"skin: tan", "skin: light", "occluder: hand"}


def test_a_loss_where_the_truth_is_hard_to_know_is_found_in_that_bin(discs: Discs) -> None:
    parity_set, reference = discs
    assert parity_set.uncertainty is not None
    hard = parity_set.uncertainty >= np.quantile(parity_set.uncertainty, 0.96, axis=(1, 2), keepdims=True)
    worse = reference.copy()
    worse[: len(hard)][hard] = np.clip(worse[: len(hard)][hard] + 0.1, 0, 1)
    found = {region for name, region in failed(Quality(*discs).figures(worse)) if name == "mad"}
    assert "uncertainty: 95-100 %" in found
    assert not found & {"uncertainty: 0-50 %", "uncertainty: 50-80 %"}


def test_flicker_is_seen_by_dtssd_alone(quality: Quality, discs: Discs) -> None:
    parity_set, reference = discs
    count = len(parity_set.images)
    flickering = reference.copy()
    flickering[count::2] *= np.float32(0.9)
    found = failed(quality.figures(flickering))
    assert found == {("dtssd", ""), ("dtssd", "unknown")}


def test_iou_falls_below_a_lower_limit(quality: Quality, discs: Discs) -> None:
    iou = keyed(quality.figures(np.roll(discs[1], 2, axis=-1)))["iou", ""]
    assert not iou.passed
    assert iou.at_least
    assert iou.limit == -WHOLE["iou"]
    assert iou.high is not None
    assert iou.high < 0


def test_over_all_images_the_interval_has_to_keep_the_limit_and_in_a_stratum_to_break_it(discs: Discs) -> None:
    parity_set, reference = discs
    loss = np.random.default_rng(1).normal(0.05, 0.2, len(reference)).astype(np.float32)
    unsteady = reference.copy()
    for i, true in enumerate(parity_set.truth):  # type: ignore[arg-type]
        unsteady[i] = np.clip(reference[i] + loss[i] * (reference[i] - true), 0, 1)
    figures = keyed(Quality(*discs).figures(unsteady, QualityLimits({"mad": 10.0}, {"mad": 10.0})))
    whole, stratum = figures["mad", ""], figures["mad", "skin: light"]
    assert whole.low is not None
    assert whole.high is not None
    assert whole.low < 10 < whole.high
    assert not whole.passed
    assert stratum.low is not None
    assert stratum.high is not None
    assert stratum.low < 10 < stratum.high
    assert stratum.passed


def test_a_stratum_of_one_face_is_shown_and_not_judged(quality: Quality, discs: Discs) -> None:
    worse = discs[1].copy()
    worse[5] = 0
    cup = keyed(quality.figures(worse))["mad", "occluder: cup"]
    assert cup.limit is None
    assert cup.passed
    assert cup.low is None
    assert cup.value is not None
    assert cup.value > 100
    assert "occluder: cup" in " ".join(quality.not_proven)


def test_one_image_is_judged_without_an_interval(discs: Discs) -> None:
    parity_set, reference = discs
    one = only(parity_set, [0])
    judge = Quality(one, reference[:1])
    assert not failed(judge.figures(reference[:1]))
    figures = keyed(judge.figures(np.roll(reference[:1], 1, axis=-1)))
    assert figures["mad", ""].low is None
    assert not figures["mad", ""].passed
    assert all(figure.limit is None for (_, region), figure in figures.items() if region not in ("", "unknown"))


def test_a_perfect_network_on_images_without_a_face_is_held_to_what_is_seen(discs: Discs) -> None:
    none = only(discs[0], slice(0, 5))
    none = dataclasses.replace(none, truth=np.zeros_like(none.truth))
    reference = np.zeros((5, 48, 48), np.float32)
    judge = Quality(none, reference)
    assert not failed(judge.figures(reference.copy()))
    assert not failed(judge.figures(reference + np.float32(0.9e-3 * FLOORS["mad"])))
    figures = keyed(judge.figures(reference + np.float32(0.01)))
    assert figures["mad", ""].value is None
    assert not figures["mad", ""].passed
    assert not figures["mad", "skin: light"].passed
    assert ("mad", "unknown") not in figures


def test_an_image_without_edges_is_left_out_of_the_unknown_region_alone(discs: Discs) -> None:
    parity_set, reference = discs
    truth, seen = parity_set.truth.copy(), reference.copy()  # type: ignore[union-attr]
    truth[0], seen[0] = 0, 0
    figures = keyed(Quality(dataclasses.replace(parity_set, truth=truth), seen).figures(seen))
    assert figures["mad", ""].detail.endswith("12 images of 12 faces")
    assert figures["mad", "unknown"].detail.endswith("11 images of 11 faces")


def test_a_limit_is_never_less_than_what_is_seen(discs: Discs) -> None:
    parity_set, reference = discs
    truth = np.concatenate([parity_set.truth, parity_set.clip_truth.reshape(-1, 48, 48)])  # type: ignore[list-item]
    close = (truth + np.float32(1e-5) * (truth < 1)).astype(np.float32)
    twice = (truth + np.float32(3e-5) * (truth < 1)).astype(np.float32)
    mad = keyed(Quality(parity_set, np.clip(close, 0, 1)).figures(np.clip(twice, 0, 1)))["mad", ""]
    assert mad.value is not None
    assert mad.value > 100
    assert mad.passed
    assert mad.limit is not None
    assert mad.limit > 100
    assert "nobody sees" in mad.detail
    assert Quality(parity_set, reference).figures(reference)[0].limit != mad.limit


def test_without_a_truth_there_is_no_quality(discs: Discs) -> None:
    blind = dataclasses.replace(discs[0], truth=None, not_proven=("Quality was not measured.",))
    judge = Quality(blind, discs[1])
    assert judge.figures(discs[1] * np.float32(0.5)) == ()
    assert judge.not_proven == ("Quality was not measured.",)


def test_without_uncertainty_and_clips_the_rest_is_measured(discs: Discs) -> None:
    parity_set, reference = discs
    bare = dataclasses.replace(only(parity_set, slice(None)), uncertainty=None, strata=((),) * 12)
    figures = Quality(bare, reference[:12]).figures(np.roll(reference[:12], 1, axis=-1))
    assert {figure.region for figure in figures} == {"", "unknown"}
    assert "dtssd" not in {figure.name for figure in figures}


@pytest.mark.parametrize("broken", [np.zeros((3, 48, 48), np.float32), np.full((24, 48, 48), np.nan, np.float32)])
def test_what_cannot_be_measured_is_refused(quality: Quality, broken: Alphas) -> None:
    with pytest.raises(InputError, match="expected finite float32"):
        quality.figures(broken)


def test_a_rounding_beyond_the_range_is_cut(quality: Quality, discs: Discs) -> None:
    over = discs[1] + np.float32(2e-7) * (discs[1] == 1) - np.float32(2e-7) * (discs[1] == 0)
    assert all(figure.value in (0, None) for figure in quality.figures(over))


@pytest.mark.parametrize("limits", [{"psnr": 1.0}, {"mad": -1.0}, {"mad": float("nan")}])
def test_a_limit_that_means_nothing_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(InputError, match="quality limit"):
        QualityLimits(whole=limits)
    with pytest.raises(InputError, match="quality limit"):
        QualityLimits(strata=limits)


def test_the_defaults_name_metrics() -> None:
    assert set(STRATA) <= set(WHOLE) <= set(FLOORS)
    assert QualityLimits().whole == WHOLE


@pytest.mark.data
def test_on_the_holdout_a_loss_of_one_skin_tone_or_one_occluder_is_found_and_noise_of_eight_bits_is_not() -> None:
    from edgemat.verify import holdout
    from edgemat.verify.parity.images import load

    parity_set = load("holdout", clips=False)
    reference = holdout.predictor()(parity_set.images)
    judge = Quality(parity_set, reference)
    assert not failed(judge.figures((np.round(reference * 255) / 255).astype(np.float32)))
    for region, damage in {
        "skin: tan": lambda alpha: ndimage.gaussian_filter(alpha, (0, 2, 2)),
        "occluder: hand": lambda alpha: np.roll(alpha, 2, axis=-1),
    }.items():
        hit = [i for i, names in enumerate(parity_set.strata) if region in names]
        worse = reference.copy()
        worse[hit] = np.clip(damage(worse[hit]), 0, 1)
        found = {where for metric, where in failed(judge.figures(worse)) if metric in ("mad", "grad")}
        assert region in found
        assert not found & {"skin: dark", "skin: very light", "occluder: none", "number: 0"}
