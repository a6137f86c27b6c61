"""Compare the arms of an experiment, each trained with several seeds, on the same composites: what a change gave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.metrics import METRICS, UNKNOWN_RADIUS, Region, unknown_region
from edgemat.verify.ablation_report import (
    ABLATION_METRICS,
    LOWER,
    MIN_SEEDS,
    NONE_SHOWN,
    REGIONS,
    TOP_SHARE,
    UNCERTAIN,
    Ablation,
    Difference,
    Mean,
)
from edgemat.verify.bootstrap import Values, interval
from edgemat.verify.crossed import resampled_means
from edgemat.verify.evaluate import FRAME, UNKNOWN

Alphas = npt.NDArray[np.float32]
_Cell = tuple[str, str, list[int]]
"""Group, region and the images that count in them."""


def uncertain_region(uncertainty: Alphas) -> Region:
    """Mark the `TOP_SHARE` of an image's pixels with the highest uncertainty; of equals, the first in reading order.

    Args:
        uncertainty: A teacher's expected |error| of alpha, float32, (H, W), >= 0.

    Returns:
        Bool, (H, W), with ``round(TOP_SHARE * H * W)`` pixels, but at least one.

    Example:
        >>> uncertain_region(np.array([[0.1, 0.3, 0.2, 0.3, 0.0]], np.float32)).astype(int).tolist()
        [[0, 1, 0, 0, 0]]
    """
    region = np.zeros(uncertainty.size, np.bool_)
    order = np.argsort(-uncertainty, axis=None, kind="stable")
    region[order[: max(1, round(TOP_SHARE * uncertainty.size))]] = True
    return region.reshape(uncertainty.shape)


def compare_arms(
    arms: Mapping[str, Sequence[Alphas]],
    samples: Sequence[Sample],
    uncertainty: Alphas,
    reference: str,
    also: Sequence[tuple[str, str]] = (),
    min_seeds: int = MIN_SEEDS,
    paired: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Ablation:
    """Measure every seed of every arm on the same samples and compare arms, image by image.

    Figures are taken per image and seed, over the whole frame, the unknown region and the most uncertain pixels, and
    over the whole frame for each class of occluder. Intervals come from `edgemat.verify.crossed`.

    Args:
        arms: By name, the alpha of each seed: float32, (N, H, W), in [0, 1]. Two arms at least.
        samples: The N samples that were predicted, all (H, W).
        uncertainty: The teacher's expected |error| of alpha on them, float32, (N, H, W), >= 0.
        reference: The arm that all others are compared with.
        also: Further pairs to compare: an arm and the one that it is compared with.
        min_seeds: Refuse arms with fewer; below `MIN_SEEDS` the result is marked.
        paired: Whether seed i of every arm began with the same weights and saw the same examples in the same order.
        progress: Called with the images measured so far and in all.

    Raises:
        InputError: There are no samples, an arm is missing or has too few seeds, two seeds of an arm are identical, or
            an array has a wrong type, shape or range.
    """
    _check_arms(arms, min_seeds)
    if paired and len({len(seeds) for seeds in arms.values()}) > 1:
        raise InputError("ablation: arms of different numbers of seeds cannot be paired")
    pairs = _pairs(arms, reference, also)
    _check_arrays(arms, samples, uncertainty)
    scores = _scores(arms, samples, uncertainty, progress)
    means: list[Mean] = []
    differences: list[Difference] = []
    for cell in _cells(samples, scores[reference]):
        faces = [samples[index].face_id for index in cell[2]]
        place = REGIONS.index(cell[1])
        members = {arm: values[:, cell[2], place] for arm, values in scores.items()}
        draws = resampled_means(members, faces, paired=paired)
        for arm, values in members.items():
            means += _means(arm, cell, len(set(faces)), values, draws[arm])
        averages = {arm: values.mean(axis=(0, 1)) for arm, values in members.items()}
        for pair in pairs:
            differences += _differences(pair, cell, len(set(faces)), averages, draws)
    return Ablation({arm: len(seeds) for arm, seeds in arms.items()}, tuple(means), tuple(differences))


def failures(report: Ablation, arm: str = "weighted", reference: str = "unweighted") -> list[str]:
    """Say what is missing for the claim that weighting by uncertainty helps where it matters and costs nothing else.

    The claim: MAD and Grad on the most uncertain pixels are lower with their intervals clear of zero, and MAD over the
    whole frame is not higher (its interval is not entirely above zero), with at least `MIN_SEEDS` seeds an arm.

    Args:
        report: Holds the comparison of both arms.
        arm: The arm that should be better.
        reference: The arm that it should beat.

    Returns:
        One sentence a failure; none when the claim holds.

    Raises:
        InputError: The arms were not compared.
    """
    frame = report.difference(arm, reference, "mad", FRAME)
    found = []
    if few := [f"{name} ({report.seeds[name]})" for name in (arm, reference) if report.seeds[name] < MIN_SEEDS]:
        found.append(f"fewer than {MIN_SEEDS} seeds: {', '.join(few)}; luck of the seed may pass for an effect")
    for metric in ("mad", "grad"):
        row = report.difference(arm, reference, metric, UNCERTAIN)
        if row.verdict != LOWER:
            null = ", a null result" if row.verdict == NONE_SHOWN else ""
            found.append(f"{_sentence(row)}{null}; expected lower, with the interval clear of zero")
    if frame.verdict not in (LOWER, NONE_SHOWN):
        found.append(f"{_sentence(frame)}; expected not higher")
    return found


def _sentence(row: Difference) -> str:
    where = {FRAME: "the whole frame", UNCERTAIN: f"the {100 * TOP_SHARE:.0f} % most uncertain pixels"}[row.region]
    percent = "" if row.percent is None else f" ({row.percent} %)"
    return (
        f"{row.arm} against {row.reference}: {METRICS[row.metric].name} over {where} differs by "
        f"{row.difference}{percent}: {row.verdict}"
    )


def _check_arms(arms: Mapping[str, Sequence[Alphas]], min_seeds: int) -> None:
    if min_seeds < 1:
        raise InputError(f"ablation: min_seeds is {min_seeds}; expected at least 1")
    if len(arms) < 2:
        raise InputError(f"ablation: {len(arms)} arm(s) ({', '.join(arms)}); expected two at least, to be compared")
    if few := [f"{arm} ({len(seeds)})" for arm, seeds in arms.items() if len(seeds) < min_seeds]:
        raise InputError(
            f"ablation: too few seeds: {', '.join(few)}; expected at least {min_seeds}, because one seed's luck looks "
            "like an effect. Train more, or ask for fewer with min_seeds: the report then says so"
        )


def _pairs(
    arms: Mapping[str, Sequence[Alphas]], reference: str, also: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    pairs = [*((arm, reference) for arm in arms if arm != reference), *also]
    for pair in pairs:
        if unknown := [name for name in pair if name not in arms]:
            raise InputError(f"ablation: no arm {unknown[0]!r}; there are {', '.join(arms)}")
        if pair[0] == pair[1]:
            raise InputError(f"ablation: arm {pair[0]!r} is to be compared with itself")
    return list(dict.fromkeys(pairs))


def _check_arrays(arms: Mapping[str, Sequence[Alphas]], samples: Sequence[Sample], uncertainty: Alphas) -> None:
    if not samples:
        raise InputError("ablation: no samples; expected at least one (is the split empty?)")
    sizes = {sample.alpha.shape for sample in samples}
    if len(sizes) > 1:
        raise InputError(f"ablation: samples differ in size: {sorted(sizes)}")
    shape = (len(samples), *sizes.pop())
    _check_array("the uncertainty", uncertainty, shape, np.inf)
    for arm, seeds in arms.items():
        for number, alpha in enumerate(seeds):
            _check_array(f"alpha of arm {arm!r}, seed {number}", alpha, shape, 1)
            for other in range(number):
                if np.array_equal(alpha, seeds[other]):
                    raise InputError(
                        f"ablation: arm {arm!r}: seeds {other} and {number} predict exactly the same; expected runs of "
                        "different seeds (was one run given twice, or its seed not used?)"
                    )


def _check_array(name: str, array: Alphas, shape: tuple[int, ...], highest: float) -> None:
    if array.shape != shape or array.dtype != np.float32:
        raise InputError(f"ablation: {name} is {array.dtype}{array.shape}; expected float32{shape}, as the samples")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= highest and np.isfinite(high)):  # also false when either is NaN
        wanted = "in [0, 1]" if highest == 1 else ">= 0"
        raise InputError(f"ablation: {name} spans [{low:g}, {high:g}]; expected finite values {wanted}")


def _scores(
    arms: Mapping[str, Sequence[Alphas]],
    samples: Sequence[Sample],
    uncertainty: Alphas,
    progress: Callable[[int, int], None],
) -> dict[str, Values]:
    """Return by arm (seeds, images, regions, metrics), NaN where an image has no unknown region."""
    shape = (len(samples), len(REGIONS), len(ABLATION_METRICS))
    scores = {arm: np.full((len(seeds), *shape), np.nan) for arm, seeds in arms.items()}
    for index, sample in enumerate(samples):
        unknown = unknown_region(sample.alpha, UNKNOWN_RADIUS * min(sample.alpha.shape) / 256)
        regions = {FRAME: np.ones_like(unknown), UNKNOWN: unknown, UNCERTAIN: uncertain_region(uncertainty[index])}
        places = [place for place, region in enumerate(REGIONS) if regions[region].any()]
        masks = np.stack([regions[REGIONS[place]] for place in places])
        for arm, seeds in arms.items():
            for number, alpha in enumerate(seeds):
                for column, key in enumerate(ABLATION_METRICS):
                    values = METRICS[key].function(alpha[index], sample.alpha, masks)
                    scores[arm][number, index, places, column] = values
        progress(index + 1, len(samples))
    return scores


def _cells(samples: Sequence[Sample], scores: Values) -> Iterator[_Cell]:
    """Yield what the tables have lines for; what holds no image has none."""
    for place, region in enumerate(REGIONS):
        if members := np.flatnonzero(~np.isnan(scores[0, :, place, 0])).tolist():
            yield "all", region, members
    kinds = [set(sample.kinds) or {"none"} for sample in samples]
    for kind in sorted(set().union(*kinds)):
        yield f"occluder: {kind}", FRAME, [index for index, found in enumerate(kinds) if kind in found]


def _means(arm: str, cell: _Cell, faces: int, values: Values, draws: Values) -> Iterator[Mean]:
    """Sum up one arm in one cell: values (seeds, images, metrics), draws (resamples, metrics)."""
    group, region, members = cell
    seeds = values.mean(axis=1)
    for column, key in enumerate(ABLATION_METRICS):
        value = interval(float(seeds[:, column].mean()), draws[:, column])
        each = tuple(map(float, seeds[:, column]))
        yield Mean(arm, group, region, key, len(members), faces, value, each)


def _differences(
    pair: tuple[str, str], cell: _Cell, faces: int, averages: Mapping[str, Values], draws: Mapping[str, Values]
) -> Iterator[Difference]:
    group, region, members = cell
    arm, reference = pair
    for column, key in enumerate(ABLATION_METRICS):
        base, base_draws = float(averages[reference][column]), draws[reference][:, column]
        gap, gap_draws = float(averages[arm][column]) - base, draws[arm][:, column] - base_draws
        percent = interval(100 * gap / base, 100 * gap_draws / base_draws) if base_draws.all() else None
        difference = interval(gap, gap_draws)
        yield Difference(arm, reference, group, region, key, len(members), faces, difference, percent)
