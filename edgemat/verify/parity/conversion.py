"""Conversion: is an artefact what its trunk says, at the same precision? A difference is a bug, not a loss.

A float artefact is compared with ONNX Runtime on the float trunk, end to end and tensor by tensor; an integer one with
the exact reference on its grid, tensor by tensor on its own inputs. The measuring is that of ``edgemat export``
(`edgemat.export._compare`), on other images, long after, and with limits that a project may set.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import InputError
from edgemat.export._compare import Measured, References, measure
from edgemat.export._isolated import CrashedError, HungError
from edgemat.export._target import Gate, IntegerGate, Trunk
from edgemat.verify.parity.report import CONVERSION, Figure

if TYPE_CHECKING:
    from edgemat.export._target import Alphas, Images
    from edgemat.quantize.reference import Reference
    from edgemat.verify.bisect import Bisection
    from edgemat.verify.exported import Entry
    from edgemat.verify.parity.isolate import Isolated
    from edgemat.verify.parity.limits import ConversionLimits

TRACED = 2
"""Images whose every tensor is compared."""
_SAID = 8
"""Lines of one kind that findings repeat at most."""


@dataclass(frozen=True)
class Converted:
    """What was found of one artefact.

    Attributes:
        figures: What was measured.
        findings: Where and why it differs, the most telling first; empty where nothing does.
        tensor: The first tensor of the trunk where it parts from its reference; empty where none was found.
        unusable: Why its output cannot be compared at all (NaN, values outside [0, 1]); empty when it can.
    """

    figures: tuple[Figure, ...]
    findings: tuple[str, ...] = ()
    tensor: str = ""
    unusable: str = ""


class SharedReferences(References):
    """References that several threads may ask: each is computed once, the others wait for it."""

    def __init__(self, images: Images, folder: Path) -> None:
        """Begin with nothing computed; see `References`."""
        super().__init__(images, folder)
        self._lock = threading.RLock()

    def plain(self, trunk: Trunk) -> Alphas:
        """Return the float graph's alpha, float32, (N, H, W)."""
        with self._lock:
            return super().plain(trunk)

    def stored(self, trunk: Trunk) -> Trunk:
        """Return the float graph whose weights are what the grid's codes stand for."""
        with self._lock:
            return super().stored(trunk)

    def integer(self, trunk: Trunk, rounding: str) -> Reference:
        """Return the reference on a trunk's grid that rounds as a backend does."""
        with self._lock:
            return super().integer(trunk, rounding)

    def on_grid(self, trunk: Trunk, rounding: str) -> Alphas:
        """Return that reference's alpha, float32, (N, H, W)."""
        with self._lock:
            return super().on_grid(trunk, rounding)


def gate(entry: Entry, limits: ConversionLimits) -> Gate | IntegerGate:
    """Return the gate that an artefact has to keep: its target's, with what a project sets in its place.

    Raises:
        InputError: Such a gate could not fail.
    """
    own = entry.gate
    names = [field.name for field in dataclasses.fields(own)]
    changes = {name: value for name in names if (value := getattr(limits, name, None)) is not None}
    try:
        return dataclasses.replace(own, **changes)
    except ValueError as error:
        raise InputError(f"{entry.name}: {error}; the target's own: {own}") from error


def judge(entry: Entry, runner: Isolated, alpha: Alphas, references: References, limits: ConversionLimits) -> Converted:
    """Compare an artefact with its reference at the same precision.

    Args:
        entry: The artefact.
        runner: The same, open.
        alpha: What it returned for the references' images, float32, (N, H, W).
        references: What to compare with.
        limits: A project's own.

    Raises:
        EdgematError: It cannot be run any more, or its output cannot be compared.
    """
    kept = gate(entry, limits)
    target = dataclasses.replace(runner.as_target(entry.target), gates={entry.precision: kept})
    entry = dataclasses.replace(entry, target=target)
    measured = measure(target, entry.precision, entry.trunk, entry.path, runner, alpha, references)
    broken = runner.check()
    figures = [_promises(broken)]
    bisection: Bisection | str | None = None
    if measured.unusable:
        bisection = _explained(entry, references.images, runner)
        return _converted((), bisection, broken, measured, measured.unusable[0])
    if isinstance(kept, IntegerGate):
        figures += _integer(kept, measured)
        if not all(figure.passed for figure in figures):
            bisection = _explained(entry, references.images, runner)
    else:
        bisection = walked = _bisect(entry, references.images, runner)
        figures += _float(entry, kept, limits, measured, walked)
    if all(figure.passed for figure in figures):
        return Converted(tuple(figures))
    return _converted(tuple(figures), bisection, broken, measured)


def _converted(
    figures: tuple[Figure, ...],
    bisection: Bisection | str | None,
    broken: tuple[str, ...],
    measured: Measured,
    unusable: str = "",
) -> Converted:
    """Return what was found of an artefact that fails, with where and why."""
    if isinstance(bisection, str):
        said = (bisection, *_findings(None, broken, measured))
        return Converted(figures, said, unusable=unusable)
    tensor = "" if bisection is None or bisection.first is None else bisection.first.tensor
    return Converted(figures, tuple(_findings(bisection, broken, measured)), tensor, unusable)


