"""How many times as long one artefact takes as another, and whether the measurement allows to say so."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgemat.errors import InputError
from edgemat.verify.bootstrap import median_interval

if TYPE_CHECKING:
    from edgemat.verify.bench.sampling import Sample

Times = npt.NDArray[np.float64]

WIDTH = 0.05
"""A ratio is concluded from where its interval lies within this share of it, above and below."""
MARGIN = 0.02
"""Differences within this share of 1 are no difference: a rebuilt or reloaded program differs by as much."""
BLOCK = 5
"""Successive rounds that are summed up by their median before the bootstrap: neighbours are not independent."""
LEAST_ROUNDS = 5
"""Usable rounds that each start needs."""
FASTER, SLOWER, SAME, INCONCLUSIVE = "faster", "slower", "same", "inconclusive"
HERE = "this machine"
VERDICTS = (FASTER, SLOWER, SAME, INCONCLUSIVE)
PASSED, FAILED = "passed", "failed"


@dataclass(frozen=True)
class Ratio:
    """How many times as long one artefact takes as another; below 1 it is the faster.

    Attributes:
        name: The numerator.
        over: The denominator.
        where: What ran both: ``1 thread``, or a unit of a device.
        value: Median over blocks of rounds of the paired ratios; None where no round was usable.
        low: Lower end of the interval: the 95 % bootstrap interval of the median, widened to hold every start's own.
        high: Upper end.
        starts: The median of each start.
        used: Rounds in which both ran undisturbed.
        rounds: All rounds.
        reason: Why nothing is concluded; empty where something is.
        device: What both ran on.
    """

    name: str
    over: str
    where: str
    value: float | None
    low: float
    high: float
    starts: tuple[float, ...]
    used: int
    rounds: int
    reason: str = ""
    device: str = HERE

    def __post_init__(self) -> None:
        """Refuse an interval that does not hold its value."""
        if self.value is not None and not 0 < self.low <= self.value <= self.high < float("inf"):
            raise InputError(f"bench: {self.name} / {self.over}: {self.value} outside its [{self.low}, {self.high}]")
        if self.value is None and not self.reason:
            raise InputError(f"bench: {self.name} / {self.over}: neither a value nor a reason")

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        if self.reason or self.value is None:
            return INCONCLUSIVE
        if self.high < 1 - MARGIN:
            return FASTER
        return SLOWER if self.low > 1 + MARGIN else SAME

    def __str__(self) -> str:
        """Return the value with its interval."""
        return "-" if self.value is None else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values."""
        return {
            "name": self.name,
            "over": self.over,
            "device": self.device,
            "where": self.where,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "starts": list(self.starts),
            "used": self.used,
            "rounds": self.rounds,
            "verdict": self.verdict,
            "reason": self.reason,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Ratio:
        """Return what `to_json` wrote.

        Raises:
            KeyError, TypeError: It is something else.
            InputError: Its figures contradict each other.
        """
        plain = {key: value[key] for key in Ratio.__dataclass_fields__ if key != "starts"}
        return Ratio(**plain, starts=tuple(value["starts"]))


def of_samples(top: Sample, bottom: Sample) -> Ratio:
    """Compare two artefacts that were timed in the same rounds.

    Args:
        top: The numerator.
        bottom: The denominator; the same numbers of threads, starts and rounds.

    Raises:
        InputError: They were not timed together.
    """
    if top.threads != bottom.threads or top.wall.shape[:2] != bottom.wall.shape[:2]:
        raise InputError(f"bench: {top.subject.name} and {bottom.subject.name} were not timed in the same rounds")
    return compare(
        top.subject.name,
        bottom.subject.name,
        threads_word(top.threads),
        _of_rounds(top.usable),
        _of_rounds(bottom.usable),
    )


def threads_word(threads: int) -> str:
    """Return ``1 thread``, ``2 threads`` and so on."""
    return f"{threads} thread" + ("s" if threads > 1 else "")


def _of_rounds(usable: Times) -> Times:
    """Return the median of each round's usable calls, (starts, rounds); NaN where there is none."""
    kept = np.isfinite(usable).any(axis=2)
    found = np.full(usable.shape[:2], np.nan)
    found[kept] = np.nanmedian(usable[kept], axis=1)
    return found


def compare(name: str, over: str, where: str, top: Times, bottom: Times, device: str = HERE) -> Ratio:
    """Compare times round by round.

    Args:
        name: The numerator.
        over: The denominator.
        where: What ran both.
        top: Milliseconds, float64, (starts, rounds); NaN where a round says nothing.
        bottom: The same of the denominator.
        device: What both ran on.

    Example:
        >>> quiet = np.full((2, 10), 4.0)
        >>> ratio = compare("int8", "fp32", "1 thread", quiet / 2, quiet)
        >>> print(ratio, ratio.verdict)
        0.500 [0.500, 0.500] faster
    """
    ratios = top / bottom
    kept = [row[np.isfinite(row)] for row in ratios]
    used = sum(len(row) for row in kept)
    if used == 0:
        reason = "no round ran undisturbed: the machine was busy"
        return Ratio(name, over, where, None, 0.0, 0.0, (), 0, ratios.size, reason, device)
    medians = tuple(float(np.median(row)) for row in kept if len(row))
    blocks = [np.median(row[i : i + BLOCK]) for row in kept for i in range(0, len(row), BLOCK)]
    middle = median_interval(np.array(blocks, np.float64))
    low, high = min(middle.low, *medians), max(middle.high, *medians)
    value = middle.value
    reason = ""
    if min(len(row) for row in kept) < min(LEAST_ROUNDS, ratios.shape[1]):
        reason = f"only {used} of {ratios.size} rounds ran undisturbed: the machine was busy"
    elif max(high / value, value / low) > 1 + WIDTH:
        reason = f"noise drowns it: [{low:.3f}, {high:.3f}] is wider than {WIDTH:.0%} of {value:.3f} either way"
    return Ratio(name, over, where, value, low, high, medians, used, ratios.size, reason, device)


@dataclass(frozen=True)
class Gate:
    """A limit that a continuous integration keeps, such as ``tflite int8/tflite fp32<=0.6``.

    Attributes:
        name: The numerator.
        over: The denominator.
        limit: The largest ratio allowed.
    """

    name: str
    over: str
    limit: float

    @staticmethod
    def parse(text: str) -> Gate:
        """Read a gate.

        Raises:
            InputError: It is none.

        Example:
            >>> Gate.parse("tflite int8 / tflite fp32 <= 0.6")
            Gate(name='tflite int8', over='tflite fp32', limit=0.6)
        """
        found = re.fullmatch(r"\s*([^/<>=]+?)\s*/\s*([^/<>=]+?)\s*<=\s*(\d+(?:\.\d+)?)\s*", text)
        if found is None or float(found[3]) <= 0:
            raise InputError(f"--gate {text!r}: expected NAME/NAME<=RATIO, such as 'tflite int8/tflite fp32<=0.6'")
        return Gate(found[1], found[2], float(found[3]))

    def __str__(self) -> str:
        """Return it as it is typed."""
        return f"{self.name}/{self.over}<={self.limit:g}"

    def judge(self, ratio: Ratio) -> str:
        """Return ``passed``, ``failed`` or ``inconclusive``: where the whole interval lies on one side of the limit.

        A ratio of too few rounds decides nothing; one of a wide interval still does, far from the limit.

        Example:
            >>> quiet = np.full((2, 10), 4.0)
            >>> ratio = compare("int8", "fp32", "1 thread", quiet / 2, quiet)
            >>> [Gate("int8", "fp32", limit).judge(ratio) for limit in (0.6, 0.4)]
            ['passed', 'failed']
        """
        if ratio.value is None or (ratio.reason and ratio.used < ratio.rounds / 2):
            return INCONCLUSIVE
        if ratio.high <= self.limit:
            return PASSED
        return FAILED if ratio.low > self.limit else INCONCLUSIVE


@dataclass(frozen=True)
class Judged:
    """A gate beside what was measured.

    Attributes:
        gate: The limit.
        ratio: What it was judged by.
        state: ``passed``, ``failed`` or ``inconclusive``.
    """

    gate: Gate
    ratio: Ratio
    state: str

    def __str__(self) -> str:
        """Return one line for a log."""
        why = f"; {self.ratio.reason}" if self.state == INCONCLUSIVE and self.ratio.reason else ""
        where = self.ratio.where if self.ratio.device == HERE else f"{self.ratio.device}, {self.ratio.where}"
        return f"{self.gate} ({where}): {self.state}, found {self.ratio}{why}"


def judge(gates: Sequence[Gate], ratios: Sequence[Ratio]) -> tuple[Judged, ...]:
    """Judge gates; each holds wherever both of its artefacts were timed.

    Args:
        gates: The limits.
        ratios: Every ratio that a gate may name.

    Raises:
        InputError: A gate names what was not timed.
    """
    judged = []
    for gate in gates:
        fitting = [r for r in ratios if (r.name, r.over) == (gate.name, gate.over)]
        if not fitting:
            known = sorted({name for r in ratios for name in (r.name, r.over)})
            raise InputError(f"--gate {gate}: not timed together; timed were: {', '.join(known) or 'none'}")
        judged += [Judged(gate, ratio, gate.judge(ratio)) for ratio in fitting]
    return tuple(judged)
