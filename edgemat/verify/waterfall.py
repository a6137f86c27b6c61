"""The error budget: what each step between a student in torch and a backend costs, against ground truth."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgemat.errors import InputError
from edgemat.metrics import METRICS
from edgemat.verify.bootstrap import SEED, Values
from edgemat.verify.crossed import RESAMPLES
from edgemat.verify.evaluate import FRAME
from edgemat.verify.paired import DTSSD, Limit, percents
from edgemat.verify.waterfall_chain import KINDS, Plan, plans
from edgemat.verify.waterfall_scores import Alphas, Figure, Table, Truth, broken

if TYPE_CHECKING:
    from edgemat.verify.exported import Exported
    from edgemat.verify.parity.images import ParitySet

SCHEMA_VERSION = 1
METRICS_SHOWN = ("mad", "grad")
"""What is measured where nothing else is asked for."""


@dataclass(frozen=True)
class Step:
    """One step of the budget.

    Attributes:
        name: Unique; an artefact's is its target and precision.
        chain: ``float``, or the scheme of the integer grid.
        artefact: Whether it is one of the folder's, and not a step on the way.
        after: The step that it is compared with: the nearest before it that ran. Empty for a start.
        kind: What changes from there: key of `edgemat.verify.waterfall_chain.KINDS`.
        figures: By metric and region; none where it was not run, or where there is no truth.
        moved: Mean absolute difference of alpha from the step before (x 1e3, as MAD): what the step does at all, for
            better or worse. None for a start, or where it was not run.
        missing: Why it was not run; empty where it was.
        note: What a reader must know of it.
    """

    name: str
    chain: str
    artefact: bool = False
    after: str = ""
    kind: str = "start"
    figures: tuple[Figure, ...] = ()
    moved: float | None = None
    missing: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse a step that both ran and did not."""
        if self.kind not in KINDS:
            raise ValueError(f"step {self.name}: kind {self.kind!r}, expected one of {', '.join(KINDS)}")
        if self.missing and (self.figures or self.moved is not None):
            raise ValueError(f"step {self.name}: {len(self.figures)} figures, although not run: {self.missing}")

    def figure(self, metric: str, region: str = FRAME) -> Figure | None:
        """Return one figure; None where it was not measured."""
        return next((f for f in self.figures if (f.metric, f.region) == (metric, region)), None)

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        return {
            "name": self.name,
            "chain": self.chain,
            "artefact": self.artefact,
            "after": self.after,
            "kind": self.kind,
            "what": KINDS[self.kind],
            "moved": self.moved,
            "missing": self.missing,
            "note": self.note,
            "figures": [figure.to_json() for figure in self.figures],
        }