def _bisect(entry: Entry, images: Images, runner: Isolated) -> Bisection:
    from edgemat.verify.bisect import bisect

    return bisect(entry, images[:TRACED], runner=runner, cuts=False)


def _explained(entry: Entry, images: Images, runner: Isolated) -> Bisection | str:
    """Return where it parts; a verdict stands without, unless the artefact cannot be run any more."""
    try:
        return _bisect(entry, images, runner)
    except (CrashedError, HungError):
        raise
    except Exception as error:
        return f"no diagnosis: {type(error).__name__}: {error}"


def _promises(broken: tuple[str, ...]) -> Figure:
    return Figure(
        CONVERSION, "broken_promises", float(len(broken)), limit=0.0, passed=not broken, detail="; ".join(broken[:1])
    )


def _float(
    entry: Entry, kept: Gate, limits: ConversionLimits, measured: Measured, bisection: Bisection
) -> Iterator[Figure]:
    found = measured.comparison
    assert found is not None  # else its output is unusable
    yield _at_most("max_abs", found.max_abs, kept.max_abs)
    yield _at_most("mean_abs", found.mean_abs, kept.mean_abs)
    enough = limits.psnr is None or found.psnr is None or found.psnr >= limits.psnr
    detail = "nothing differs" if found.psnr is None else ""
    yield Figure(CONVERSION, "psnr", found.psnr, "dB", limit=limits.psnr, at_least=True, passed=enough, detail=detail)
    if entry.precision in entry.target.stores:
        yield _scales(measured)
    if bisection.compared > 1:
        yield _rounding(limits.rounding, bisection)


def _rounding(limit: float | None, bisection: Bisection) -> Figure:
    """Return how far the tensor that is farthest from its operator's result is, over what rounding explains."""
    times, first = bisection.closest, bisection.first
    detail = f"{bisection.compared} tensors of {bisection.images} images"
    if first is not None:
        detail += f"; first at {first.tensor} ({first.op} {first.node})"
    if not math.isfinite(times):
        return Figure(
            CONVERSION, "layer_rounding", None, limit=limit, passed=limit is None, detail=f"{detail}: not a number"
        )
    return Figure(
        CONVERSION, "layer_rounding", times, limit=limit, passed=limit is None or times <= limit, detail=detail
    )


def _integer(kept: IntegerGate, measured: Measured) -> Iterator[Figure]:
    found, share, checked = measured.comparison, measured.agreement, measured.layers
    assert found is not None and share is not None and checked is not None  # noqa: PT018  (as in _float)
    worst = checked.worst
    where = "" if worst is None or not worst.differ else worst.tensor
    count = f"{len(checked.layers)} tensors of {TRACED} images"
    widest = max(checked.layers, key=lambda layer: layer.differ, default=None)
    differ = 0.0 if widest is None else widest.differ
    most = widest.tensor if widest is not None and differ else ""
    yield _at_most(
        "layer_lsb", float(worst.lsb if worst else 0), float(kept.lsb), "LSB", "; ".join(filter(None, [count, where]))
    )
    yield _at_most("layer_differ", 100 * differ, 100 * kept.differ, "%", most)
    yield _at_most("layers_hidden", float(len(checked.missing)), 0.0, detail=", ".join(checked.missing[:3]))
    yield _scales(measured)
    within = 100 * share.within_one
    yield Figure(
        CONVERSION, "within_one", within, "%", limit=100 * kept.within_one, at_least=True,
        passed=share.within_one >= kept.within_one,
    )  # fmt: skip
    yield Figure(CONVERSION, "identical", 100 * share.identical, "%")
    yield Figure(CONVERSION, "max_abs", found.max_abs)
    yield Figure(CONVERSION, "mean_abs", found.mean_abs)
    yield Figure(CONVERSION, "psnr", found.psnr, "dB", detail="nothing differs" if found.psnr is None else "")


def _scales(measured: Measured) -> Figure:
    """Return how many tensors' scales in the file are not the grid's."""
    count = len(measured.stated)
    detail = measured.stated[0] if measured.stated else f"largest relative difference {measured.scales:.2g}"
    return _at_most("wrong_scales", float(count), 0.0, detail=detail)


def _at_most(name: str, value: float, limit: float, unit: str = "1", detail: str = "") -> Figure:
    return Figure(CONVERSION, name, value, unit, limit=limit, passed=value <= limit, detail=detail)


def _findings(bisection: Bisection | None, broken: tuple[str, ...], measured: Measured) -> Iterator[str]:
    """Yield where and why, in sentences."""
    if bisection is not None:
        yield from bisection.notes
        if bisection.first is not None:
            yield "first differs at " + " ".join(str(bisection.first).split())
        if others := [part.tensor for part in bisection.parts[1:]]:
            named = ", ".join(others[:_SAID]) + (" ..." if len(others) > _SAID else "")
            yield f"{len(others)} further tensors differ by themselves: {named}"
    yield from (f"the file: {line}" for line in broken[:_SAID])
    yield from measured.stated[:_SAID]
    if measured.layers is not None:
        yield from (str(layer) for layer in measured.layers.failed[:_SAID])
