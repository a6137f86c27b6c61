"""What a comparison of arms found: values that print as tables and serialise with a schema version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgemat.errors import InputError
from edgemat.metrics import METRICS, UNKNOWN_RADIUS
from edgemat.verify.bootstrap import SEED, Interval
from edgemat.verify.crossed import RESAMPLES
from edgemat.verify.evaluate import FRAME, UNKNOWN

SCHEMA_VERSION = 1
UNCERTAIN = "uncertain"
REGIONS = (FRAME, UNKNOWN, UNCERTAIN)
ABLATION_METRICS = ("mad", "grad", "conn")
TOP_SHARE = 0.2
"""Share of an image's pixels, the most uncertain ones, that make up the region ``uncertain``."""
MIN_SEEDS = 3
MIN_FACES = 6
"""A percentile interval lies between the least and the largest face, so with n faces it covers a symmetric quantity's
mean with probability 1 - 2^(1 - n) at most: 94 % for five, 97 % for six."""

LOWER, HIGHER, NONE_SHOWN, TOO_FEW = "lower", "higher", "no difference shown", "too few faces"
COLUMNS = ("arm", "against", "group", "region", "metric", "images", "faces", "difference", "%", "verdict")
"""Heads of `Ablation.rows`."""
MEAN_COLUMNS = ("arm", "group", "region", "metric", "images", "faces", "mean", "each seed")
"""Heads of `Ablation.mean_rows`."""


@dataclass(frozen=True)
class Mean:
    """One arm's figure in a group of images and a region.

    Attributes:
        arm: Its name.
        group: ``all`` or ``occluder: KIND`` (``occluder: none`` holds the free faces).
        region: ``frame``, ``unknown`` or ``uncertain``.
        metric: Key of the metric.
        images: Images averaged.
        faces: How many faces they show.
        value: Mean over images and seeds, with its 95 % interval.
        seeds: The same mean of each seed alone, in the order given.
    """

    arm: str
    group: str
    region: str
    metric: str
    images: int
    faces: int
    value: Interval
    seeds: tuple[float, ...]

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        return {**vars(self), "value": self.value.to_json(), "seeds": list(self.seeds)}


@dataclass(frozen=True)
class Difference:
    """How an arm differs from another in a group of images and a region; negative is better.

    Attributes:
        arm: The arm.
        reference: The arm that it is compared with.
        group: As in `Mean`.
        region: As in `Mean`.
        metric: Key of the metric.
        images: Images averaged.
        faces: How many faces they show.
        difference: Mean of the arm less that of the reference, with its 95 % interval, in the metric's unit.
        percent: The same in percent of the reference's mean; None where that mean is 0 in some resample.
    """

    arm: str
    reference: str
    group: str
    region: str
    metric: str
    images: int
    faces: int
    difference: Interval
    percent: Interval | None

    @property
    def verdict(self) -> str:
        """``lower`` or ``higher`` where the interval is clear of zero, else ``no difference shown``.

        ``too few faces`` where they are fewer than `MIN_FACES`: such an interval is not what it claims.
        """
        if self.faces < MIN_FACES:
            return TOO_FEW
        if self.difference.high < 0:
            return LOWER
        return HIGHER if self.difference.low > 0 else NONE_SHOWN

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        percent = None if self.percent is None else self.percent.to_json()
        return {**vars(self), "difference": self.difference.to_json(), "percent": percent, "verdict": self.verdict}


@dataclass(frozen=True)
class Ablation:
    """All figures of a comparison of arms.

    Attributes:
        seeds: Number of seeds, by arm.
        means: Each arm's figures.
        differences: Each compared pair's.
    """

    seeds: Mapping[str, int]
    means: tuple[Mean, ...]
    differences: tuple[Difference, ...]

    @property
    def few_seeds(self) -> bool:
        """Whether an arm has fewer than `MIN_SEEDS` seeds: its luck may then pass for an effect."""
        return min(self.seeds.values()) < MIN_SEEDS

    def difference(self, arm: str, reference: str, metric: str, region: str = FRAME, group: str = "all") -> Difference:
        """Return one comparison.

        Raises:
            InputError: There is no such comparison.
        """
        wanted = (arm, reference, metric, region, group)
        for row in self.differences:
            if (row.arm, row.reference, row.metric, row.region, row.group) == wanted:
                return row
        pairs = sorted({f"{row.arm} against {row.reference}" for row in self.differences})
        raise InputError(
            f"ablation: no comparison of {arm!r} with {reference!r} for metric {metric!r}, region {region!r}, "
            f"group {group!r}; compared were: {', '.join(pairs)}"
        )

    def rows(self) -> list[list[str]]:
        """Return one row of text cells a comparison, under `COLUMNS`."""
        return [
            [
                row.arm,
                row.reference,
                *_place(row),
                str(row.difference),
                "-" if row.percent is None else str(row.percent),
                row.verdict,
            ]
            for row in self.differences
        ]

    def mean_rows(self) -> list[list[str]]:
        """Return one row of text cells an arm's figure, under `MEAN_COLUMNS`."""
        return [
            [row.arm, *_place(row), str(row.value), " ".join(f"{seed:.3g}" for seed in row.seeds)] for row in self.means
        ]

    def markdown(self) -> str:
        """Return both tables and how they were made, as Markdown."""
        seeds = ", ".join(f"{arm}: {count}" for arm, count in self.seeds.items())
        units = ", ".join(f"{METRICS[key].name} in {METRICS[key].unit}" for key in ABLATION_METRICS)
        note = (
            f"Seeds: {seeds}. {units}; lower is better. In brackets the 95 % percentile interval of {RESAMPLES} "
            "bootstrap resamples of faces and, crossed with them, of seeds; rows are not corrected for their number. "
            f"`{UNCERTAIN}`: the {100 * TOP_SHARE:.0f} % of each image's pixels that the teacher doubts most."
        )
        if self.few_seeds:
            note += f" **Fewer than {MIN_SEEDS} seeds in an arm: luck of the seed may pass for an effect.**"
        return "\n\n".join([_markdown(COLUMNS, self.rows()), _markdown(MEAN_COLUMNS, self.mean_rows()), note]) + "\n"

    def __str__(self) -> str:
        """Return `markdown`."""
        return self.markdown()

    def to_json(self) -> dict[str, object]:
        """Return everything as JSON-ready values, with ``schema_version``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "seeds": dict(self.seeds),
            "few_seeds": self.few_seeds,
            "metrics": {key: {"name": METRICS[key].name, "unit": METRICS[key].unit} for key in ABLATION_METRICS},
            "unknown_radius_at_256": UNKNOWN_RADIUS,
            "uncertain_share": TOP_SHARE,
            "bootstrap": {"seed": SEED, "resamples": RESAMPLES, "level": 0.95, "drawn": "faces and seeds, crossed"},
            "differences": [row.to_json() for row in self.differences],
            "means": [row.to_json() for row in self.means],
        }


def _place(row: Mean | Difference) -> tuple[str, ...]:
    return (row.group, row.region, METRICS[row.metric].name, str(row.images), str(row.faces))


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
