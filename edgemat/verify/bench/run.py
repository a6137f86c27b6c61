"""Time an export folder, or a student: choose, sample, compare, and say why where int8 does not win."""

from __future__ import annotations

import contextlib
import math
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgemat.errors import BackendMissingError, InputError
from edgemat.verify.bench import machine, peaks, ratio, reasons, roofline, runtimes, sampling, student
from edgemat.verify.bench.ratio import threads_word
from edgemat.verify.bench.report import BenchReport, combine, read
from edgemat.verify.bench.row import of_sample
from edgemat.verify.bench.runtimes import Untimed
from edgemat.verify.bench.sampling import Sample, Settings, Subject

if TYPE_CHECKING:
    from edgemat.export._target import Trunk
    from edgemat.inspection import Inspection
    from edgemat.verify.bench.peaks import Peaks
    from edgemat.verify.bench.ratio import Gate, Ratio
    from edgemat.verify.bench.roofline import Bound, Work
    from edgemat.verify.exported import Entry, Exported

Progress = Callable[[str], None]
FLOAT = "fp32"


def of_folder(
    folder: Path,
    settings: Settings,
    gates: Sequence[Gate] = (),
    cache_dir: Path | None = None,
    on_progress: Progress = lambda _: None,
) -> BenchReport:
    """Time every artefact of an export folder that a processor here executes natively, and a peer.

    A run time whose float32 artefact is not in the folder gets one, made from the folder's float graph, to compare
    with.

    Args:
        folder: That ``edgemat export`` wrote.
        settings: How much.
        gates: Limits on ratios.
        cache_dir: Where ``edgemat data fetch`` put the peer; the default cache if None.
        on_progress: Called with a short text now and then.

    Raises:
        InputError: The folder cannot be read, or a gate names what is not timed.
        BackendMissingError: Nothing in it can be timed here.
    """
    from edgemat.verify import exported

    found = exported.read(folder)
    chosen = [runtimes.of(entry) for entry in found.entries]
    untimed = [c for c in chosen if isinstance(c, Untimed)]
    untimed += [Untimed(f"{f.target} {f.precision}", f.message) for f in found.failed]
    with tempfile.TemporaryDirectory() as scratch:
        timed = [c for c in chosen if isinstance(c, Subject)]
        if not timed:
            why = "; ".join(f"{u.name}: {u.reason}" for u in untimed)
            raise BackendMissingError(f"{folder}: no artefact can be timed here: {why or 'there is none'}")
        timed += _floats(found, timed, Path(scratch))
        other = student.peer(cache_dir)
        untimed += [other] if isinstance(other, Untimed) else []
        timed += [other] if isinstance(other, Subject) else []
        by_name = {entry.name: entry for entry in found.entries}
        return _report(timed, found.trunks.any(), by_name, settings, gates, untimed, on_progress)


