"""Time artefacts in turn, round by round, in several fresh processes each; keep every call and what disturbed it.

What one process cannot see of itself (where its memory came to lie, which core it began on) differs from start to
start, so each artefact is started several times, and a ratio has to hold in each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from edgemat.errors import EdgematError, InputError

if TYPE_CHECKING:
    from edgemat.export._isolated_child import Answer, Arrays

Times = npt.NDArray[np.float64]
Progress = Callable[[str], None]

FREE = 0.02
"""A call is undisturbed where the share of its time that it waited for a core is at most this."""


@dataclass(frozen=True)
class Subject:
    """What is timed.

    Attributes:
        name: Such as ``tflite int8``.
        runtime: A key of `edgemat.verify.bench.child.OPENERS`.
        path: The file that this run time opens.
        note: What a reader has to know of the figure.
    """

    name: str
    runtime: str
    path: Path
    note: str = ""


@dataclass(frozen=True)
class Settings:
    """How much is timed.

    Attributes:
        rounds: In each, every artefact has its turn; divided among the starts, rounded up.
        starts: Fresh processes of each artefact, one after another.
        calls: Timed calls of one turn; one more before them is not timed.
        threads: Of the run times; everything is timed at each.
    """

    rounds: int = 60
    starts: int = 3
    calls: int = 3
    threads: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        """Refuse what gives no interval."""
        if self.starts < 2 or self.rounds < self.starts or self.calls < 1 or not self.threads:
            raise InputError(f"bench: {self}; expected starts >= 2, rounds >= starts, calls >= 1, and some threads")
        if min(self.threads) < 1 or len(set(self.threads)) != len(self.threads):
            raise InputError(f"bench: threads {self.threads}; expected different numbers, each at least 1")

    @property
    def rounds_each(self) -> int:
        """Rounds of one start."""
        return -(-self.rounds // self.starts)


@dataclass(frozen=True, eq=False)
class Sample:
    """All calls of one artefact at one number of threads.

    Attributes:
        subject: What was timed.
        threads: Of the run time.
        wall: Milliseconds, float64, (starts, rounds, calls).
        waited: How many of them its threads waited for a core, the same shape; NaN where the system does not tell.
        late: Milliseconds that helper threads waited in a round and got the core only after it, (starts, rounds).
        settled: Of each start: whether the times had settled by then.
        load_ms: Of each start: opening the file, without importing the run time; none but for the first threads.
        peak_bytes: Of each start: how far the process's memory rose from before the opening; likewise; 0 where unknown.
    """

    subject: Subject
    threads: int
    wall: Times
    waited: Times
    late: Times
    settled: tuple[bool, ...]
    load_ms: tuple[float, ...] = ()
    peak_bytes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check that the rounds are complete and every time is positive."""
        shape = self.wall.shape
        if len(shape) != 3 or self.waited.shape != shape or self.late.shape != shape[:2] or not self.wall.size:
            found = f"{shape}, {self.waited.shape} and {self.late.shape}"
            raise InputError(f"bench: {self.subject.name} has times of shape {found}")
        if not (np.isfinite(self.wall) & (self.wall > 0)).all():
            raise InputError(
                f"bench: {self.subject.name} has times outside (0, inf) ms; the clock is too coarse for it"
            )

    @property
    def free(self) -> npt.NDArray[np.bool_]:
        """Which calls ran undisturbed, (starts, rounds, calls); all where the system does not tell."""
        alone = np.isnan(self.waited) | (self.waited <= FREE * self.wall)
        if self.threads == 1:
            return np.asarray(alone, np.bool_)
        lost = np.nansum(self.waited, axis=2) + np.nan_to_num(self.late)
        quiet: npt.NDArray[np.bool_] = alone & (lost <= FREE * self.wall.sum(axis=2))[:, :, None]
        return quiet

    @property
    def usable(self) -> Times:
        """Milliseconds to compare by, (starts, rounds, calls); NaN for a call that says nothing.

        On one thread the wait is subtracted: what is left is what the call takes once it has the core. On several, a
        wait of one thread hides behind the work of another, so that only undisturbed calls count.
        """
        if self.threads == 1:
            return self.wall - np.where(np.isnan(self.waited), 0.0, np.minimum(self.waited, 0.99 * self.wall))
        return np.where(self.free, self.wall, np.nan)


class Timer(Protocol):
    """One artefact in a process: what `edgemat.export._isolated.Child` is."""

    def ask(self, verb: str, arguments: Mapping[str, object], arrays: Arrays) -> Answer:
        """Send a request and return the answer."""

    def close(self) -> None:
        """End the process."""