@dataclass(frozen=True)
class Waterfall:
    """The whole budget; true when every limit is kept.

    Attributes:
        steps: Chain by chain, each step after the one that it is compared with.
        metrics: What was measured, in order; nothing where there is no truth.
        images: Facts of the images, as `edgemat.verify.parity.images.ParitySet.facts` has them.
        broken: Sentences on limits that are not kept.
    """

    steps: tuple[Step, ...]
    metrics: tuple[str, ...]
    images: Mapping[str, Any]
    broken: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether every limit is kept."""
        return not self.broken

    def step(self, name: str) -> Step:
        """Return one step.

        Raises:
            InputError: There is none of this name.
        """
        for step in self.steps:
            if step.name == name:
                return step
        raise InputError(f"waterfall: no step {name!r}; there are {', '.join(step.name for step in self.steps)}")

    @property
    def said(self) -> str:
        """What was measured on, in words."""
        facts = self.images
        drawn = f", draw {facts['draw']}" if "draw" in facts else ""
        clips = f", {facts['clips']} clips of {facts['frames']} frames" if facts["clips"] else ""
        truth = "" if facts["truth"] else "; no truth, so only how far each step moves alpha"
        return f"{facts['count']} images of {facts['faces']} faces, {facts['name']}{drawn}{clips}{truth}"

    def rows(self) -> tuple[tuple[str, ...], ...]:
        """Return one row of text cells a step, under `columns`."""
        return tuple(tuple(_cells(step, self.metrics)) for step in self.steps)

    def columns(self) -> tuple[str, ...]:
        """Return the heads of `rows`."""
        heads = [cell for key in self.metrics for cell in (METRICS[key].name, "change")]
        return ("chain", "step", "after", *heads, "moved")

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values, with ``schema_version``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "passed": bool(self),
            "images": dict(self.images),
            "metrics": {key: {"name": METRICS[key].name, "unit": METRICS[key].unit} for key in self.metrics},
            "bootstrap": {"seed": SEED, "resamples": RESAMPLES, "level": 0.95, "drawn": "faces, paired"},
            "steps": [step.to_json() for step in self.steps],
            "broken": list(self.broken),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Waterfall:
        """Read what `to_json` returned.

        Raises:
            InputError: It is of another version, or not whole.
        """
        version = document.get("schema_version")
        if version != SCHEMA_VERSION:
            raise InputError(f"waterfall: schema_version {version!r}, expected {SCHEMA_VERSION}; run edgemat waterfall")
        try:
            return cls(
                tuple(_step(step) for step in document["steps"]),
                tuple(document["metrics"]),
                dict(document["images"]),
                tuple(document["broken"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"waterfall: not whole ({error!r}); run edgemat waterfall again") from error


def _step(stated: Mapping[str, Any]) -> Step:
    figures = tuple(Figure.from_json(figure) for figure in stated["figures"])
    names = ("name", "chain", "artefact", "after", "kind", "moved", "missing", "note")
    return Step(**{name: stated[name] for name in names}, figures=figures)


def _cells(step: Step, metrics: Sequence[str]) -> Iterator[str]:
    yield from (step.chain, step.name, step.after)
    for key in metrics:
        figure = step.figure(key)
        if figure is None:
            yield from ("not run" if step.missing else "-", "")
            continue
        change = "" if figure.change is None else f"{figure.change.value:+.3g}"
        yield from (f"{figure.value.value:.4g}", change if figure.percent is None else percents(figure.percent))
    moved = "not run" if step.missing else ""
    yield moved if step.moved is None else f"{step.moved:.3g}"


def waterfall(
    exported: Exported,
    images: ParitySet,
    metrics: Sequence[str] = METRICS_SHOWN,
    weights: Sequence[Path] = (),
    gate: Sequence[Limit] = (),
    on_progress: Callable[[str], None] = lambda _: None,
) -> Waterfall:
    """Run every step of an export folder on the same images and say what each costs.

    Each step is compared with the one before it, image by image; an interval draws the same faces for both. A step that
    cannot be run is named, and what follows is compared with the nearest step before it that ran.

    Args:
        exported: `edgemat.verify.exported.read`.
        images: At the export's size (`edgemat.verify.parity.images.load`). Without truth, a step only shows how far it
            moves alpha.
        metrics: Keys of image metrics (`edgemat.metrics.METRICS`); where there are clips, dtSSD is added.
        weights: Students that the folder was made from, for the steps in torch; the shipped ones where none is given.
        gate: How much worse than the first step of its chain an artefact may be, with 95 % confidence. An artefact that
            was not run keeps no limit.
        on_progress: Called with a step's name before it runs.

    Raises:
        InputError: Images of another size, an unknown metric, weights of another network, nothing that could be run, or
            a limit on a figure that is not measured.
    """
    truth = Truth(images, metrics)
    _refuse(exported, images, metrics, truth, gate)
    done = _Done({}, {}, {}, {})
    with tempfile.TemporaryDirectory() as folder:
        found = plans(exported, weights, Path(folder))
        for plan in found:
            on_progress(plan.name)
            alphas, done.missing[plan.name] = plan.run(images.to_run)
            if alphas is not None:
                still, moving = images.split(alphas)
                done.add(plan, still, truth.measure(still, moving))
    if not done.scores:
        why = "; ".join(f"{name}: {missing}" for name, missing in done.missing.items())
        raise InputError(f"{exported.folder}: no step could be run: {why}")
    figures = truth.figures(done.scores, done.after)
    steps = tuple(done.step(plan, figures.get(plan.name, ())) for plan in found)
    artefacts = {step.name: (step.figures, step.missing) for step in steps if step.artefact}
    return Waterfall(steps, truth.metrics, dict(images.facts), tuple(broken(artefacts, gate)))


@dataclass(frozen=True)
class _Done:
    """What has been run so far, by step.

    Attributes:
        alphas: Of the images.
        scores: Of images and clips.
        after: The step before; empty for a start.
        missing: Why a step was not run; empty where it was.
    """

    alphas: dict[str, Alphas]
    scores: dict[str, dict[Table, Values]]
    after: dict[str, str]
    missing: dict[str, str]

    def add(self, plan: Plan, alpha: Alphas, scores: dict[Table, Values]) -> None:
        self.after[plan.name] = next((name for name in plan.before if name in self.alphas), "")
        self.alphas[plan.name], self.scores[plan.name] = alpha, scores

    def step(self, plan: Plan, figures: tuple[Figure, ...]) -> Step:
        after, moved = self.after.get(plan.name, ""), None
        if after:
            difference = self.alphas[plan.name].astype(np.float64) - self.alphas[after]
            moved = float(np.abs(difference).mean()) * 1e3
        kind, missing = plan.before.get(after, "start"), self.missing[plan.name]
        if missing:
            kind = next(iter(plan.before.values()), "start")  # what it would have shown
        return Step(plan.name, plan.chain, plan.artefact, after, kind, figures, moved, missing, plan.note)


def _refuse(exported: Exported, images: ParitySet, metrics: Sequence[str], truth: Truth, gate: Sequence[Limit]) -> None:
    trunk = exported.trunks.any()
    height, width = images.images.shape[1:3]
    if (height, width) != (trunk.height, trunk.width):
        raise InputError(f"waterfall: found images of {height}x{width}, expected {trunk.height}x{trunk.width}")
    known = [key for key, metric in METRICS.items() if not metric.temporal]
    for key in metrics:
        if key not in known:
            raise InputError(f"waterfall: no metric {key!r} of images; there are {', '.join(known)}")
    for limit in gate:
        if limit.metric not in truth.metrics or (limit.metric == DTSSD and limit.region != FRAME):
            found = ", ".join(truth.metrics) or "images without truth"
            raise InputError(f"--gate {limit}: not measured here; found {found}")
