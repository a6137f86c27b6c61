"""The times of one artefact in one place, summed up: a row of a benchmark's table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from edgemat.errors import InputError
from edgemat.verify.bench.ratio import HERE, threads_word
from edgemat.verify.bench.roofline import Bound
from edgemat.verify.bench.sampling import Sample


@dataclass(frozen=True)
class Row:
    """The times of one artefact in one place, in milliseconds.

    Attributes:
        name: Such as ``tflite int8``.
        runtime: What executed it.
        device: `HERE`, or what a phone or a Mac calls itself.
        where: ``1 thread``, or the compute unit of a device.
        bytes: Size of the file or folder.
        calls: Timed calls.
        median: Of the calls; one that waited for a core counts without the wait on one thread, and not at all on
            several. None where no call ran undisturbed.
        p90: 90th percentile; None where a device tells no such thing.
        p99: 99th percentile.
        q1: First quartile.
        q3: Third quartile.
        minimum: The fastest call.
        wall: Median of all calls with their waits.
        free: Share of the calls that ran undisturbed, in [0, 1]; None where unknown.
        settled: Whether the times had settled before the first timed call, in every start; None where unknown.
        load_ms: Opening the file.
        peak_bytes: How far the process's memory rose from before the opening to the end of the warm-up.
        bound: The least time that the machine could take; None where it is not known.
        placement: On a device that tells: compute unit to the number of operators it runs.
        operators: On a device that tells: ``name``, ``op``, ``device`` and ``cost`` of each operator.
        difference: On a device that ran golden inputs: ``max_abs`` and ``mean_abs`` from the reference.
        note: What a reader has to know.
    """

    name: str
    runtime: str
    device: str
    where: str
    bytes: int
    calls: int
    median: float | None
    p90: float | None = None
    p99: float | None = None
    q1: float | None = None
    q3: float | None = None
    minimum: float | None = None
    wall: float | None = None
    free: float | None = None
    settled: bool | None = None
    load_ms: float | None = None
    peak_bytes: int | None = None
    bound: Bound | None = None
    placement: Mapping[str, int] = field(default_factory=dict)
    operators: tuple[Mapping[str, object], ...] = ()
    difference: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse times that cannot be."""
        for key in ("median", "p90", "p99", "q1", "q3", "minimum", "wall", "load_ms"):
            value = getattr(self, key)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"bench: {self.name}: {key} is {value}, expected milliseconds in (0, inf)")

    @property
    def iqr(self) -> float | None:
        """Interquartile range: how unquiet the machine was."""
        return None if self.q1 is None or self.q3 is None else self.q3 - self.q1

    @property
    def attained(self) -> float | None:
        """Share of what the machine could do at best."""
        return None if self.bound is None or self.median is None else self.bound.share(self.median)

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        bound = None if self.bound is None else self.bound.to_json()
        return {
            **asdict(self),
            "operators": list(self.operators),
            "bound": bound,
            "iqr": self.iqr,
            "attained": self.attained,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Row:
        """Return what `to_json` wrote."""
        plain = {k: value[k] for k in Row.__dataclass_fields__ if k not in ("bound", "operators")}
        return Row(
            **plain,
            operators=tuple(value["operators"]),
            bound=None if value["bound"] is None else Bound.from_json(value["bound"]),
        )


def of_sample(sample: Sample, size: int, bound: Bound | None) -> Row:
    """Summarise what one artefact took here."""
    usable = sample.usable[np.isfinite(sample.usable)]
    cuts: list[float | None] = [None] * 6
    if usable.size:
        cuts = [float(cut) for cut in np.percentile(usable, (50, 90, 99, 25, 75, 0))]
    median, p90, p99, q1, q3, least = cuts
    return Row(
        sample.subject.name,
        sample.subject.runtime,
        HERE,
        threads_word(sample.threads),
        size,
        int(sample.wall.size),
        median,
        p90,
        p99,
        q1,
        q3,
        least,
        wall=float(np.median(sample.wall)),
        free=None if np.isnan(sample.waited).all() else float(sample.free.mean()),
        settled=all(sample.settled),
        load_ms=float(np.median(sample.load_ms)) if sample.load_ms else None,
        peak_bytes=int(np.median(sample.peak_bytes)) or None if sample.peak_bytes else None,
        bound=bound,
        note=sample.subject.note,
    )
