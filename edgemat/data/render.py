"""Render composites into shards once, so that many runs train on them: several processes, always the same bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgemat import __version__
from edgemat.data.augment import Augmentation
from edgemat.data.compositor import Compositor
from edgemat.data.records import RENDERED, read_record
from edgemat.data.shards import shard_name, write_shard
from edgemat.data.splits import SPLITS, Split
from edgemat.data.types import Example, Face, Occluder, Sample
from edgemat.errors import EdgematError, InputError
from edgemat.files import write_json

_POLL = 0.2
_REPORT = 10.0
_PATIENCE = 60.0


class Composites:
    """Makes composite number ``index``, mild ones evenly among the others; the same index gives the same bytes."""

    def __init__(
        self, faces: Sequence[Face], occluders: Sequence[Occluder], size: int = 256, seed: int = 0, mild: float = 0.0
    ) -> None:
        """Make faces and occluders ready.

        Args:
            faces: At least one.
            occluders: Of the same split.
            size: Height and width, pixels.
            seed: Starts another sequence.
            mild: Share of composites that vary as little as everyday photos do, from 0 to 1; the others vary as far
                as they can.
        """
        self.share = mild
        self.wild, self.mild = (
            Compositor(faces, occluders, size, seed, level) for level in (Augmentation(), Augmentation.mild())
        )

    def __call__(self, index: int) -> Sample:
        """Make composite number ``index``, from 0 on."""
        # The mild ones are where the running share steps up: 0.7 gives 7 of every 10, whatever the index begins with.
        is_mild = int((index + 1) * self.share) > int(index * self.share)
        return (self.mild if is_mild else self.wild).sample(index)


@dataclass(frozen=True)
class Rendering:
    """What is rendered; the same values give the same bytes.

    Attributes:
        count: Composites.
        split: Whose faces and occluders they show.
        mild: Share of mild composites, from 0 to 1, see `Composites`.
        seed: Starts another sequence.
        size: Height and width, pixels.
        per_shard: Composites in each shard but the last.
    """

    count: int
    split: Split = "train"
    mild: float = 0.7
    seed: int = 0
    size: int = 256
    per_shard: int = 1000

    def __post_init__(self) -> None:
        """Refuse what cannot be rendered."""
        for name, least in (("count", 1), ("per_shard", 1), ("size", 32), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"render: {name} = {getattr(self, name)}, expected at least {least}")
        if not 0 <= self.mild <= 1:
            raise InputError(f"render: mild = {self.mild}, expected a share from 0 to 1")
        if self.split not in SPLITS:
            raise InputError(f"render: split {self.split!r} is not known; expected one of {', '.join(SPLITS)}")

    def indices(self, shard: int) -> range:
        """Return the indices of the composites of a shard."""
        return range(shard * self.per_shard, min((shard + 1) * self.per_shard, self.count))

    @property
    def shards(self) -> int:
        """The number of shards."""
        return -(-self.count // self.per_shard)


@dataclass(frozen=True)
class RenderProgress:
    """How far a rendering is.

    Attributes:
        done: Composites made, those of earlier runs included.
        count: Composites in all.
        samples_per_second: Of this run.
        eta: Seconds to the end at this rate.
    """

    done: int
    count: int
    samples_per_second: float
    eta: float


def render(
    what: Rendering,
    faces: Sequence[Face],
    occluders: Sequence[Occluder],
    out: Path,
    workers: int = 2,
    on_progress: Callable[[RenderProgress], None] = lambda _: None,
) -> None:
    """Render composites into ``out/000000.tar`` and so on, and ``render.json`` which says how they were made.

    A shard appears when it is whole. An interrupted rendering goes on with the shards that are missing when it is
    called again with the same values; ``workers`` may differ, for it changes no byte. One rendering a folder at a time.

    Args:
        what: What to render.
        faces: Of its split.
        occluders: Of its split.
        out: Folder; made if missing.
        workers: Processes, each of which makes whole shards.
        on_progress: Called about every ten seconds and at the end.

    Raises:
        InputError: There is no face, or the folder holds another rendering or other shards.
        OutputError: The folder cannot be written; the shards that are whole stay.
        EdgematError: A process was killed.
        KeyboardInterrupt: Passed on once every process has ended.
    """
    if not faces:
        raise InputError("render: no face was given, expected at least one. Fetch some: edgemat data fetch")
    record = _record(what, faces, occluders)
    _begin(out, record)
    todo = [number for number in range(what.shards) if not (out / shard_name(number)).is_file()]
    if todo:
        _Crew(what, faces, occluders, out, todo, min(workers, len(todo))).run(on_progress)
    write_json(out / RENDERED, {**record, "complete": True})


def _record(what: Rendering, faces: Sequence[Face], occluders: Sequence[Occluder]) -> dict[str, object]:
    """Return all that the bytes depend on."""
    return {
        "schema_version": 1,
        "arguments": dataclasses.asdict(what),
        "versions": {"edgemat": __version__, "numpy": np.__version__, "opencv": cv2.__version__},
        "sources": {
            "faces": len(faces),
            "occluders": len(occluders),
            "sha256": _fingerprint(faces, occluders),
        },
        "shards": what.shards,
    }


def _fingerprint(faces: Sequence[Face], occluders: Sequence[Occluder]) -> str:
    """Hash what the composites are made of: a face keeps its id when its matte is mended."""
    digest = hashlib.sha256()
    for face in faces:
        digest.update(f"{face.id} {face.ita} {face.alpha.shape}".encode())
        for part in (face.image, face.alpha, face.landmarks):
            digest.update(part.tobytes())
    for occluder in occluders:
        digest.update(f"{occluder.id} {occluder.kind} {occluder.rgba.shape}".encode())
        digest.update(occluder.rgba.tobytes())
    return digest.hexdigest()


def _begin(out: Path, record: dict[str, object]) -> None:
    """Check that the folder is new or holds this rendering, and clear what a killed one left half written."""
    earlier = read_record(out / shard_name(0), RENDERED)
    if earlier is not None:
        differing = list(_differences(earlier, json.loads(json.dumps(record))))
        if differing:
            raise InputError(f"{out}: holds another rendering ({'; '.join(differing)}). Choose another --out")
    elif any(out.glob("*.tar")):
        raise InputError(
            f"{out}: holds shards but no {RENDERED}, so they are not of this rendering. Choose another --out"
        )
    else:
        write_json(out / RENDERED, {**record, "complete": False})
    for stage in out.glob(".*.tar.*.part"):
        shutil.rmtree(stage, ignore_errors=True)


def _differences(earlier: dict[str, Any], now: dict[str, Any], name: str = "") -> Iterator[str]:
    for key, value in now.items():
        found = earlier.get(key)
        if isinstance(value, dict):
            yield from _differences(found if isinstance(found, dict) else {}, value, f"{key}.")
        elif found != value:
            yield f"{name}{key} is {found} there, {value} here"


class _Crew:
    """Processes that take missing shards in turn until none is left or they are told to stop."""

    def __init__(
        self,
        what: Rendering,
        faces: Sequence[Face],
        occluders: Sequence[Occluder],
        out: Path,
        todo: list[int],
        workers: int,
    ) -> None:
        """Make the processes ready; a fresh interpreter each, so that no thread's lock is copied locked."""
        context = multiprocessing.get_context("spawn")
        self.count = what.count
        self.begun = what.count - sum(len(what.indices(number)) for number in todo)
        self.stop, self.made = context.Event(), context.Value("q", 0)
        self.failures = context.SimpleQueue()
        # A process drops its arguments once it is started, and with the last owner here goes what it has yet to open.
        self.turn = context.Value("q", 0)
        job = (what, faces, occluders, out, todo, self.turn, self.made, self.stop, self.failures, os.getpid())
        self.processes = [context.Process(target=_work, args=job, daemon=True) for _ in range(max(1, workers))]

    def run(self, on_progress: Callable[[RenderProgress], None]) -> None:
        """Run to the end, or until a process fails or the user interrupts."""
        start = told = time.monotonic()
        try:
            for process in self.processes:
                process.start()
            while any(process.is_alive() for process in self.processes):
                time.sleep(_POLL)
                self._check()
                if time.monotonic() - told >= _REPORT:
                    told = time.monotonic()
                    on_progress(self._progress(told - start))
            self._check()
        finally:
            self.stop.set()
            for process in self.processes:
                if process.pid is not None:
                    process.join(_PATIENCE)
                    process.kill()  # one that another, killed with a lock in its hand, lets wait for ever
        on_progress(self._progress(time.monotonic() - start))

    def _check(self) -> None:
        if not self.failures.empty():
            raise self.failures.get()
        for process in self.processes:
            if process.exitcode and process.exitcode < 0:
                name = signal.Signals(-process.exitcode).name
                raise EdgematError(f"render: a process was ended by {name}. If memory ran out, use fewer --workers")
            if process.exitcode:
                raise RuntimeError("render: a process failed; what it said stands above")

    def _progress(self, seconds: float) -> RenderProgress:
        rate = self.made.value / max(seconds, 1e-9)
        done = self.begun + self.made.value
        return RenderProgress(done, self.count, rate, (self.count - done) / rate if rate else math.inf)


