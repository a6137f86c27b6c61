"""The verdict in a sentence, and the figure that tells most."""

from __future__ import annotations

import math
from typing import Any

import pytest

from edgemat.verify.parity import words
from edgemat.verify.parity.report import Figure, Outcome, ParityReport


def figure(value: float, limit: float | None = 1.0, passed: bool = True, **more: Any) -> Figure:
    return Figure("conversion", "max_abs", value, limit=limit, passed=passed, **more)


def outcome(name: str, state: str = "passed", *figures: Figure, **more: Any) -> Outcome:
    return Outcome(*name.split(), f"{name}.bin", "00", state, figures=figures or (figure(0.5),), **more)


def report(*outcomes: Outcome) -> ParityReport:
    return ParityReport(outcomes, {"count": 32}, {}, {}, {})


def test_the_verdict_names_what_failed_and_counts_what_did_not_run() -> None:
    bad = outcome("tflite int8", "gate", figure(2.0, passed=False))
    away = outcome("coreml fp16", "unavailable")
    good = outcome("onnx fp32")
    assert words.verdict(report(good)) == "Passed: The one artefact (onnx fp32) kept every limit on 32 images."
    assert words.verdict(report(good, away)) == (
        "Passed: 1 of 2 artefacts kept every limit on 32 images. 1 artefact could not be run here."
    )
    assert words.verdict(report(good, bad)).startswith("Failed: 1 of 2 artefacts on 32 images: tflite int8.")
    assert words.verdict(report(away)).startswith("Nothing was proven")
    required = outcome("coreml fp16", "unavailable", required=True)
    assert words.verdict(report(good, required)).startswith("Failed: 1 of 2")
    assert words.state(required).startswith("FAILED")


def test_the_worst_figure_is_one_that_failed_before_one_that_is_nearly_there() -> None:
    near, failed = figure(0.99), figure(1.01, passed=False)
    assert words.worst(outcome("a b", "gate", near, failed)) is failed
    assert words.worst(outcome("a b", "passed", figure(0.2), near, figure(7.0, None))) is near
    assert words.worst(outcome("a b", "error", figure(7.0, None))) is None


@pytest.mark.parametrize(
    ("found", "share"),
    [
        (figure(0.5), 0.5),
        (figure(-0.5), 0.0),
        (figure(0.0, 0.0), 0.0),
        (figure(0.1, 0.0, passed=False), math.inf),
        (figure(0.5, low=0.1, high=0.8), 0.8),
        (figure(0.5, low=0.1, high=1.8, region="filter: colour"), 1.0),
        (Figure("quantization", "mad", 0.5, "%", "skin: tan", 0.1, 1.8, 1.0), 0.1),  # a stratum: not shown to be worse
        (Figure("quantization", "mad", 3.0, "%", "skin: tan", 2.1, 3.8, 1.0, passed=False), 2.1),
        (Figure("conversion", "layer_rounding", None, limit=1.0, passed=False), math.inf),
        (figure(1.5, low=1.1, high=1.8, passed=False), 1.8),
        (figure(1.5), 1.0),  # passed, as too small a difference to see
        (figure(80.0, 60.0, unit="dB", at_least=True), 0.1),
        (figure(99.5, 99.0, unit="%", at_least=True), 0.5),
        (figure(-0.25, -0.5, unit="%", at_least=True), 0.5),
        (figure(0.25, -0.5, unit="%", at_least=True), 0.0),
        (figure(5.0, None), 0.0),
    ],
)
def test_how_much_of_a_limit_is_used(found: Figure, share: float) -> None:
    assert words.used(found) == pytest.approx(share)


def test_an_infinite_figure_is_told_from_one_that_is_no_number() -> None:
    equal = Figure("conversion", "psnr", None, "dB", limit=60.0, at_least=True)
    assert words.measured(equal) == "infinite"
    broken = Figure("conversion", "layer_rounding", None, limit=1.0, passed=False)
    assert words.measured(broken) == "none"
    assert words.title(broken).startswith("largest difference of a tensor")
    assert words.title(Figure("conversion", "new_figure", 1.0, region="skin: tan")) == "new figure, skin: tan"


def test_per_cents_with_an_interval_are_rounded_to_what_the_interval_can_tell() -> None:
    tiny = Figure("quantization", "mad", -0.00171, "%", low=-0.0048, high=0.0079)
    assert words.measured(tiny) == "0 % [0, 0.01]"
    wide = Figure("quantization", "mad", 12.345, "%", low=-3.456, high=30.0)
    assert words.measured(wide) == "12.3 % [\N{MINUS SIGN}3.46, 30]"