def start(subject: Subject) -> Timer:
    """Start the process of an artefact; it has opened nothing yet."""
    from edgemat.export._isolated import Child

    return Child("edgemat.verify.bench.child:serve", timeout=300.0, threads=1, about=str(subject.path))


def sample(
    subjects: Sequence[Subject],
    settings: Settings,
    on_progress: Progress = lambda _: None,
    starter: Callable[[Subject], Timer] = start,
) -> tuple[tuple[Sample, ...], dict[str, str]]:
    """Time artefacts.

    Args:
        subjects: In the order of the result.
        settings: How much.
        on_progress: Called with a short text now and then.
        starter: Makes the process of one artefact.

    Returns:
        A sample for each artefact and number of threads; and, for artefacts that could not be timed, name to reason.
    """
    parts: dict[tuple[str, int], list[_Part]] = {}
    failed: dict[str, str] = {}
    for number in range(settings.starts):
        alive = [s for s in subjects if s.name not in failed]
        with contextlib.ExitStack() as stack:
            timers = {s.name: stack.enter_context(contextlib.closing(starter(s))) for s in alive}  # all import at once
            opened = _open(alive, timers, settings, failed, on_progress)
            for threads in settings.threads:
                on_progress(f"start {number + 1} of {settings.starts}: rounds, threads {threads}")
                running = {s.name: timers[s.name] for s in alive if s.name not in failed}
                for name, times in _rounds(running, settings.rounds_each, threads, settings.calls, failed).items():
                    parts.setdefault((name, threads), []).append(_Part(opened[name, threads], *times))
    found = [
        _joined(s, threads, parts[s.name, threads])
        for threads in settings.threads
        for s in subjects
        if s.name not in failed
    ]
    return tuple(found), failed


@dataclass(frozen=True)
class _Part:
    """What one start gave: its facts, the times of its rounds, (rounds, calls), and the late waits, (rounds,)."""

    facts: Mapping[str, Any]
    wall: Times
    waited: Times
    late: Times


def _open(
    subjects: Sequence[Subject],
    timers: Mapping[str, Timer],
    settings: Settings,
    failed: dict[str, str],
    on_progress: Progress,
) -> dict[tuple[str, int], Mapping[str, Any]]:
    """Let each process open its file and warm up, one after another."""
    found: dict[tuple[str, int], Mapping[str, Any]] = {}
    for subject in subjects:
        on_progress(f"{subject.name}: warm up")
        try:
            for threads in settings.threads:
                request = {"do": "open", "path": str(subject.path), "runtime": subject.runtime, "threads": threads}
                found[subject.name, threads] = timers[subject.name].ask("call", request, {})[0]
        except EdgematError as error:
            failed[subject.name] = str(error)
    return found


def _rounds(
    timers: Mapping[str, Timer], rounds: int, threads: int, calls: int, failed: dict[str, str]
) -> dict[str, tuple[Times, Times, Times]]:
    """Give each process its turn in each round; the order rotates, so that none always follows the same neighbour."""
    names = list(timers)
    found: dict[str, list[Answer]] = {name: [] for name in names}
    for number in range(rounds + 1):  # the last turn, of no call, only tells what waited late in the one before
        last = number == rounds
        request = {"do": "time", "threads": threads, "untimed": int(not last), "count": 0 if last else calls}
        shift = number % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            if name in failed:
                continue
            try:
                found[name].append(timers[name].ask("call", request, {}))
            except EdgematError as error:
                failed[name] = str(error)
    return {name: _stacked(turns) for name, turns in found.items() if name not in failed}


def _stacked(turns: Sequence[Answer]) -> tuple[Times, Times, Times]:
    """Return the times of all turns but the last, (rounds, calls) twice, and what each turn's helpers waited late."""
    wall, waited = (np.stack([arrays[key] for _, arrays in turns[:-1]]) for key in ("wall", "waited"))
    late = [float("nan") if facts["late"] is None else facts["late"] for facts, _ in turns[1:]]
    return wall, waited, np.array(late, np.float64)


def _joined(subject: Subject, threads: int, parts: Sequence[_Part]) -> Sample:
    """Make one sample of the starts."""
    return Sample(
        subject,
        threads,
        np.stack([part.wall for part in parts]),
        np.stack([part.waited for part in parts]),
        np.stack([part.late for part in parts]),
        tuple(bool(part.facts["settled"]) for part in parts),
        tuple(float(part.facts["load_ms"]) for part in parts if "load_ms" in part.facts),
        tuple(int(part.facts["peak_bytes"]) for part in parts if "peak_bytes" in part.facts),
    )
