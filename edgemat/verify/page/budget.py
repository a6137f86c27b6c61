"""The error budget as a waterfall: every step's error, and what it adds to the step before."""

from __future__ import annotations

from edgemat.metrics import METRICS
from edgemat.verify import proof
from edgemat.verify.evaluate import FRAME, UNKNOWN
from edgemat.verify.page import charts
from edgemat.verify.page.charts import Bar, Block
from edgemat.verify.page.gather import Proof
from edgemat.verify.page.markup import Html, bullets, details, el, join, mark
from edgemat.verify.page.overview import absent
from edgemat.verify.parity.words import number
from edgemat.verify.waterfall import Step, Waterfall
from edgemat.verify.waterfall_chain import KINDS

_TONES = {"better": "good", "worse": "bad"}


def section(found: Proof) -> Html:
    """Return a chart a metric, of the whole frame; the band around edges folded."""
    budget = found.waterfall
    if budget is None:
        return absent(found, proof.WATERFALL)
    intro = el(
        "p",
        "Each row is one step on the way from training to a backend; its bar runs from the error of the step that it "
        "follows to its own. Green is a loss taken away, red one added, grey nothing that the faces could show. The "
        f"axis does not begin at zero. Measured on {budget.said}.",
    )
    open_, folded = [], []
    for metric in budget.metrics:
        open_.append(_chart(budget, metric, FRAME))
        folded.append(_chart(budget, metric, UNKNOWN))
    kept = [chart for chart in folded if chart]
    rest = details("The same in the unknown region, the band around edges", *kept) if kept else None
    moved = details("How far each step moves alpha, for better or worse", _moved(budget), opened=not open_)
    notes = [f"{step.name}: {step.note}" for step in budget.steps if step.note]
    notes += [f"{step.name}: not run: {step.missing}" for step in budget.steps if step.missing]
    broken = bullets(mark("bad", sentence) for sentence in budget.broken)
    return join([intro, broken, *open_, rest, moved, bullets(notes)])


def _chart(budget: Waterfall, metric: str, region: str) -> Html | None:
    shown = {step.name: figure for step in budget.steps if (figure := step.figure(metric, region)) is not None}
    if not shown:
        return None
    values = []
    for step in budget.steps:
        if (figure := shown.get(step.name)) is None:
            continue
        values.append(figure.value.value)
        before = shown.get(step.after)
        if before is not None and figure.change is not None:
            values += [before.value.value + figure.change.low, before.value.value + figure.change.high]
    unit = METRICS[metric].unit
    scale = charts.axis(values, "" if unit == "1" else f"({unit})", zero=False)
    chains = dict.fromkeys(step.chain for step in budget.steps)
    blocks = [
        Block(chain, [_bar(budget, s, metric, region) for s in budget.steps if s.chain == chain]) for chain in chains
    ]
    where = "whole frame" if region == FRAME else "unknown region"
    better = "less" if METRICS[metric].better == "lower" else "more"
    caption = f"{METRICS[metric].name}, {where}: {better} is better"
    return charts.chart(caption, ("step", METRICS[metric].name, METRICS[metric].name, "change"), scale, blocks)


def _moved(budget: Waterfall) -> Html:
    """Chart the mean difference of alpha from the step before: all that is known without truth."""
    scale = charts.axis([step.moved for step in budget.steps if step.moved is not None], "(1e-3)")
    bars: dict[str, list[Bar]] = {}
    for step in budget.steps:
        said = "not run" if step.missing else "start" if step.moved is None else number(step.moved)
        label = join([step.name, " ", el("small", KINDS[step.kind])])
        bars.setdefault(step.chain, []).append(Bar(label, (said,), step.moved, tone="idle"))
    blocks = [Block(chain, own) for chain, own in bars.items()]
    caption = "Mean difference of alpha from the step before (x 1e-3)"
    return charts.chart(caption, ("step", "moved", "moved"), scale, blocks)


def _bar(budget: Waterfall, step: Step, metric: str, region: str) -> Bar:
    label = join([step.name, " ", el("small", KINDS[step.kind])])
    figure = step.figure(metric, region)
    if figure is None:
        return Bar(label, ("not run" if step.missing else "-", ""))
    value = figure.value.value
    before = budget.step(step.after).figure(metric, region) if step.after else None
    if before is None or figure.change is None:
        return Bar(label, (number(value), "start"), dots=((value, "plain"),), title=step.name)
    tone = _TONES.get(figure.verdict, "idle")
    change = figure.change
    told, sign, places = (change, "", 6) if figure.percent is None else (figure.percent, " %", 2)
    middle, low, high = (_signed(end, places) for end in (told.value, told.low, told.high))
    interval = f"{middle}{sign} [{low}, {high}]"
    start = before.value.value
    return Bar(
        label,
        (number(value), interval),
        value,
        start,
        start + change.low,
        start + change.high,
        tone=tone,
        dots=((value, tone),),
        title=f"{step.name} after {step.after}: {figure.verdict}",
    )


def _signed(value: float, places: int) -> str:
    """Return a change with its sign and so many decimals at most: of per cents, faces tell no finer ones apart."""
    rounded = round(value, places) + 0.0
    return f"{rounded:+.3g}".replace("-", "\N{MINUS SIGN}") if rounded else "0"
