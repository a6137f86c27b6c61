"""Judge one artefact: a float one beside the float reference, an integer one on its grid, tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgemat.errors import InputError
from edgemat.export import _graph
from edgemat.export._target import Gate, IntegerGate, Runner, Target, Trunk
from edgemat.files import atomic_path
from edgemat.quantize import graph, qdq
from edgemat.quantize.reference import Reference
from edgemat.verify import layers
from edgemat.verify.compare import compare, complaints
from edgemat.verify.diagnose import diagnose
from edgemat.verify.report import Comparison, OnGrid

if TYPE_CHECKING:
    from edgemat.export._target import Alphas, Images
    from edgemat.quantize.grid import Grid

_TRACED = 2
"""Images whose every tensor is compared."""
_HALF = 2.0**-11
"""Largest relative rounding to float16, in which a file that only stores integers may state their scales."""


@dataclass(frozen=True)
class Verdict:
    """What a comparison found.

    Attributes:
        wrong: Why the artefact does not pass, the most telling first; empty when it does.
        comparison: Alpha beside its reference; None where it could not be compared.
        on_grid: The figures of an integer artefact.
    """

    wrong: tuple[str, ...]
    comparison: Comparison | None = None
    on_grid: OnGrid | None = None


class References:
    """What artefacts are compared with, each computed once: by trunk, and for integers by the backend's rounding."""

    def __init__(self, images: Images, folder: Path) -> None:
        """Begin with nothing computed.

        Args:
            images: RGB, uint8, (N, H, W, 3).
            folder: For graphs that are needed on the way.
        """
        self.images, self._folder = images, folder
        self._alphas: dict[tuple[Path, str], Alphas] = {}
        self._integer: dict[tuple[Path, str], Reference] = {}

    def plain(self, trunk: Trunk) -> Alphas:
        """Return the float graph's alpha, float32, (N, H, W)."""
        from edgemat.export.onnx import OnnxRunner

        key = (trunk.path, "")
        if key not in self._alphas:
            with OnnxRunner(trunk.path) as runner:
                self._alphas[key] = runner.run(self.images)
        return self._alphas[key]

    def stored(self, trunk: Trunk) -> Trunk:
        """Return the float graph whose weights are what the grid's codes stand for."""
        path = self._folder / f"{trunk.path.stem}-stored.onnx"
        if not path.exists():
            assert trunk.grid is not None
            model = qdq.with_stored_weights(_graph.read(trunk.path), trunk.grid)
            with atomic_path(path) as temporary:
                temporary.write_bytes(model.SerializeToString(deterministic=True))
        return Trunk(path, trunk.height, trunk.width, trunk.info)

    def integer(self, trunk: Trunk, rounding: str) -> Reference:
        """Return the reference on a trunk's grid that rounds as a backend does."""
        key = (trunk.path, rounding)
        if key not in self._integer:
            assert trunk.grid is not None
            self._integer[key] = Reference(graph.of(_graph.read(trunk.path)), trunk.grid, rounding)
        return self._integer[key]

    def on_grid(self, trunk: Trunk, rounding: str) -> Alphas:
        """Return that reference's alpha, float32, (N, H, W)."""
        key = (trunk.path, rounding)
        if key not in self._alphas:
            self._alphas[key] = self.integer(trunk, rounding).run(self.images)
        return self._alphas[key]


@dataclass(frozen=True)
class Measured:
    """What was measured of one artefact, before anything is judged.

    Attributes:
        unusable: Why its alpha cannot be compared: its type, shape or range; empty when it can.
        comparison: Alpha beside its reference; None where it could not be compared.
        agreement: How far an integer artefact's alpha agrees with the reference on the grid; None for a float one.
        layers: An integer artefact's tensors, each beside what the reference makes of the same inputs.
        stated: What the scales in the file have wrong, a line each.
        scales: Largest relative difference of a scale in the file from the grid's.
        float_trunk: The float graph that a float artefact is compared with; None for an integer one.
    """

    unusable: tuple[str, ...] = ()
    comparison: Comparison | None = None
    agreement: layers.Agreement | None = None
    layers: layers.LayerCheck | None = None
    stated: tuple[str, ...] = ()
    scales: float = 0.0
    float_trunk: Trunk | None = None


def measure(
    target: Target, precision: str, trunk: Trunk, path: Path, runner: Runner, alpha: Alphas, references: References
) -> Measured:
    """Compare what an artefact returned with its reference.

    Args:
        target: What made it.
        precision: One of its precisions.
        trunk: What it was made from.
        path: The artefact.
        runner: The artefact, open.
        alpha: What it returned for the references' images.
        references: What to compare with.
    """
    gate = target.gates[precision]
    if isinstance(gate, IntegerGate):
        return _measured_integer(target, gate, trunk, path, runner, alpha, references)
    stated: list[str] = []
    if precision in target.stores:
        assert trunk.grid is not None
        stated = scale_differences(target, trunk.grid, path, _HALF, activations=False)[0]
        trunk = references.stored(trunk)
    reference = references.plain(trunk)
    unusable = complaints(alpha, reference.shape, gate.max_abs)
    comparison = None if unusable else compare(alpha, reference)
    return Measured(tuple(unusable), comparison, stated=tuple(stated), float_trunk=trunk)