def of_student(
    weights: Path | None,
    images: npt.NDArray[np.uint8],
    settings: Settings,
    gates: Sequence[Gate] = (),
    cache_dir: Path | None = None,
    on_progress: Progress = lambda _: None,
) -> BenchReport:
    """Time a student in ONNX Runtime and LiteRT, float and int8, beside MediaPipe's selfie segmentation.

    Args:
        weights: The student's file, float or quantized; a float one is calibrated on the images for its int8 form. The
            shipped ones if None.
        images: Calibration pixels, uint8, (N, H, W, 3); H and W are the size that is timed.
        settings: How much.
        gates: Limits on ratios.
        cache_dir: Where ``edgemat data fetch`` put the peer; the default cache if None.
        on_progress: Called with a short text now and then.

    Raises:
        InputError: The weights cannot be read, or a gate names what is not timed.
        BackendMissingError: ONNX Runtime or LiteRT is not installed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        trunk, integer = student.trunks(weights, images, Path(scratch))
        timed = list(student.subjects(trunk, integer, Path(scratch)))
        other = student.peer(cache_dir)
        untimed = [other] if isinstance(other, Untimed) else []
        timed += [other] if isinstance(other, Subject) else []
        return _report(timed, trunk, {}, settings, gates, untimed, on_progress)


def _floats(found: Exported, timed: Sequence[Subject], scratch: Path) -> Iterator[Subject]:
    """Make the float32 artefact of each run time that has none to compare with."""
    from edgemat import export

    names = {subject.name for subject in timed}
    for target, runtime in runtimes.RUNTIMES.items():
        name = f"{target} {FLOAT}"
        if name in names or found.trunks.plain is None or all(s.runtime != runtime for s in timed):
            continue
        path = scratch / f"float{export.get(target).suffix}"
        export.get(target).convert(found.trunks.plain, FLOAT, path)
        yield Subject(name, runtime, path, "made to compare with; not in the folder")


def _report(
    timed: Sequence[Subject],
    trunk: Trunk,
    entries: Mapping[str, Entry],
    settings: Settings,
    gates: Sequence[Gate],
    untimed: list[Untimed],
    on_progress: Progress,
) -> BenchReport:
    """Sample, compare, judge."""
    pairs = _pairs([s.name for s in timed], gates)
    layers, largest = _work(trunk)
    before = machine.ticks()
    samples, failed = sampling.sample(timed, settings, on_progress)
    busy = machine.load(before, machine.ticks())
    on_progress("this machine's peaks")
    best = peaks.measure(largest)
    inspections = {name: entry.target.inspect(entry.path) for name, entry in entries.items() if name in _names(samples)}
    bounds = {(s.subject.name, s.threads): _bound(s, layers, best, inspections) for s in samples}
    rows = [of_sample(s, _size(s.subject.path), bounds[s.subject.name, s.threads]) for s in samples]
    by_name = {(s.subject.name, s.threads): s for s in samples}
    ratios = [
        ratio.of_samples(by_name[a, threads], by_name[b, threads])
        for threads in settings.threads
        for a, b in pairs
        if (a, threads) in by_name and (b, threads) in by_name
    ]
    facts = machine.facts()
    why = _why(ratios, entries, inspections, best, bounds, facts)
    return BenchReport(
        tuple(rows),
        tuple(ratios),
        ratio.judge([] if failed else gates, ratios),  # what failed decides already
        tuple(untimed),
        tuple(Untimed(name, reason) for name, reason in failed.items()),
        why,
        best,
        {**facts, **busy},
        {},
        {**asdict(settings), "threads": list(settings.threads), "rules": _rules()},
        shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )


def _names(samples: Sequence[Sample]) -> set[str]:
    return {sample.subject.name for sample in samples}


def _pairs(names: Sequence[str], gates: Sequence[Gate]) -> list[tuple[str, str]]:
    """Return what is compared with what: each artefact with its run time's float32, LiteRT's with the peer, gates'.

    Raises:
        InputError: A gate names what is not timed.
    """
    pairs = []
    for name in names:
        over = f"{name.partition(' ')[0]} {FLOAT}"
        if over in names and name != over:
            pairs.append((name, over))
    if student.PEER in names:
        pairs += [(name, student.PEER) for name in names if name.startswith("tflite ")]
    for gate in gates:
        missing = [name for name in (gate.name, gate.over) if name not in names]
        if missing:
            raise InputError(f"--gate {gate}: {missing[0]!r} is not timed here; timed are: {', '.join(names)}")
        if (gate.name, gate.over) not in pairs:
            pairs.append((gate.name, gate.over))
    return pairs


def _work(trunk: Trunk) -> tuple[tuple[Work, ...], int]:
    """Return what the layers of a graph have to do, and the bytes of its largest tensor in float32."""
    import onnx

    from edgemat.quantize import graph

    found = graph.of(onnx.load(trunk.path), str(trunk.path))
    return roofline.work(found), 4 * max(math.prod(shape) for shape in found.shapes.values())


def _bound(
    sample: Sample, layers: tuple[Work, ...], best: Peaks, inspections: Mapping[str, Inspection]
) -> Bound | None:
    """Return the least time of an artefact; None for a peer, whose graph is another."""
    name = sample.subject.name
    if name == student.PEER:
        return None
    integers = "int8" in name
    if name in inspections:
        found = inspections[name].arithmetic()
        integers = found.get("int8", 0) > sum(found.get(kind, 0) for kind in ("float32", "float16"))
    return roofline.bound(layers, best.times(sample.threads), integers=integers)


def _why(
    ratios: Sequence[Ratio],
    entries: Mapping[str, Entry],
    inspections: Mapping[str, Inspection],
    best: Peaks,
    bounds: Mapping[tuple[str, int], Bound | None],
    facts: Mapping[str, object],
) -> dict[str, tuple[str, ...]]:
    """Return the reasons of each integer artefact that is not faster than its run time's float32."""
    threads_of = {threads_word(threads): threads for _, threads in bounds}
    flags = facts["dot_products"]
    found = {}
    for one in ratios:
        entry = entries.get(one.name)
        if entry is None or not entry.target.needs_grid(entry.precision) or not one.over.endswith(FLOAT):
            continue
        threads = threads_of[one.where]
        own, real = bounds[one.name, threads], bounds[one.over, threads]
        assert own is not None and real is not None  # noqa: PT018  (only a peer has none)
        why = reasons.why_not_faster(
            one,
            inspections[one.name],
            entry.precision in entry.target.stores,
            best,
            (own, real),
            flags if isinstance(flags, list) else None,
        )
        if why:
            found[f"{one.name}, {one.where}"] = why
    return found


def _rules() -> dict[str, object]:
    """Return the constants that decide, so that a report says by which it was judged."""
    from edgemat.verify.bench import child

    return {
        "warm_up": {"window": child.WINDOW, "tolerance": child.TOLERANCE, "cap_calls": child.CAP_CALLS},
        "undisturbed": sampling.FREE,
        "interval_within": ratio.WIDTH,
        "no_difference_within": ratio.MARGIN,
        "block": ratio.BLOCK,
        "least_rounds": ratio.LEAST_ROUNDS,
    }


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def write(report: BenchReport, folder: Path) -> Path:
    """Write a report into an export folder, beside what is there of other devices; return its place.

    A report there that cannot be read is replaced.

    Raises:
        OutputError: It cannot be written.
    """
    from edgemat.files import write_json
    from edgemat.verify import proof

    place = folder / proof.FOLDER / proof.BENCH
    with contextlib.suppress(InputError):
        report = combine(read(place), report)
    write_json(place, report.to_json())
    return place
