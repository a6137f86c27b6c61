"""One artefact's turn: open it in a process of its own, run it, judge it, and turn whatever happens into an outcome."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgemat.errors import EdgematError
from edgemat.files import sha256
from edgemat.verify.parity import conversion, isolate
from edgemat.verify.parity.report import CONVERSION, Figure, Outcome

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgemat.export._target import Alphas, Images
    from edgemat.verify.exported import Entry
    from edgemat.verify.parity.composite import Composite
    from edgemat.verify.parity.conversion import Converted, SharedReferences
    from edgemat.verify.parity.images import ParitySet
    from edgemat.verify.parity.limits import Limits
    from edgemat.verify.parity.quality import Quality
    from edgemat.verify.parity.settings import Settings

logger = logging.getLogger(__name__)
_NAMED = 3
"""Figures that a message names at most."""


class Done(NamedTuple):
    """What became of one artefact.

    Attributes:
        outcome: Its figures, or why there are none.
        codes: Its alpha of the set's images, uint8, (N, H, W); None where it gave none that can be shown.
        seconds: Wall time of its turn.
    """

    outcome: Outcome
    codes: npt.NDArray[np.uint8] | None
    seconds: float


@dataclass
class Measures:
    """Ground truth and composite space, measured once for all artefacts whose alpha is the same to the bit."""

    quality: Quality
    composite: Composite
    _known: dict[tuple[str, str], tuple[Figure, ...]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def figures(self, alphas: Alphas, limits: Limits) -> tuple[Figure, ...]:
        """Return the figures of one artefact's alpha of everything that was run, float32, (N, H, W)."""
        key = hashlib.sha256(alphas.tobytes()).hexdigest(), repr((limits.quality, limits.composite))
        with self._lock:
            known = self._known.get(key)
        if known is None:
            known = (
                *self.quality.figures(alphas, limits.quality),
                *self.composite.figures(alphas, limits.composite),
            )
            with self._lock:
                self._known[key] = known
        return known


@dataclass(frozen=True)
class Ground:
    """What all turns share.

    Attributes:
        parity_set: What artefacts are run on.
        to_run: Its images, then its clips' frames.
        references: What conversion is compared with, on the images.
        measures: What precision is compared by.
        settings: Limits and times.
        on_progress: Called with a short text before each step.
    """

    parity_set: ParitySet
    to_run: Images
    references: SharedReferences
    measures: Measures
    settings: Settings
    on_progress: Callable[[str], None]


def run(entry: Entry, ground: Ground, required: bool) -> Done:
    """Run and judge one artefact; never raises because of it.

    Args:
        entry: The artefact.
        ground: What all turns share.
        required: Whether not being able to run it is a failure.
    """
    start = time.perf_counter()
    target = entry.target
    blank = Outcome(
        target.name, entry.precision, entry.path.name, sha256(entry.path), "error",
        changed=entry.changed, required=required, proves=target.proves,
    )  # fmt: skip
    missing = target.unavailable()
    if missing is not None:
        outcome = replace(blank, state="unavailable", message=f"{missing.reason}; {missing.install}")
        return Done(outcome, None, 0.0)
    shown: list[Alphas] = []
    try:
        outcome = _judged(entry, ground, blank, shown)
    except EdgematError as error:
        outcome = replace(blank, state=isolate.state(error), message=str(error))
    except Exception as error:  # a back end may give anything back; the others still deserve their turn
        logger.debug("%s", entry.name, exc_info=True)
        message = f"{type(error).__name__}: {error} (a defect of edgemat or of the back end)"
        outcome = replace(blank, message=message)
    codes = None
    if shown:
        with np.errstate(invalid="ignore"):
            codes = np.round(np.clip(np.nan_to_num(shown[0]), 0, 1) * 255).astype(np.uint8)
    return Done(outcome, codes, time.perf_counter() - start)


def _judged(entry: Entry, ground: Ground, blank: Outcome, shown: list[Alphas]) -> Outcome:
    """Return the outcome of an artefact that can be run; what it gave is shown even where judging fails."""
    limits, count = ground.settings.limits(entry.target.name, entry.precision), len(ground.parity_set.images)
    ground.on_progress(f"{entry.name}: run")
    with isolate.Isolated(entry, ground.settings.timeout_seconds) as runner:
        alphas = runner.run(ground.to_run)
        shown.append(alphas[:count])
        ground.on_progress(f"{entry.name}: compare")
        found = conversion.judge(entry, runner, alphas[:count], ground.references, limits.conversion)
    outcome = replace(blank, findings=found.findings, tensor=found.tensor)
    if found.unusable:
        return replace(outcome, message=found.unusable)
    figures = found.figures + ground.measures.figures(alphas, limits)
    failed = [figure for figure in figures if not figure.passed]
    if not failed:
        return replace(outcome, state="passed", figures=figures)
    return replace(outcome, state="gate", figures=figures, message=_message(entry, failed, found))


def _message(entry: Entry, failed: Sequence[Figure], found: Converted) -> str:
    """Say what failed, which of the two questions that answers, and what to do."""
    named = "; ".join(map(str, failed[:_NAMED])) + (f"; and {len(failed) - _NAMED} more" if failed[_NAMED:] else "")
    if any(figure.question == CONVERSION for figure in failed):
        return f"a conversion bug: {named}. Look closer with: edgemat bisect {entry.path}"
    return (
        f"converted rightly, but its precision costs too much: {named}. Take another precision, or see which layers "
        "cost most with: edgemat quantize --sensitivity"
    )
