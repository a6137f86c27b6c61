"""Quantize after training, measure what that costs, and keep layers in float where a budget asks for it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgemat.errors import InputError
from edgemat.quantize import engines, qdq, ranges, rules, sensitivity, settle
from edgemat.quantize import graph as graphs
from edgemat.quantize.calibrate import from_stats, with_passport
from edgemat.quantize.engines import Quantized
from edgemat.quantize.grid import Grid
from edgemat.quantize.observe import observe
from edgemat.quantize.scheme import Scheme
from edgemat.quantize.sensitivity import Budget, Kept, Layer

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgemat.quantize.extract import Extracted
    from edgemat.quantize.sensitivity import Alphas, Images

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class Outcome:
    """A quantized network and what quantization cost on the calibration images.

    Attributes:
        quantized: The network and its grid; nodes that a budget keeps are in the grid.
        difference: Mean absolute difference of alpha from the float network's, times 1e3.
        mad: MAD against ground truth of the float and of the integer network, times 1e3; None without mattes.
        ranking: Units, the most harmful first; empty where nobody asked.
        kept: What the budget costs; None where none was set.
    """

    quantized: Quantized
    difference: float
    mad: tuple[float, float] | None
    ranking: tuple[Layer, ...]
    kept: Kept | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the calibration passport warns of."""
        found = self.quantized.grid.passport.get("warnings", ())
        return tuple(map(str, found)) if isinstance(found, list) else ()

    def __bool__(self) -> bool:
        """Return whether the budget is met, or none was set."""
        return self.kept is None or bool(self.kept)

    def to_json(self) -> dict[str, object]:
        """Return JSON-ready values with ``schema_version``."""
        grid, kept = self.quantized.grid, self.kept
        return {
            "schema_version": SCHEMA_VERSION,
            "engine": self.quantized.engine,
            "method": self.quantized.method,
            "scheme": grid.scheme.name,
            "difference": self.difference,
            "mad": None if self.mad is None else {"float": self.mad[0], "integer": self.mad[1]},
            "kept": sorted(grid.kept),
            "budget": None if kept is None else {**dataclasses.asdict(kept), "limit": kept.limit, "met": bool(kept)},
            "ranking": [dataclasses.asdict(layer) for layer in self.ranking],
            "notes": list(self.quantized.notes),
            "warnings": list(self.warnings),
            "passport": dict(grid.passport),
        }


@dataclass(frozen=True)
class Task:
    """What is asked for.

    Attributes:
        scheme: Bits and symmetry.
        engine: One of `edgemat.quantize.engines.ENGINES`.
        method: One of the engine's; its first where None.
        kept: Names of nodes that compute in float.
        budget: How much worse the result may be; needs mattes.
        ranking: Whether to rank the layers, too.
    """

    scheme: Scheme
    engine: str = "grid"
    method: str | None = None
    kept: frozenset[str] = frozenset()
    budget: Budget | None = None
    ranking: bool = False


def run(model: ModelProto, images: Images, mattes: Alphas | None, task: Task, origin: str = "the trunk") -> Outcome:
    """Quantize a float graph after training.

    Args:
        model: Float32, opset 18, fixed shapes, every weight an initializer, input ``image``, output ``alpha``.
        images: RGB, uint8, (N, H, W, 3), H and W those of the graph.
        mattes: Ground truth of the images, float32, (N, H, W); None where there is none.
        task: What is asked for.
        origin: The file, for errors.

    Raises:
        InputError: Unusable images, engine, method or ``kept``; a budget without mattes; a tensor that became NaN.
        BackendMissingError: The engine is not installed.
        UnsupportedOpError: Nodes that cannot be quantized, all of them.
    """
    _check_budget(task.budget, mattes)
    known = {node.name for node in graphs.of(model, origin).nodes}
    unknown = sorted(task.kept - known)
    if unknown:
        raise InputError(f"{origin}: --keep {unknown[0]}: no such node; one of: {', '.join(sorted(known))}")
    quantized = engines.quantize(task.engine, model, images, task.scheme, task.method, task.kept, origin)
    return measure(model, quantized, images, mattes, task.budget, task.ranking)


def _check_budget(budget: Budget | None, mattes: Alphas | None) -> None:
    if budget is not None and mattes is None:
        raise InputError(
            f"--budget {budget.metric}: the calibration images have no ground truth to hold it against; name a folder "
            "with mattes and a manifest.json with --calibration, or none for the shipped images"
        )


def measure(
    original: ModelProto,
    quantized: Quantized,
    images: Images,
    mattes: Alphas | None = None,
    budget: Budget | None = None,
    ranking: bool = False,
) -> Outcome:
    """Measure what quantization cost, and keep nodes in float as a budget asks.

    Args:
        original: The float graph as it was before an engine changed its biases.
        quantized: Of an engine.
        images: As `run`.
        mattes: As `run`.
        budget: How much worse the result may be; needs mattes.
        ranking: Whether to rank the layers, too.

    Raises:
        InputError: A budget without mattes.
    """
    _check_budget(budget, mattes)
    model, grid, exact = quantized.model, quantized.grid, sensitivity.predict(original, images)
    layers = sensitivity.rank(model, grid, images, mattes) if ranking or budget is not None else ()
    kept = None
    if budget is not None and mattes is not None:
        reference = sensitivity.score(budget.metric, exact, mattes)
        kept = sensitivity.keep(model, grid, images, mattes, budget, layers, reference)
        grid = sensitivity.with_kept(model, grid, kept.names)
    found = sensitivity.predict(qdq.insert(model, grid), images)
    mad = None
    if mattes is not None:
        mad = sensitivity.score("mad", exact, mattes), sensitivity.score("mad", found, mattes)
    difference = 1e3 * float(np.abs(found - exact).mean())
    return Outcome(dataclasses.replace(quantized, grid=grid), difference, mad, layers, kept)


def complete(
    extracted: Extracted, images: Images, method: str = "mse", kept: frozenset[str] = frozenset(), origin: str = "it"
) -> Quantized:
    """Complete the scales of another tool's Q/DQ file on calibration images; what it states on the rules stays.

    Args:
        extracted: Of `edgemat.quantize.extract.extract`.
        images: RGB, uint8, (N, H, W, 3), H and W those of the graph.
        method: Of calibration, for the tensors that lack a scale.
        kept: Names of nodes that compute in float, beside those that the file names.
        origin: The file, for errors.

    Raises:
        InputError: Unusable images; a tensor that became NaN.
        UnsupportedOpError: Nodes that cannot be quantized, all of them.
    """
    ranges.check_method(method)
    kept = kept | extracted.kept
    rules.refuse(extracted.graph, kept, origin)
    settled = settle.settle(extracted.graph, extracted.activations, extracted.weights, extracted.scheme, kept)
    stats = observe(extracted.model, extracted.graph, images, origin)
    calibrated = from_stats(extracted.graph, stats, extracted.scheme, method, kept)
    activations, scales = settle.complete(extracted.graph, settled, calibrated)
    notes = (*settled.changes, *(f"{name}: no scale in the file; calibrated" for name in settled.missing))
    grid = Grid(extracted.scheme, activations, scales, kept)
    grid = with_passport(grid, extracted.graph, stats, images, method, notes=notes)
    return Quantized("grid", method, extracted.model, grid, {}, notes)
