"""Time several callables side by side, round by round, so that what disturbs one disturbs all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from edgemat.errors import InputError
from edgemat.verify.bootstrap import Interval, median_interval

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Timing:
    """The spread of one callable's times, in milliseconds.

    Attributes:
        name: The callable's name.
        median: Median over the rounds.
        q1: First quartile.
        q3: Third quartile.
        minimum: The fastest round.
    """

    name: str
    median: float
    q1: float
    q3: float
    minimum: float

    @property
    def iqr(self) -> float:
        """Interquartile range in milliseconds: how unquiet the machine was."""
        return self.q3 - self.q1


@dataclass(frozen=True)
class Ratio:
    """How many times as long one callable takes as another; below 1 it is the faster.

    Attributes:
        name: The numerator.
        over: The denominator.
        of_medians: Median time over median time.
        paired: Median of the per-round ratios with its 95 % bootstrap interval; robust against slow drift.
    """

    name: str
    over: str
    of_medians: float
    paired: Interval


@dataclass(frozen=True)
class Latency:
    """The times of every callable in every round; summaries are derived.

    Attributes:
        milliseconds: Per name one time a round, in the order of the rounds; the first name is the reference.
        warmup: Untimed rounds before the first.
    """

    milliseconds: Mapping[str, tuple[float, ...]]
    warmup: int

    def __post_init__(self) -> None:
        """Check that the rounds are complete and every time is positive."""
        if not self.milliseconds:
            raise InputError("latency: nothing was timed; give at least one callable")
        if len({len(times) for times in self.milliseconds.values()}) != 1:
            found = {name: len(times) for name, times in self.milliseconds.items()}
            raise InputError(f"latency: every name needs the same number of rounds; found {found}")
        if self.rounds < 1:
            raise InputError("latency: no round was timed; expected at least one")
        for name, times in self.milliseconds.items():
            if not all(0 < value < float("inf") for value in times):
                raise InputError(f"latency: {name} has times outside (0, inf) ms; the clock is too coarse for it")
        object.__setattr__(self, "milliseconds", MappingProxyType(dict(self.milliseconds)))

    @property
    def rounds(self) -> int:
        """How many rounds were timed."""
        return len(self.milliseconds[self.reference])

    @property
    def reference(self) -> str:
        """The first name: what :meth:`ratios` compares with."""
        return next(iter(self.milliseconds))

    def timing(self, name: str) -> Timing:
        """Summarise one callable's times."""
        values = self._times(name)
        q1, median, q3 = (float(q) for q in np.percentile(values, (25, 50, 75)))
        return Timing(name, median, q1, q3, float(values.min()))

    def ratio(self, name: str, over: str) -> Ratio:
        """Compare two callables.

        Args:
            name: The numerator.
            over: The denominator.

        Raises:
            InputError: A name was not timed.
        """
        top, bottom = self._times(name), self._times(over)
        of_medians = float(np.median(top) / np.median(bottom))
        return Ratio(name, over, of_medians, median_interval(top / bottom))

    def ratios(self) -> tuple[Ratio, ...]:
        """Compare every other callable with the reference."""
        return tuple(self.ratio(name, self.reference) for name in self.milliseconds if name != self.reference)

    def rows(self) -> tuple[tuple[Timing, Ratio], ...]:
        """Return one row a callable for a table, in the order given, each with its ratio to the reference."""
        return tuple((self.timing(name), self.ratio(name, self.reference)) for name in self.milliseconds)

    def to_json(self) -> dict[str, object]:
        """Return everything as JSON-ready values, single times included, with ``schema_version``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "unit": "ms",
            "rounds": self.rounds,
            "warmup": self.warmup,
            "reference": self.reference,
            "timings": [
                {
                    "name": timing.name,
                    "median": timing.median,
                    "q1": timing.q1,
                    "q3": timing.q3,
                    "min": timing.minimum,
                    "times": list(self.milliseconds[timing.name]),
                }
                for timing, _ in self.rows()
            ],
            "ratios": [
                {"name": r.name, "over": r.over, "of_medians": r.of_medians, "paired": r.paired.to_json()}
                for r in self.ratios()
            ],
        }

    def _times(self, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        if name not in self.milliseconds:
            raise InputError(f"latency: {name!r} was not timed; timed were {', '.join(self.milliseconds)}")
        return np.array(self.milliseconds[name], np.float64)


def interleave(
    callables: Mapping[str, Callable[[], object]],
    rounds: int,
    warmup: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Call each callable once a round and time it.

    The order rotates by one place from round to round, so that none always runs after the same neighbour's
    caches.

    Args:
        callables: What to time, by name; the first is the reference of the ratios.
        rounds: Timed rounds, >= 1.
        warmup: Untimed rounds first, >= 0.
        clock: Seconds since any fixed moment.

    Returns:
        All times and their summaries.

    Raises:
        InputError: There is nothing to time, a count is out of range, or the clock saw no time pass.

    Example:
        >>> ticks = iter(range(100))
        >>> result = interleave({"a": list, "b": dict}, rounds=3, warmup=1, clock=lambda: next(ticks))
        >>> result.timing("a").median, str(result.ratio("b", "a").paired)
        (1000.0, '1 [1, 1]')
    """
    if not callables or rounds < 1 or warmup < 0:
        raise InputError(
            f"latency: {len(callables)} callables, {rounds} rounds, {warmup} warm-up rounds; "
            "expected at least 1, at least 1 and at least 0"
        )
    names = list(callables)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-warmup, rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            call = callables[name]
            start = clock()
            call()
            elapsed = clock() - start
            if number >= 0:
                times[name].append(elapsed * 1e3)
    return Latency({name: tuple(values) for name, values in times.items()}, warmup)
