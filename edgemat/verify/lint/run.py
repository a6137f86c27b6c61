"""Lint artefacts: read what they hold, measure ranges once a network, ask who runs them, apply every rule."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgemat.errors import EdgematError, InputError
from edgemat.verify.lint import measure, placement, sources
from edgemat.verify.lint.facts import NEVER, Facts, Measured, Placement
from edgemat.verify.lint.finding import LEVELS, Finding, Linted, LintReport
from edgemat.verify.lint.rules import get, rules

if TYPE_CHECKING:
    from edgemat.calib_data import CalibrationSet
    from edgemat.inspection import OpFact
    from edgemat.verify.exported import Entry, Exported

    Progress = Callable[[str], None]

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class _Lint:
    """One run: what was read of each trunk, and measured, is kept for all that were made from it."""

    images: CalibrationSet | None
    on_progress: Progress
    trunks: dict[Path, Facts] = field(default_factory=dict)
    measured: dict[tuple[Path, str], Measured] = field(default_factory=dict)

    def folder(self, found: Exported) -> Iterator[tuple[Linted, Facts]]:
        """Yield the artefacts of an export folder, then the folder itself."""
        for entry in found.entries:
            yield self.entry(entry)
        gone = tuple(f"{f.target} {f.precision}: {f.state}: {f.message.splitlines()[0]}" for f in found.failed)
        if gone:
            yield Linted(".", "folder"), Facts(file=".", artefact="folder", form="folder", gone=gone)

    def entry(self, entry: Entry) -> tuple[Linted, Facts]:
        """Return what is known of an artefact of an export folder."""
        self.on_progress(f"{entry.path.name}: read")
        unknown = _unread(entry.target.name)
        try:
            facts = sources.read(entry.path, entry.target.name)
        except EdgematError as error:  # the others of the folder still deserve their turn
            why = str(error).splitlines()[0]
            broken = Facts(entry.path.name, entry.name, "unreadable", changed=entry.changed, broken=why)
            return Linted(entry.path.name, entry.name), broken
        trunk = self._trunk(entry.trunk.path)
        facts = dataclasses.replace(
            facts,
            file=entry.path.name,
            artefact=entry.name,
            trunk=trunk,
            grid=entry.trunk.grid if _on_grid(entry) else None,
            lenience=getattr(entry.gate, "scales", 0.0),
            changed=entry.changed,
        )
        if _on_grid(entry) and (read := entry.target.scales) is not None:
            none: Mapping[str, tuple[float, int]] = {}
            stated = self._asked(lambda: read(entry.path).activations, none, unknown)
            facts = dataclasses.replace(facts, scales=stated)
        if entry.changed:
            silent: tuple[str, ...] = ()
            said = self._asked(lambda: entry.target.check(entry.path), silent, unknown)
            facts = dataclasses.replace(facts, complaints=said)
        facts = self._judged(facts, entry.path, entry.target.name, unknown)
        facts = dataclasses.replace(facts, measured=self._ranges(entry, facts))
        return _linted(facts, unknown), facts

    def bare(self, path: Path, target: str) -> tuple[Linted, Facts]:
        """Return what is known of a file that lies in no export folder."""
        self.on_progress(f"{path.name}: read")
        unknown = _unread(target)
        facts = self._judged(sources.read(path, target), path, target, unknown)
        if self.images is not None and (facts.half != NEVER or sources.on_codes(facts)):
            self.on_progress(f"{path.name}: run on the images")
            images = self.images
            ranges = self._asked(lambda: sources.measured(facts, path, target, images), None, unknown)
            facts = dataclasses.replace(facts, measured=ranges)
        return _linted(facts, unknown), facts

    def _judged(self, facts: Facts, path: Path, target: str, unknown: list[str]) -> Facts:
        """Return the facts with what runtimes and tables say of them."""
        from edgemat import export

        nowhere: tuple[Placement, ...] = ()
        none: tuple[OpFact, ...] = ()
        places = self._asked(lambda: placement.placements(facts, path, target), nowhere, unknown)
        if path.suffix == ".xml":
            islands = none
            if sources.on_codes(facts):
                unknown.append("not asked what OpenVINO computes in float: give a folder with model.xml and model.bin")
        else:
            islands = self._asked(lambda: export.get(target).inspect(path).islands, none, unknown)
        return dataclasses.replace(facts, placements=places, islands=islands)

    def _trunk(self, path: Path) -> Facts:
        if path not in self.trunks:
            from edgemat.verify.lint.readers import onnx

            self.trunks[path] = onnx.read(path)
        return self.trunks[path]

    def _ranges(self, entry: Entry, facts: Facts) -> Measured | None:
        """Return what the float trunk's tensors are on the images, and the codes that its grid makes of them."""
        if self.images is None:
            return None
        path, scheme = entry.trunk.path, entry.target.scheme if entry.trunk.grid is not None else ""
        if (path, scheme) not in self.measured:
            from edgemat.export.onnx import OnnxRunner

            self.on_progress(f"{path.name}: run on the images")
            images = self.images.resized(entry.trunk.height, entry.trunk.width)
            grids = {}
            if entry.trunk.grid is not None:
                stated = {name: (p.scale, p.zero_point) for name, p in entry.trunk.grid.activations.items()}
                grids[scheme] = (stated, entry.trunk.grid.scheme.limits)
            with OnnxRunner(path) as runner:
                found = measure.measure(self._trunk(path), runner.trace, images, grids)
            self.measured |= {(path, key): value for key, value in found.items()}
        return self.measured[path, scheme if facts.grid is not None else ""]

    def _asked(self, ask: Callable[[], T], otherwise: T, unknown: list[str]) -> T:
        """Return an answer; where it cannot be had, note why and go on."""
        try:
            return ask()
        except EdgematError as error:
            unknown.append(str(error).splitlines()[0])
        except ModuleNotFoundError as error:
            unknown.append(f"{error.name} is not installed; see edgemat doctor")
        except Exception as error:  # a backend may raise anything; the other rules still deserve their turn
            logger.debug("a lint could not ask", exc_info=True)
            unknown.append(f"{type(error).__name__}: {error}")
        return otherwise


