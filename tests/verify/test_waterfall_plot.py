"""The picture of an error budget: the same bytes for the same budget, and every step in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgemat.errors import InputError
from edgemat.verify import waterfall_plot
from edgemat.verify.bootstrap import Interval
from edgemat.verify.waterfall import Step, Waterfall
from edgemat.verify.waterfall_scores import Figure

FACTS = {"name": "holdout", "count": 32, "faces": 32, "clips": 0, "frames": 0, "truth": True, "draw": 0}


def figure(value: float, change: Interval | None = None) -> Figure:
    percent = None if change is None else Interval(*(100 * end / 26 for end in (change.value, change.low, change.high)))
    return Figure("mad", "frame", 32, Interval(value, value - 2, value + 2), change, percent, percent)


def budget() -> Waterfall:
    steps = (
        Step("torch", "float", figures=(figure(26.0),)),
        Step("onnx trunk", "float", False, "torch", "conversion", (figure(26.0, Interval(0.0, 0.0, 0.0)),), 0.0),
        Step("onnx fp32", "float", True, "onnx trunk", "runtime", (figure(26.5, Interval(0.5, 0.2, 0.8)),), 0.7),
        Step("coreml fp32", "float", True, kind="runtime", missing="coremltools not installed"),
    )
    return Waterfall(steps, ("mad",), FACTS)


@pytest.mark.parametrize("suffix", waterfall_plot.SUFFIXES)
def test_the_same_budget_gives_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        waterfall_plot.plot(budget(), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_every_step_is_named_and_what_was_not_run_says_so(tmp_path: Path) -> None:
    waterfall_plot.plot(budget(), tmp_path / "a.svg")
    text = re.sub(r"\s+", " ", (tmp_path / "a.svg").read_text())
    for word in (
        "torch: where the chain begins",
        "onnx fp32",
        "coreml fp32",
        "not run",
        "+1.92 %",
        "0.00 %",
        "32 faces",
    ):
        assert f"<!-- {word}" in text or word in text
    assert "#d55e00" in text  # worse, and certainly so


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a name in \.svg, \.png, \.pdf"):
        waterfall_plot.plot(budget(), tmp_path / "a.gif")
    with pytest.raises(InputError, match="nothing to draw: 32 images"):
        waterfall_plot.plot(Waterfall(budget().steps, (), FACTS), tmp_path / "a.svg")
