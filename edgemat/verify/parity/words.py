"""What the reports of parity share: the verdict in a sentence, the figure that tells most, names for people."""

from __future__ import annotations

import math

from edgemat.metrics import METRICS
from edgemat.verify.parity.report import COMPOSITE, CONVERSION, QUANTIZATION, Figure, Outcome, ParityReport

QUESTIONS = {
    CONVERSION: "Conversion: the artefact against its reference at the same precision",
    QUANTIZATION: "Quantization: against ground truth, beside the float network",
    COMPOSITE: "Composite: the filtered 8-bit frame that a user sees",
}
STATES = {
    "passed": "passed",
    "gate": "FAILED: beyond a limit",
    "error": "FAILED: error",
    "crashed": "FAILED: crashed",
    "timeout": "FAILED: no answer in time",
    "unavailable": "not run here",
}
"""A state in words that need no colour."""
NAMES = {
    "broken_promises": "promises of the file that it breaks",
    "identical": "alpha's pixels that are identical",
    "layer_differ": "codes of a tensor that differ",
    "layer_lsb": "largest difference of a tensor, given the same inputs",
    "layer_rounding": "largest difference of a tensor over what rounding explains",
    "layers_hidden": "tensors that it does not show",
    "max_abs": "largest difference",
    "mean_abs": "mean difference",
    "off_by_more_than_2": "pixels off by more than 2/255",
    "off_by_more_than_2_worst": "pixels of the worst image off by more than 2/255",
    "psnr": "PSNR",
    "within_one": "alpha's pixels within one code",
    "wrong_scales": "scales that are not the grid's",
}
"""Figures' names for people; one that is not here, and is no metric, has its own."""


def state(outcome: Outcome) -> str:
    """Return an outcome's state in words.

    Example:
        >>> state(Outcome("coreml", "fp16", "", "", "unavailable", required=True))
        'FAILED: required, but not run here'
    """
    if outcome.state == "unavailable" and outcome.required:
        return "FAILED: required, but not run here"
    return STATES[outcome.state]


def verdict(report: ParityReport) -> str:
    """Return what a report says, in one sentence.

    Example:
        >>> verdict(ParityReport((), {"count": 32}, {}, {}, {}))
        'Failed: there is no artefact to judge.'
    """
    outcomes = report.outcomes
    passed = [o for o in outcomes if o]
    failed = [o for o in outcomes if o.failed]
    skipped = len(outcomes) - len(passed) - len(failed)
    left = f" {plural(skipped, 'artefact')} could not be run here." if skipped else ""
    images = report.images.get("count")
    on = f" on {plural(images, 'image')}" if isinstance(images, int) else ""
    if not outcomes:
        return "Failed: there is no artefact to judge."
    if failed:
        names = ", ".join(o.name for o in failed[:4]) + (f" and {len(failed) - 4} more" if len(failed) > 4 else "")
        return f"Failed: {len(failed)} of {plural(len(outcomes), 'artefact')}{on}: {names}.{left}"
    if not passed:
        return f"Nothing was proven: none of {plural(len(outcomes), 'artefact')} could be run here."
    which = f"All {len(passed)} artefacts" if len(passed) > 1 else f"The one artefact ({passed[0].name})"
    if skipped:
        which = f"{len(passed)} of {len(outcomes)} artefacts"
    return f"Passed: {which} kept every limit{on}.{left}"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    Example:
        >>> plural(1, "image"), plural(2, "image")
        ('1 image', '2 images')
    """
    return f"{count} {noun}" + ("" if count == 1 else "s")


def used(figure: Figure) -> float:
    """Return how much of its limit a figure uses: 1 is at the limit, more is beyond it, 0 where nothing is judged.

    Where there is an interval, the end that decides counts: the better one in a stratum, which fails when it is shown
    to be worse than the limit, else the worse one. Of a share that must be at least so many per cent, what lacks to 100
    counts; of decibels, the ratio that they stand for.

    Example:
        >>> used(Figure("conversion", "max_abs", 0.005, limit=0.01))
        0.5
        >>> used(Figure("conversion", "within_one", 99.5, "%", limit=99.0, at_least=True))
        0.5
        >>> used(Figure("quantization", "iou", -0.1, "%", limit=-0.5, at_least=True))
        0.2
    """
    if figure.limit is None or figure.value is None:
        return 0.0 if figure.passed else math.inf
    stratum = ":" in figure.region and figure.question == QUANTIZATION
    end = figure.low if figure.at_least != stratum else figure.high
    share = _share(figure, figure.value if end is None else end)
    return min(share, 1.0) if figure.passed else share  # what is too small to see passes, however many per cent it is


def _share(figure: Figure, value: float) -> float:
    limit = figure.limit or 0.0
    if figure.unit == "dB" and figure.at_least:
        return float(10 ** ((limit - value) / 20))
    if figure.at_least and limit > 0:
        if figure.unit != "%":
            return limit / value if value > 0 else math.inf
        value, limit = 100 - value, 100 - limit
    elif figure.at_least:
        value, limit = -value, -limit
    if limit <= 0:
        return 0.0 if value <= limit else math.inf
    return max(0.0, value / limit)


def worst(outcome: Outcome) -> Figure | None:
    """Return the judged figure that is furthest beyond its limit, or nearest to it; None where none is judged."""
    judged = [figure for figure in outcome.figures if figure.limit is not None]
    return max(judged, key=lambda figure: (not figure.passed, used(figure)), default=None)


def number(value: float | None, digits: int = 4) -> str:
    """Return a figure as people read it: a few digits, no trailing zeros, a true minus sign.

    Example:
        >>> number(0.012345), number(None)
        ('0.01235', 'none')
    """
    return "none" if value is None else f"{value:.{digits}g}".replace("-", "\N{MINUS SIGN}")


def unit(figure: Figure) -> str:
    """Return the unit with a space before it; empty for a pure number."""
    return "" if figure.unit in ("1", "") else f" {figure.unit}"


def measured(figure: Figure) -> str:
    """Return value, unit and interval.

    Example:
        >>> measured(Figure("quantization", "mad", 0.5, "%", low=0.1, high=0.9))
        '0.5 % [0.1, 0.9]'
    """
    if figure.value is None:  # nothing to divide by, or the PSNR of equal images
        return "infinite" if figure.name == "psnr" and figure.passed else "none"
    if figure.low is None or figure.high is None:
        return number(figure.value) + unit(figure)
    value, low, high = (_rounded(end, figure.unit) for end in (figure.value, figure.low, figure.high))
    return f"{value}{unit(figure)} [{low}, {high}]"


def _rounded(value: float, unit_: str) -> str:
    """Return an end of an interval: of per cents, whose intervals are wider than that, two decimals at most."""
    if unit_ != "%":
        return number(value, 3)
    return number(round(value, 2 if abs(value) < 10 else 1) + 0.0)


def allowed(figure: Figure) -> str:
    """Return the limit in words; empty where there is none.

    Example:
        >>> allowed(Figure("conversion", "max_abs", 0.005, limit=0.01))
        'at most 0.01'
    """
    if figure.limit is None:
        return ""
    return f"at {'least' if figure.at_least else 'most'} {number(figure.limit)}{unit(figure)}"


def title(figure: Figure) -> str:
    """Return the figure's name for people, with its region.

    Example:
        >>> title(Figure("quantization", "mad", 0.5, "%", region="skin: tan"))
        'MAD, skin: tan'
    """
    name = (
        METRICS[figure.name].name if figure.name in METRICS else NAMES.get(figure.name, figure.name.replace("_", " "))
    )
    return name + (f", {figure.region}" if figure.region else "")
