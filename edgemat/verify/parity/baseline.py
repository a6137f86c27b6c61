"""The ratchet: nothing that an earlier report judged may have become worse."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemat.errors import InputError
from edgemat.files import read_json, sha256
from edgemat.verify.parity.report import Figure, Outcome, ParityReport

if TYPE_CHECKING:
    from edgemat.verify.parity.limits import RatchetLimits
    from edgemat.verify.parity.settings import Settings

_AGAIN = "make it with: edgemat parity"


@dataclass(frozen=True)
class Baseline:
    """An earlier report.

    Every figure that it judged is held against the same figure of today: the same artefact, question, name and region.
    Today's may be worse by a slack (`edgemat.verify.parity.limits.RatchetLimits`), and, where it has an interval, by as
    much as the interval explains. A figure that is new is let pass; an artefact that vanished is a failure.

    Attributes:
        report: What it says.
        facts: Name and SHA-256 of its file, for today's report.
    """

    report: ParityReport
    facts: Mapping[str, Any]

    def refuse(self, images: Mapping[str, Any]) -> None:
        """Refuse to hold figures of other images against it.

        Args:
            images: Facts of today's set.

        Raises:
            InputError: They are other images.
        """
        then = self.report.images
        if then.get("sha256") != images.get("sha256"):
            raise InputError(
                f"--baseline {self.facts['path']}: made on {_named(then)}, this run is on {_named(images)}; figures of "
                "other images cannot be compared: give the same --images and --limit, or make the baseline again"
            )

    def hold(
        self, outcomes: Sequence[Outcome], settings: Settings, only: Collection[str] = ()
    ) -> tuple[list[Outcome], list[str]]:
        """Hold today's outcomes against the report.

        Args:
            outcomes: Today's.
            settings: How much worse a figure may be.
            only: Targets that are judged today; all if empty.

        Returns:
            The outcomes, with what fell behind failed and what vanished added; and what could not be held against it,
            a sentence each.
        """
        before = {(o.target, o.precision): o for o in self.report.outcomes if not only or o.target in only}
        found, said = [], []
        for outcome in outcomes:
            earlier = before.pop((outcome.target, outcome.precision), None)
            if earlier is None or not earlier.figures:
                said.append(f"{outcome.name}: the baseline has no figures of it.")
                found.append(outcome)
                continue
            if not outcome.figures:
                said.append(f"{outcome.name}: not held against the baseline, as it gave no figures today.")
                found.append(outcome)
                continue
            held, gone = _held(outcome, earlier, settings.limits(outcome.target, outcome.precision).ratchet)
            found.append(held)
            if gone:
                said.append(f"{outcome.name}: judged in the baseline, not measured today: {', '.join(gone)}.")
        return found + [_vanished(earlier) for earlier in before.values() if earlier.file], said


def read(path: Path) -> Baseline:
    """Read an earlier report, such as ``DIR/proof/parity.json`` of the last release.

    Raises:
        InputError: It cannot be read, or is no parity report.
    """
    document = read_json(path, _AGAIN)
    if not isinstance(document, dict):
        raise InputError(f"--baseline {path}: no parity report; {_AGAIN}")
    return Baseline(ParityReport.from_json(document, str(path)), {"path": path.name, "sha256": sha256(path)})


def _held(outcome: Outcome, earlier: Outcome, slack: RatchetLimits) -> tuple[Outcome, list[str]]:
    """Return an outcome whose figures are held against earlier ones, and the judged figures that are gone."""
    before = {figure.key: figure for figure in earlier.figures if figure.limit is not None}
    figures = [_figure(figure, before.pop(figure.key, None), slack) for figure in outcome.figures]
    behind = [new for new, old in zip(figures, outcome.figures, strict=True) if old.passed and not new.passed]
    if not behind:
        return outcome, list(before)
    named = "; ".join(map(str, behind[:3])) + (f"; and {len(behind) - 3} more" if behind[3:] else "")
    said = "\n".join(filter(None, [outcome.message, f"worse than the baseline: {named}"]))
    state = "gate" if outcome.state == "passed" else outcome.state
    return replace(outcome, state=state, figures=tuple(figures), message=said), list(before)


def _figure(figure: Figure, earlier: Figure | None, slack: RatchetLimits) -> Figure:
    """Return a figure, failed and with the ratchet's limit where it is worse than before."""
    if earlier is None or not figure.passed:
        return figure
    if figure.value is None or earlier.value is None:
        # None stands for the best of its kind (equal images have no PSNR): to lose that is for the limit to judge
        return figure
    sign = -1.0 if earlier.at_least else 1.0
    limit = earlier.value + sign * (slack.relative * abs(earlier.value) + _absolute(figure, slack))
    end = figure.high if earlier.at_least else figure.low
    nearest = figure.value if end is None else end  # the end that speaks for it
    if sign * figure.value <= sign * limit or sign * nearest <= sign * earlier.value:
        return figure
    note = f"the baseline has {earlier.value:.4g}"
    detail = f"{figure.detail}; {note}" if figure.detail else note
    return replace(figure, limit=limit, at_least=earlier.at_least, passed=False, detail=detail)


def _absolute(figure: Figure, slack: RatchetLimits) -> float:
    if figure.name.endswith("_abs"):
        return slack.alpha
    return {"%": slack.points, "dB": slack.decibels, "LSB": float(slack.lsb)}.get(figure.unit, 0.0)


def _vanished(earlier: Outcome) -> Outcome:
    message = f"{earlier.file} is in the baseline and not in the folder; export it again, or make the baseline again"
    return Outcome(earlier.target, earlier.precision, "", "", "error", message, proves=earlier.proves)


def _named(images: Mapping[str, Any]) -> str:
    return f"{images.get('count', '?')} images of {images.get('name', '?')}"