def _measured_integer(
    target: Target,
    gate: IntegerGate,
    trunk: Trunk,
    path: Path,
    runner: Runner,
    alpha: Alphas,
    references: References,
) -> Measured:
    assert trunk.grid is not None
    integer, reference = references.integer(trunk, runner.rounding), references.on_grid(trunk, runner.rounding)
    if unusable := complaints(alpha, reference.shape, 1e-3):
        return Measured(tuple(unusable))
    end = trunk.grid.activations[integer.graph.outputs[0]]
    share = layers.end_to_end(end.codes(alpha), end.codes(reference))
    stated, largest = scale_differences(target, trunk.grid, path, gate.scales)
    checked = layers.merge(
        layers.check(integer, runner.codes(image), image, gate.lsb, gate.differ)
        for image in references.images[:_TRACED]
    )
    return Measured((), compare(alpha, reference), share, checked, tuple(stated), largest)


def judge(
    target: Target, precision: str, trunk: Trunk, path: Path, runner: Runner, alpha: Alphas, references: References
) -> Verdict:
    """Hold what `measure` finds against the target's gate; arguments as there."""
    measured = measure(target, precision, trunk, path, runner, alpha, references)
    gate = target.gates[precision]
    if isinstance(gate, IntegerGate):
        return _judge_integer(gate, measured)
    return _judge_float(gate, measured, runner, references)


def _judge_float(gate: Gate, measured: Measured, runner: Runner, references: References) -> Verdict:
    assert measured.float_trunk is not None
    wrong, found = list(measured.unusable), measured.comparison
    if found is not None:
        if found.max_abs <= gate.max_abs and found.mean_abs <= gate.mean_abs:
            return Verdict(measured.stated, found)
        wrong = [
            f"alpha differs by max {found.max_abs:.3g}, mean {found.mean_abs:.3g}; "
            f"the gate is max {gate.max_abs:g}, mean {gate.mean_abs:g}"
        ]
    try:
        wrong += diagnose(measured.float_trunk, runner, references.images, gate).findings
    except Exception as error:  # the verdict stands without an explanation
        wrong.append(f"no diagnosis: {type(error).__name__}: {error}")
    return Verdict((*measured.stated, *wrong), found)


def _judge_integer(gate: IntegerGate, measured: Measured) -> Verdict:
    share, checked = measured.agreement, measured.layers
    if measured.unusable or share is None or checked is None:
        return Verdict(measured.unusable)
    wrong = [*measured.stated, *map(str, checked.failed)]
    if checked.missing:
        wrong.append(f"{len(checked.missing)} tensors are not shown, so not compared: {', '.join(checked.missing[:5])}")
    if share.within_one < gate.within_one:
        wrong.append(
            f"{share.within_one:.2%} of alpha's pixels are within one code of the reference, "
            f"expected {gate.within_one:.0%}"
        )
    worst = checked.worst
    lsb, tensor = (worst.lsb, worst.tensor) if worst is not None and worst.lsb else (0, "")
    figures = OnGrid(lsb, tensor, len(checked.layers), share.within_one, share.identical, measured.scales)
    return Verdict(tuple(wrong), measured.comparison, figures)


def scale_differences(
    target: Target, grid: Grid, path: Path, tolerance: float, activations: bool = True
) -> tuple[list[str], float]:
    """Compare the scales that a file states with a grid's.

    Args:
        target: What made the file.
        grid: What it should state.
        path: The file.
        tolerance: Largest admissible relative difference; 0 for identical as float32.
        activations: Compare the activations' scales and zero points too.

    Returns:
        A line for each tensor that is missing or differs, and the largest relative difference.
    """
    if target.scales is None:
        raise InputError(f"target {target.name}: makes integers, but reads no scales back (a defect of edgemat)")
    found, lines, largest = target.scales(path), [], 0.0
    for name, params in grid.activations.items() if activations else ():
        if name not in found.activations:
            lines.append(f"{name}: the file states no scale")
            continue
        scale, zero = found.activations[name]
        off = abs(scale - params.scale) / params.scale
        largest = max(largest, off)
        if off > tolerance:
            lines.append(f"{name}: the file states scale {scale:.9g}, the grid {params.scale:.9g}")
        if zero != params.zero_point:
            lines.append(f"{name}: the file states zero point {zero}, the grid {params.zero_point}")
    for name, scales in grid.weights.items():
        other = found.weights.get(name)
        if other is None or other.shape != scales.shape:
            stated = "no scales" if other is None else f"{other.shape} scales"
            lines.append(f"{name}: the file states {stated}, expected {scales.shape}")
            continue
        differences = abs(other - scales) / scales
        largest = max(largest, float(differences.max()))
        if bad := int((differences > tolerance).sum()):
            lines.append(f"{name}: {bad} of {scales.size} channels' scales differ, by up to {differences.max():.3g}")
    return lines, largest
