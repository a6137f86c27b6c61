"""Draw an error budget: a bar a step, from where the step before ended to where this one ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import InputError
from edgemat.files import atomic_path
from edgemat.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from edgemat.verify.waterfall import Step, Waterfall
    from edgemat.verify.waterfall_scores import Figure

SUFFIXES = (".svg", ".png", ".pdf")
"""Endings of a picture's name."""
_COLOURS = {"better": "#0072b2", "worse": "#d55e00", "same": "#8a8a8a"}
"""Blue, vermilion and grey: apart for all common kinds of colour vision (Okabe and Ito, 2008)."""
_MEANS = {"better": "better", "worse": "worse", "same": "no difference beyond chance"}
_INK, _PALE, _BAND = "#222222", "#777777", "#f3f3f0"
_ROW, _HEIGHT = 0.26, 0.62
"""Inches a row, and the share of it that a bar fills."""
_BESIDE = ("axes fraction", "data")
"""Coordinates of a text: across the panel, and at a row."""


def plot(budget: Waterfall, path: str | os.PathLike[str]) -> None:
    """Write one panel a metric, rows of steps beside each other: where each begins, ends, and within what interval.

    The same budget gives the same bytes.

    Args:
        budget: At least one step that ran.
        path: The picture; its ending, one of `SUFFIXES`, says of which kind.

    Raises:
        InputError: Another ending, or nothing was measured.
        OutputError: The file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    kind = Path(path).suffix
    if kind not in SUFFIXES:
        raise InputError(f"{path}: expected a name in {', '.join(SUFFIXES)}")
    if not budget.metrics:
        raise InputError(f"{path}: nothing to draw: {budget.said}")
    with mpl.rc_context({"svg.hashsalt": "edgemat", "font.size": 9, "text.color": _INK, "font.family": "DejaVu Sans"}):
        size = (3.0 + 4.6 * len(budget.metrics), 1.9 + _ROW * len(budget.steps))
        canvas = Canvas(figsize=size, dpi=110, layout="constrained", facecolor="white")
        panels = canvas.subplots(1, len(budget.metrics), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, budget.metrics, strict=True):
            _panel(axes, budget, metric)
        _name_rows(panels[0], budget)
        _legend(panels[0])
        canvas.suptitle(_title(budget), x=0.01, ha="left", fontsize=10)
        undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}[kind]
        with atomic_path(path) as temporary:
            canvas.savefig(temporary, format=kind[1:], metadata=undated)


def _title(budget: Waterfall) -> str:
    return f"Error budget: {budget.said}. Lines: 95 % intervals of each change, paired over faces. Axes cut."


def _panel(axes: Axes, budget: Waterfall, metric: str) -> None:
    figures = {step.name: step.figure(metric) for step in budget.steps}
    for row, step in enumerate(budget.steps):
        figure = figures[step.name]
        if figure is None:
            axes.annotate(
                "not run", (0.5, row), xycoords=_BESIDE, ha="center", va="center", color=_PALE, style="italic"
            )
            continue
        before = figures.get(step.after)
        if before is None or figure.change is None:
            axes.plot([figure.value.value], [row], "D", color=_INK, markersize=5, zorder=4)
            axes.axvline(figure.value.value, color=_PALE, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
            _say(axes, row, f"{figure.value.value:.4g}")
            continue
        _bar(axes, row, before, figure)
        above = next(i for i, other in enumerate(budget.steps) if other.name == step.after)
        axes.plot([before.value.value] * 2, [above, row], color="#bbbbbb", linewidth=0.8, zorder=1)
    _bands(axes, budget)
    name, unit = METRICS[metric].name, METRICS[metric].unit
    arrow = "lower is better" if METRICS[metric].better == "lower" else "higher is better"
    axes.set_xlabel(f"{name}, {unit} ({arrow})" if unit else f"{name} ({arrow})")
    axes.set_ylim(len(budget.steps) - 0.4, -0.6)
    axes.margins(x=0.05)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _bar(axes: Axes, row: int, before: Figure, own: Figure) -> None:
    assert own.change is not None
    start, colour = before.value.value, _COLOURS[own.verdict]
    axes.barh(row, own.change.value, _HEIGHT, left=start, color=colour, edgecolor=colour, linewidth=1.2, zorder=2)
    ends = [start + own.change.low, start + own.change.high]
    axes.plot(ends, [row, row], color=_INK, linewidth=1.0, marker="|", markersize=5, zorder=3)
    _say(axes, row, "" if own.percent is None else _percent(own.percent.value), colour)


def _percent(value: float) -> str:
    """Return a change without a sign where it rounds to nothing."""
    return "0.00 %" if abs(value) < 0.005 else f"{value:+.2f} %"


def _say(axes: Axes, row: int, text: str, colour: str = _INK) -> None:
    """Write a row's figure beside the panel's right edge."""
    axes.annotate(text, (1.01, row), xycoords=_BESIDE, ha="left", va="center", color=colour)


def _bands(axes: Axes, budget: Waterfall) -> None:
    """Lay a band under every second chain."""
    chains = list(dict.fromkeys(step.chain for step in budget.steps))
    for row, step in enumerate(budget.steps):
        if chains.index(step.chain) % 2:
            axes.axhspan(row - 0.5, row + 0.5, color=_BAND, zorder=0, linewidth=0)


def _name_rows(axes: Axes, budget: Waterfall) -> None:
    axes.set_yticks(range(len(budget.steps)), [_label(step) for step in budget.steps])
    for tick, step in zip(axes.get_yticklabels(), budget.steps, strict=True):
        tick.set_color(_PALE if step.missing else _INK)
        tick.set_fontweight("normal" if step.artefact else "bold")


def _label(step: Step) -> str:
    from edgemat.verify.waterfall_chain import KINDS

    return step.name if step.artefact else f"{step.name}: {KINDS[step.kind]}"


def _legend(axes: Axes) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=_COLOURS[key], label=_MEANS[key]) for key in _MEANS]
    axes.figure.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False)
