"""Time the .tflite artefacts of an export folder on an Android device, pass by pass, and compare them there."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgemat.errors import InputError
from edgemat.verify.bench import adb, benchmark_model, machine, ratio
from edgemat.verify.bench.benchmark_model import BenchmarkError, Measured
from edgemat.verify.bench.ratio import threads_word
from edgemat.verify.bench.report import BenchReport
from edgemat.verify.bench.row import Row
from edgemat.verify.bench.runtimes import Untimed

if TYPE_CHECKING:
    from edgemat.verify.bench.adb import Device
    from edgemat.verify.bench.ratio import Gate, Ratio
    from edgemat.verify.exported import Entry, Exported

Progress = Callable[[str], None]
RUNTIME = "LiteRT benchmark_model"


@dataclass(frozen=True)
class Plan:
    """What to run on a device.

    Attributes:
        serial: As ``adb devices`` lists it.
        binary: LiteRT's ``benchmark_model`` for it, on this computer; None to take the one that lies on it.
        accelerators: Keys of `edgemat.verify.bench.benchmark_model.ACCELERATORS`.
        threads: For the CPU; None for 1 and as many as it has cores.
        runs: Timed inferences of one pass.
        passes: Every file has its turn in each; a ratio has to hold in all.
        more: Further flags of the tool.
    """

    serial: str
    binary: Path | None = None
    accelerators: tuple[str, ...] = ("cpu",)
    threads: tuple[int, ...] | None = None
    runs: int = 50
    passes: int = 3
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Job:
    """One file in one place."""

    name: str
    file: Path
    accelerator: str
    threads: int

    @property
    def where(self) -> str:
        """What runs it."""
        word = threads_word(self.threads)
        return word if self.accelerator == "cpu" else self.accelerator


def bench(
    found: Exported, plan: Plan, gates: Sequence[Gate] = (), on_progress: Progress = lambda _: None
) -> BenchReport:
    """Push the .tflite artefacts to a device, time them in turn, and remove them again.

    Args:
        found: The export folder.
        plan: What to run.
        gates: Limits on ratios.
        on_progress: Called with a short text now and then.

    Raises:
        InputError: The folder has nothing for a phone, or the device or a gate is not there.
        BackendMissingError: adb, or the tool on the device, is missing.
        AdbError: adb failed.
    """
    device = adb.connect(plan.serial)
    with contextlib.ExitStack() as stack:
        stack.callback(device.clean)
        binary = device.tool(plan.binary)
        jobs, untimed = _jobs(found, plan, device)
        if not jobs:
            raise InputError(
                f"{found.folder}: nothing for a phone in it; make it: edgemat export --target tflite --precision all"
            )
        _refuse_unknown(gates, jobs)
        for file in dict.fromkeys(job.file for job in jobs):
            on_progress(f"{file.name}: push")
            device.push(file, _place(file))
        measured, broken = _passes(device, binary, jobs, plan, on_progress)
    rows = [_row(job, device, results) for job, results in measured.items()]
    ratios = _ratios(measured, device, gates)
    return BenchReport(
        tuple(rows),
        tuple(ratios),
        ratio.judge([] if broken else gates, ratios),  # what failed decides already
        tuple(untimed),
        broken,
        {},
        None,
        machine.facts(),
        {device.name: dict(device.facts)},
        {"passes": plan.passes, "runs": plan.runs, "accelerators": list(plan.accelerators), "flags": list(plan.more)},
        shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )


def _refuse_unknown(gates: Sequence[Gate], jobs: Sequence[_Job]) -> None:
    """Refuse a gate on what is not timed, before an hour on the phone."""
    names = list(dict.fromkeys(job.name for job in jobs))
    for gate in gates:
        for name in (gate.name, gate.over):
            if name not in names:
                raise InputError(f"--gate {gate}: {name!r} is not timed there; timed are: {', '.join(names)}")


def _place(file: Path) -> str:
    return f"{adb.FOLDER}/{file.parent.name}-{file.name}"


def _jobs(found: Exported, plan: Plan, device: Device) -> tuple[list[_Job], list[Untimed]]:
    """Return what runs where, and what has no place on this device."""
    threads = plan.threads or tuple(dict.fromkeys((1, device.cores())))
    jobs, untimed = [], []
    for entry in found.entries:
        files = list(_files(entry, plan, device))
        if not files:
            untimed.append(Untimed(entry.name, "no file of it is for this device and these accelerators"))
        for accelerator, file in files:
            counts = threads if accelerator == "cpu" else threads[:1]
            jobs += [_Job(entry.name, file, accelerator, count) for count in counts]
    return jobs, untimed


def _files(entry: Entry, plan: Plan, device: Device) -> Iterator[tuple[str, Path]]:
    """Return accelerator and file: a plain .tflite for any, one compiled for this chip for its NPU."""
    if entry.path.suffix == ".tflite" and entry.path.is_file():
        yield from ((accelerator, entry.path) for accelerator in plan.accelerators if accelerator != "npu")
    compiled = entry.path / f"{device.facts.get('soc_model', '')}.tflite"
    if "npu" in plan.accelerators and compiled.is_file():
        yield "npu", compiled


def _passes(
    device: Device, binary: str, jobs: Sequence[_Job], plan: Plan, on_progress: Progress
) -> tuple[dict[_Job, list[Measured]], tuple[Untimed, ...]]:
    """Give each job its turn in each pass; one that fails is left out from then on, and said to be broken."""
    found: dict[_Job, list[Measured]] = {job: [] for job in jobs}
    broken: dict[str, str] = {}
    for number in range(plan.passes):
        alive = list(found)
        shift = number % max(1, len(alive))
        for job in alive[shift:] + alive[:shift]:
            on_progress(f"{job.name}, {job.where}: pass {number + 1} of {plan.passes}")
            arguments = benchmark_model.flags(_place(job.file), job.threads, job.accelerator, plan.runs, plan.more)
            try:
                output = device.benchmark(binary, arguments)
                found[job].append(benchmark_model.parse(output, job.accelerator))
            except BenchmarkError as error:
                broken[f"{job.name}, {job.where}"] = str(error)
                del found[job]
    return found, tuple(Untimed(name, reason) for name, reason in broken.items())


def _row(job: _Job, device: Device, results: Sequence[Measured]) -> Row:
    """Summarise the passes of one job."""
    loads = [m.load_ms for m in results if m.load_ms]
    peaks = [m.peak_bytes for m in results if m.peak_bytes]
    notes = [] if results[0].is_median else ["a mean: this benchmark_model prints no median"]
    tails = [m.p95 for m in results if m.p95 is not None]
    if tails:
        notes.append(f"95th percentile {np.median(tails):.2f} ms")
    return Row(
        job.name,
        RUNTIME,
        device.name,
        job.where,
        job.file.stat().st_size,
        sum(m.calls for m in results),
        float(np.median([m.typical for m in results])),
        minimum=min(m.minimum for m in results),
        load_ms=float(np.median(loads)) if loads else None,
        peak_bytes=int(np.median(peaks)) if peaks else None,
        placement=results[-1].placement,
        note="; ".join(notes),
    )


def _ratios(measured: dict[_Job, list[Measured]], device: Device, gates: Sequence[Gate]) -> list[Ratio]:
    """Compare each file with the float32 one in the same place, and what gates name; passes pair."""
    wanted = {(gate.name, gate.over) for gate in gates}
    found = []
    for top, results in measured.items():
        for bottom, others in measured.items():
            same = top.where == bottom.where and top != bottom
            float32 = f"{bottom.name.partition(' ')[0]} fp32" == bottom.name
            if same and (float32 or (top.name, bottom.name) in wanted):
                times = [np.array([[m.typical] for m in r], np.float64) for r in (results, others)]
                found.append(ratio.compare(top.name, bottom.name, top.where, times[0], times[1], device.name))
    return found