def _on_grid(entry: Entry) -> bool:
    """Return whether an artefact computes on the grid, rather than only storing codes of weights."""
    from edgemat.export._target import IntegerGate

    return isinstance(entry.gate, IntegerGate)


def _unread(target: str) -> list[str]:
    """Return what cannot be told of an artefact that no reader knows."""
    if sources.knows(target):
        return []
    return [
        f"no reader knows the format of target {target}: tensors, resizes, placement and metadata were not looked at"
    ]


def _linted(facts: Facts, unknown: Sequence[str]) -> Linted:
    images = facts.measured.images if facts.measured is not None else 0
    return Linted(facts.file, facts.artefact, images, tuple(dict.fromkeys(unknown)))


def lint(
    paths: Sequence[Path],
    images: CalibrationSet | None = None,
    ignore: Collection[str] = (),
    on_progress: Progress = lambda _: None,
) -> LintReport:
    """Apply every rule to artefacts.

    Args:
        paths: Artefacts of an export folder, bare .onnx, .tflite, .mlpackage or .xml files, or whole export folders.
        images: To measure ranges on; None leaves the rules about ranges out.
        ignore: Ids or names of rules to leave out; their findings are counted.
        on_progress: Called with a short text before each step.

    Raises:
        InputError: A path is none of these, or a rule to ignore does not exist.
    """
    if not paths:
        raise InputError("no artefact given; give an export folder, or an .onnx, .tflite, .mlpackage or .xml")
    hidden = {get(word).id for word in ignore}
    run = _Lint(images, on_progress)
    linted: list[Linted] = []
    findings: list[Finding] = []
    for path in paths:
        for about, facts in _of(run, path):
            prefix = _prefix(path, paths)
            facts = dataclasses.replace(facts, file=_named(prefix, facts.file))
            linted.append(dataclasses.replace(about, file=facts.file))
            findings += [finding for rule in rules() for finding in rule.findings(facts)]
    order = [about.file for about in linted]
    findings.sort(key=lambda f: (LEVELS.index(f.level), order.index(f.file), f.rule))
    shown = tuple(finding for finding in findings if finding.rule not in hidden)
    counted = Counter(finding.rule for finding in findings)
    applied = tuple(rule for rule in rules() if rule.id not in hidden)
    return LintReport(tuple(linted), shown, {rule: counted[rule] for rule in sorted(hidden)}, applied)


def _prefix(path: Path, paths: Sequence[Path]) -> str:
    """Return what to put before names: nothing for one path, its folder where several are looked at."""
    if len(paths) == 1:
        return ""
    return (path if sources.target_of(path) is None else path.parent).as_posix()


def _named(prefix: str, file: str) -> str:
    return f"{prefix}/{file}" if prefix not in ("", ".") else file


def _of(run: _Lint, path: Path) -> Iterator[tuple[Linted, Facts]]:
    """Yield what there is at a path."""
    from edgemat.verify import exported

    target = sources.target_of(path)
    if target is None:
        if not path.is_dir():
            raise InputError(
                f"{path}: no such artefact; expected an export folder, or a file or folder that ends in "
                f"{', '.join(sources.endings())}"
            )
        yield from run.folder(exported.read(path))
        return
    if not path.exists():
        raise InputError(f"{path}: not found; give an artefact, or make one with: edgemat export")
    try:
        entry = exported.find(path)
    except InputError:
        yield run.bare(path, target)
        return
    yield run.entry(entry)
