"""The ratchet: worse than the last release fails, the same and better pass, and nothing vanishes unseen."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from edgemat.errors import InputError
from edgemat.verify.parity import baseline
from edgemat.verify.parity.baseline import Baseline
from edgemat.verify.parity.report import Figure, Outcome, ParityReport
from edgemat.verify.parity.settings import Settings

IMAGES = {"name": "holdout", "count": 32, "sha256": "abc"}
MAX = Figure("conversion", "max_abs", 0.004, limit=0.01)
PSNR = Figure("conversion", "psnr", 72.0, "dB", limit=60.0, at_least=True)
LSB = Figure("conversion", "layer_lsb", 0.0, "LSB", limit=1.0)
WITHIN = Figure("conversion", "within_one", 99.9, "%", limit=99.0, at_least=True)
MAD = Figure("quantization", "mad", 0.5, "%", low=0.2, high=0.8, limit=5.0)
IOU = Figure("quantization", "iou", -0.05, "%", low=-0.08, high=-0.02, limit=-0.5, at_least=True)
SHOWN = Figure("conversion", "identical", 99.0, "%")
ALL = (MAX, PSNR, LSB, WITHIN, MAD, IOU, SHOWN)


def outcome(*figures: Figure, target: str = "tflite", state: str = "passed") -> Outcome:
    return Outcome(target, "int8", f"{target}.file", "0" * 64, state, figures=figures)


def earlier(*outcomes: Outcome) -> Baseline:
    return Baseline(ParityReport(outcomes, IMAGES, {}, {}, {}), {"path": "old.json", "sha256": "1"})


def held(old: Figure, **changes: object) -> Outcome:
    """Return today's outcome with one figure changed."""
    today = outcome(*(dataclasses.replace(f, **changes) if f is old else f for f in ALL))  # type: ignore[arg-type]
    return earlier(outcome(*ALL)).hold([today], Settings())[0][0]


def test_the_same_passes_unchanged() -> None:
    same = [outcome(*ALL)]
    assert earlier(outcome(*ALL)).hold(same, Settings()) == (same, [])


@pytest.mark.parametrize(
    ("figure", "changes"),
    [
        (MAX, {"value": 0.0039}),
        (MAX, {"value": 0.00404}),  # within 1 %
        (PSNR, {"value": 71.0}),  # within 1 % and half a decibel
        (PSNR, {"value": None}),  # nothing differs
        (WITHIN, {"value": 100.0}),
        (MAD, {"value": 0.55, "low": 0.3, "high": 0.9}),
        (MAD, {"value": 0.9, "low": 0.4, "high": 1.5}),  # the interval explains it
        (IOU, {"value": -0.1, "low": -0.13, "high": -0.06}),
        (SHOWN, {"value": 0.0}),  # was not judged
    ],
)
def test_better_and_what_slack_or_noise_explains_pass(figure: Figure, changes: dict[str, float]) -> None:
    assert held(figure, **changes).state == "passed"


@pytest.mark.parametrize(
    ("figure", "changes", "limit"),
    [
        (MAX, {"value": 0.005}, 0.004041),
        (PSNR, {"value": 70.0}, 72 - 0.72 - 0.5),
        (LSB, {"value": 1.0}, 0.0),
        (WITHIN, {"value": 98.7 + 0.1}, 99.9 - 0.999 - 0.1),
        (MAD, {"value": 1.2, "low": 0.7, "high": 1.9}, 0.605),
        (IOU, {"value": -0.3, "low": -0.4, "high": -0.2}, -0.1505),
    ],
)
def test_worse_fails_with_both_figures_named(figure: Figure, changes: dict[str, float], limit: float) -> None:
    found = held(figure, **changes)
    broken = [f for f in found.figures if not f.passed]
    assert found.state == "gate"
    assert [f.key for f in broken] == [figure.key]
    assert broken[0].limit == pytest.approx(limit)
    assert f"the baseline has {figure.value:.4g}" in broken[0].detail
    assert found.message.startswith(f"worse than the baseline: {figure.key}")


def test_the_slack_is_the_projects() -> None:
    settings = Settings().override(["ratchet.relative=0.5"])
    today = outcome(*(dataclasses.replace(f, value=0.005) if f is MAX else f for f in ALL))
    assert earlier(outcome(*ALL)).hold([today], settings)[0][0].state == "passed"


def test_an_artefact_that_vanished_fails() -> None:
    before = earlier(outcome(*ALL), outcome(*ALL, target="coreml"))
    outcomes, said = before.hold([outcome(*ALL)], Settings())
    assert [(o.name, o.state) for o in outcomes] == [("tflite int8", "passed"), ("coreml int8", "error")]
    assert "coreml.file is in the baseline and not in the folder" in outcomes[1].message
    assert said == []
    assert len(before.hold([outcome(*ALL)], Settings(), ("tflite",))[0]) == 1  # not asked for is not vanished


def test_what_is_new_passes_and_is_said() -> None:
    new = outcome(*ALL, target="onnx")
    outcomes, said = earlier(outcome(*ALL)).hold([outcome(*ALL), new], Settings())
    assert all(outcomes)
    assert said == ["onnx int8: the baseline has no figures of it."]
    extra = outcome(*ALL, dataclasses.replace(MAD, region="skin: tan", value=4.0, low=3.0, high=4.5))
    assert earlier(outcome(*ALL)).hold([extra], Settings()) == ([extra], [])


def test_what_cannot_run_today_is_said_and_left_as_it_is() -> None:
    gone = Outcome("tflite", "int8", "tflite.file", "0" * 64, "unavailable", "not installed")
    outcomes, said = earlier(outcome(*ALL)).hold([gone], Settings())
    assert outcomes == [gone]
    assert said == ["tflite int8: not held against the baseline, as it gave no figures today."]


def test_a_judged_figure_that_is_gone_is_said() -> None:
    outcomes, said = earlier(outcome(*ALL)).hold([outcome(*ALL[1:])], Settings())
    assert all(outcomes)
    assert said == ["tflite int8: judged in the baseline, not measured today: conversion max_abs."]


def test_a_figure_that_already_fails_keeps_its_own_limit() -> None:
    broken = dataclasses.replace(MAX, value=0.5, passed=False)
    found = earlier(outcome(*ALL)).hold([outcome(broken, *ALL[1:], state="gate")], Settings())[0][0]
    assert found.figures[0] == broken


def test_other_images_are_refused() -> None:
    with pytest.raises(InputError, match=r"old\.json: made on 32 images of holdout, this run is on 8 images of mine"):
        earlier().refuse({"name": "mine", "count": 8, "sha256": "def"})
    earlier().refuse(IMAGES)


def test_a_report_is_read(tmp_path: Path) -> None:
    path = tmp_path / "parity.json"
    report = earlier(outcome(*ALL)).report
    path.write_text(json.dumps(report.to_json()))
    found = baseline.read(path)
    assert found.report == report
    assert found.facts["path"] == "parity.json"
    assert len(found.facts["sha256"]) == 64
    for text, told in (("{", "cannot be read"), ("[]", "no parity report"), ("{}", "no parity report")):
        path.write_text(text)
        with pytest.raises(InputError, match=told):
            baseline.read(path)
    with pytest.raises(InputError, match="cannot be read"):
        baseline.read(tmp_path / "none.json")