class _Stopped(Exception):  # noqa: N818 - it is no error
    """Ends a shard that is half written."""


def _work(
    what: Rendering,
    faces: Sequence[Face],
    occluders: Sequence[Occluder],
    out: Path,
    todo: list[int],
    taken: Any,
    made: Any,
    stop: Event,
    failures: Any,
    parent: int,
) -> None:
    """Make shards in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent ends the work in order
    try:
        composites = Composites(faces, occluders, what.size, what.seed, what.mild)

        def samples(shard: int) -> Iterator[tuple[str, Example, dict[str, object]]]:
            for index in what.indices(shard):
                if stop.is_set() or os.getppid() != parent:
                    raise _Stopped
                sample = composites(index)
                yield f"{index:09d}", Example(sample.image, sample.alpha), _metadata(sample)
                with made.get_lock():
                    made.value += 1

        while True:
            with taken.get_lock():
                place = taken.value
                taken.value += 1
            if place >= len(todo):
                return
            write_shard(samples(todo[place]), out / shard_name(todo[place]))
    except _Stopped:
        return
    except EdgematError as error:
        failures.put(error)


def _metadata(sample: Sample) -> dict[str, object]:
    return {
        "face_id": sample.face_id,
        "kinds": sample.kinds,
        "occluder_ids": sample.occluder_ids,
        "ita": sample.ita if math.isfinite(sample.ita) else None,
    }
