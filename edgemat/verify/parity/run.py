"""Run every artefact of an export folder on a parity set, each in a process of its own, and judge it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgemat.errors import InputError
from edgemat.export._frame import machine
from edgemat.export._target import Trunk
from edgemat.files import sha256
from edgemat.verify.exported import Entry, Exported, Failed
from edgemat.verify.parity import conversion, job
from edgemat.verify.parity.composite import Composite
from edgemat.verify.parity.quality import Quality
from edgemat.verify.parity.report import Outcome, ParityReport
from edgemat.verify.parity.settings import ALL, Settings

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgemat.export._target import Alphas, Images
    from edgemat.verify.parity.baseline import Baseline
    from edgemat.verify.parity.images import ParitySet

    Oracle = Callable[[Sequence[Entry], Images, Callable[[str], None]], list[Outcome]]

AT_ONCE = 2
"""Artefacts that run at the same time; each may need half a gigabyte."""
_ASKED = 8
"""Images that an oracle is asked about: it is to agree, not to be measured."""


class Shown(NamedTuple):
    """What the pictures of a run are made of.

    Attributes:
        codes: By the artefact's name, its alpha of the set's images, uint8, (N, H, W).
        reference: The float network's, float32, (N, H, W).
    """

    codes: Mapping[str, npt.NDArray[np.uint8]]
    reference: Alphas


def judge(
    exported: Exported,
    parity_set: ParitySet,
    settings: Settings | None = None,
    *,
    require: Sequence[str] = (),
    baseline: Baseline | None = None,
    only: Collection[str] = (),
    oracle: Oracle | None = None,
    command: str = "",
    on_progress: Callable[[str], None] = lambda _: None,
) -> tuple[ParityReport, Shown]:
    """Judge every artefact of an export folder.

    Two questions are kept apart. *Conversion*: is it what its trunk says, at the same precision? *Quantization*: what
    does that precision cost on ground truth, and in the frame that a user sees, beside the float network? An artefact
    that crashes, hangs or returns nonsense is an outcome, and the others finish.

    Args:
        exported: The folder.
        parity_set: What to run on, at the trunks' size.
        settings: Limits and times; the defaults if None.
        require: Targets that have to be run, beside those that the settings name; ``all`` for every one that the folder
            holds.
        baseline: An earlier report that nothing may fall behind.
        only: Targets to judge; all if empty.
        oracle: Asked for a second opinion on every artefact that could be run, such as `edgemat.verify.oracle.rows`;
            its rows are outcomes too.
        command: What was typed, for the report.
        on_progress: Called with a short text before each step.

    Returns:
        The report, and what its pictures are made of.

    Raises:
        InputError: The images have another size, a name is unknown, a limit is impossible, or the baseline was made on
            other images.
        BackendMissingError: What measures quality is not installed.
    """
    settings = settings or Settings()
    start, seconds = time.perf_counter(), dict[str, float]()
    entries = [entry for entry in exported.entries if not only or entry.target.name in only]
    failed = [fail for fail in exported.failed if not only or fail.target in only]
    required = _required((*settings.require, *require), entries, failed)
    _refuse(exported, parity_set, entries, settings, only)
    if baseline is not None:
        baseline.refuse(parity_set.facts)
    with tempfile.TemporaryDirectory() as folder:
        on_progress("reference: run and measure")
        ground, reference, unproven = _ground(exported, parity_set, settings, Path(folder), on_progress)
        seconds["reference"] = time.perf_counter() - start
        done = _all(entries, ground, required, exported.document)
    outcomes = [one.outcome for one in done]
    if oracle is not None:
        outcomes += oracle(_ran(entries, outcomes), parity_set.images[:_ASKED], on_progress)
    outcomes += [_not_made(fail, fail.target in required) for fail in failed]
    outcomes += [_absent(name) for name in sorted(required - {outcome.target for outcome in outcomes})]
    said = [*unproven, *_unproven(outcomes)]
    if baseline is not None:
        outcomes, more = baseline.hold(outcomes, settings, only)
        said += more
    seconds |= {one.outcome.name: one.seconds for one in done} | {"total": time.perf_counter() - start}
    report = ParityReport(
        tuple(outcomes), parity_set.facts, _network(exported.trunks.any()), settings.to_json(),
        machine([entry.target for entry in entries]), tuple(dict.fromkeys(said)),
        {} if baseline is None else baseline.facts, command, seconds,
    )  # fmt: skip
    codes = {one.outcome.name: one.codes for one in done if one.codes is not None}
    return report, Shown(codes, reference)


def _required(names: Iterable[str], entries: Sequence[Entry], failed: Sequence[Failed]) -> set[str]:
    """Return the targets that have to be run.

    Raises:
        InputError: No target has such a name.
    """
    from edgemat import export

    here = {entry.target.name for entry in entries} | {fail.target for fail in failed}
    found: set[str] = set()
    for name in names:
        if name == ALL:
            found |= here
        else:
            found.add(name if name in here else export.get(name).name)
    return found


def _refuse(
    exported: Exported, parity_set: ParitySet, entries: Sequence[Entry], settings: Settings, only: Collection[str]
) -> None:
    """Refuse what could not be judged, before anything is run."""
    trunk, size = exported.trunks.any(), parity_set.images.shape[1:3]
    if size != (trunk.height, trunk.width):
        raise InputError(
            f"the images are {size[0]}x{size[1]}, the artefacts of {exported.folder} take {trunk.height}x{trunk.width}"
        )
    here = {entry.target.name for entry in exported.entries} | {fail.target for fail in exported.failed}
    for name in only:
        if name not in here:
            raise InputError(f"--targets {name}: {exported.folder} holds {', '.join(sorted(here)) or 'none'}")
    for entry in entries:
        conversion.gate(entry, settings.limits(entry.target.name, entry.precision).conversion)


def _ground(
    exported: Exported, parity_set: ParitySet, settings: Settings, folder: Path, on_progress: Callable[[str], None]
) -> tuple[job.Ground, Alphas, list[str]]:
    """Run the float network, and prepare what all turns share; return that, its alpha, and what is not proven."""
    plain, said = exported.trunks.plain, list[str]()
    if plain is None:
        plain = exported.trunks.any()
        said.append(
            "The float network was not exported: what precision costs was measured beside the quantized network's own "
            "graph, computed in float. Export float weights too, with: edgemat export --precision all"
        )
    to_run = parity_set.to_run
    reference = conversion.SharedReferences(to_run, folder).plain(plain)
    quality = Quality(parity_set, reference)
    measures = job.Measures(quality, Composite(parity_set, reference))
    references = conversion.SharedReferences(parity_set.images, folder)
    ground = job.Ground(parity_set, to_run, references, measures, settings, on_progress)
    return ground, reference[: len(parity_set.images)], [*said, *quality.not_proven]


def _all(
    entries: Sequence[Entry], ground: job.Ground, required: Collection[str], document: Mapping[str, Any]
) -> list[job.Done]:
    """Return every artefact's turn, in the export's order; the slowest begin."""
    took = {(r["target"], r["precision"]): r.get("run_seconds", 0.0) for r in document.get("results", ())}
    order = sorted(entries, key=lambda entry: -took.get((entry.target.name, entry.precision), 0.0))
    pool = ThreadPoolExecutor(min(AT_ONCE, os.cpu_count() or 1))
    try:
        turns = {id(e): pool.submit(job.run, e, ground, e.target.name in required) for e in order}
        return [turns[id(entry)].result() for entry in entries]
    finally:  # an interrupt: what has not begun never does
        pool.shutdown(cancel_futures=True)


def _ran(entries: Sequence[Entry], outcomes: Sequence[Outcome]) -> list[Entry]:
    """Return the artefacts that gave an answer: one that crashed its process is not opened in this one."""
    return [e for e, o in zip(entries, outcomes, strict=True) if o.state in ("passed", "gate")]


def _not_made(fail: Failed, required: bool) -> Outcome:
    """Return the outcome of what the export could not make."""
    if fail.state == "unavailable":
        return Outcome(fail.target, fail.precision, "", "", "unavailable", fail.message, required=required)
    message = f"the export made no artefact: {fail.message}"
    return Outcome(fail.target, fail.precision, "", "", "error", message, required=required)


def _absent(name: str) -> Outcome:
    """Return the outcome of a required target that the folder does not hold."""
    from edgemat import export

    message = f"required, but not in the folder; make it with: edgemat export --target {name}"
    return Outcome(name, export.get(name).default_precision, "", "", "unavailable", message, required=True)


def _unproven(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Say what a reader must not conclude of these outcomes, precisions of one target that lack the same in one."""
    absent: dict[tuple[str, str], list[str]] = {}
    for outcome in outcomes:
        if outcome.state == "unavailable":
            absent.setdefault((outcome.target, outcome.message.splitlines()[0]), []).append(outcome.precision)
        elif outcome.changed:
            yield f"{outcome.name} was judged as it lies there: its bytes are not those that the export wrote."
    for (target, reason), precisions in absent.items():
        yield f"{target} {', '.join(precisions)} was not run: {reason}."


def _network(trunk: Trunk) -> dict[str, Any]:
    info = trunk.info
    return {
        "name": info.name,
        "version": info.version,
        "license": info.license,
        "description": info.description,
        "size": [trunk.height, trunk.width],
        "sha256": sha256(trunk.path),
    }
