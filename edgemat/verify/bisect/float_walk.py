"""The walk of a float artefact: tensor by tensor on its own tensors, then end to end."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgemat.export._compare import References
from edgemat.verify import _inputs
from edgemat.verify.bisect import cut, floats, hints
from edgemat.verify.bisect.floats import Residual
from edgemat.verify.bisect.result import Bisection, Evidence, Part, in_order
from edgemat.verify.compare import compare

if TYPE_CHECKING:
    from edgemat.export._target import Alphas, Gate, Images, Runner, Tensors
    from edgemat.verify.bisect.floats import FloatReference, Worst
    from edgemat.verify.exported import Entry

_FORCED = (
    "each tensor was compared with what ONNX Runtime makes of the artefact's own tensors before it; "
    "its limit is what rounding to {} does to the sums that make it"
)
_OUTPUT = "only alpha was compared, with its gate: the backend shows no inner tensors"
_GROWS = "no tensor is beyond its limit by itself: the difference grows from layer to layer, as low precision does"
_ELSEWHERE = (
    "the tensors that are shown are right and the output is not: what the runtime executes is not what shows its "
    "tensors (a delegate, an accelerator)"
)


class _End(NamedTuple):
    """The reference's own run.

    Attributes:
        alpha: float32, (N, H, W).
        first: The first tensor that departs from it by more than alpha may; None where none does.
        mistaken: What the artefact's input seems to be, where its alpha tells.
    """

    alpha: Alphas
    first: Part | None
    mistaken: tuple[str, ...]


def walk(entry: Entry, gate: Gate, runner: Runner, images: Images, alpha: Alphas, cuts: bool) -> Bisection:
    """Return where a float artefact parts from its trunk; see `edgemat.verify.bisect.bisect`."""
    compared = floats.reference(entry)
    graph = compared.graph
    order = {
        name: i for i, name in enumerate([*graph.inputs, *(name for node in graph.nodes for name in node.outputs)])
    }
    traces = [runner.trace(image) for image in images]
    walked = floats.worst(compared, images, traces)
    parts = {
        name: floats.measured(
            name, hints.source_of(compared, name, traces[0].keys()), worst.residual, compared.precision
        )
        for name, worst in walked.items()
        if worst.times > 1.0
    }
    inner = [name for name in walked if name not in (*graph.inputs, *graph.outputs)]
    end, passes = _ends(entry, gate, compared, images, traces, alpha, explains=not parts)
    notes, evidence = list[str](), None
    if parts:
        first = in_order(parts, order)[0].tensor
        parts[first], evidence = _explained(compared, images, traces, parts[first], walked[first])
    elif not passes:
        part, evidence = _at_alpha(
            compared, images, alpha, end, gate, _reason(gate, traces, end, inner, graph.outputs[0])
        )
        if cuts and (not inner or part.hint == _ELSEWHERE):
            part, notes = cut.search(entry, gate, images, part)
        parts[part.tensor] = part
    return Bisection(
        entry.name, str(entry.path), _FORCED.format(compared.precision.name) if inner else _OUTPUT,
        in_order(parts, order), (end.first or next(iter(parts.values()))) if parts else None,
        max(1, len(walked)), tuple(name for name in order if name not in walked and name not in graph.inputs),
        len(images), max((worst.times for worst in walked.values()), default=0.0), (*end.mistaken, *notes), evidence,
    )  # fmt: skip


def _ends(
    entry: Entry,
    gate: Gate,
    compared: FloatReference,
    images: Images,
    traces: Sequence[Tensors],
    alpha: Alphas,
    explains: bool,
) -> tuple[_End, bool]:
    """Run the reference by itself; return it, and whether alpha passes its gate.

    ``explains`` asks alpha alone for a mistake at the input, which takes hundreds of runs.
    """
    from edgemat.export.onnx import OnnxRunner

    with tempfile.TemporaryDirectory() as folder:
        references = References(images, Path(folder))
        trunk = references.stored(entry.trunk) if entry.precision in entry.target.stores else entry.trunk
        with OnnxRunner(trunk.path) as exact:
            expected = exact.run(images)
            found = compare(alpha, expected)
            # one image's mean may be above the gate where that of all is not: it says nothing beside its tensors
            passes = found.max_abs <= gate.max_abs and (found.mean_abs <= gate.mean_abs or any(traces))
            first = None if passes else _departs(compared, gate, [exact.trace(image) for image in images], traces)
            mistaken: list[str] = []
            if explains and not passes and np.isfinite(alpha).all() and np.ptp(alpha) >= gate.max_abs:
                mistaken = _inputs.explain(alpha, images, exact.run_float, gate)
    return _End(expected, first, tuple(mistaken)), passes


def _departs(compared: FloatReference, gate: Gate, exact: Sequence[Tensors], traces: Sequence[Tensors]) -> Part | None:
    """Return the first tensor that departs end to end by more of its largest value than alpha may."""
    for name in exact[0]:
        for expected, traced in zip(exact, traces, strict=True):
            if name not in traced or traced[name].shape != expected[name].shape:
                continue
            limit = gate.max_abs * float(np.abs(expected[name]).max(initial=0.0))
            residual = Residual(traced[name], expected[name], np.full_like(expected[name], max(limit, 1e-30)))
            if residual.times.max(initial=0.0) > 1.0:
                return floats.measured(
                    name, hints.source_of(compared, name, traced.keys()), residual, compared.precision
                )
    return None


def _explained(
    compared: FloatReference, images: Images, traces: Sequence[Tensors], part: Part, worst: Worst
) -> tuple[Part, Evidence]:
    """Return a part with the likeliest cause, and what shows it."""
    from edgemat.export.onnx import to_floats

    place = next(i for i, image in enumerate(images) if np.array_equal(image, worst.image))
    evidence = Evidence(worst.image, worst.residual.expected, worst.residual.found)
    if part.tensor in compared.graph.inputs:
        swapped = np.abs(worst.residual.found[:, ::-1] - worst.residual.expected) <= worst.residual.limit
        hint = "the channels are reversed (BGR)" if swapped.all() else "the pixels are not those given: range or layout"
        return replace(part, hint=hint), evidence
    source = compared.graph.inputs[0]
    fed = {source: to_floats(images[place][None])[0]} | {
        k: v for k, v in traces[place].items() if k in compared.graph.shapes
    }
    return replace(part, hint=hints.of_float(compared, part.tensor, worst.residual, fed) or part.hint), evidence


def _reason(gate: Gate, traces: Sequence[Tensors], end: _End, inner: Sequence[str], output: str) -> str:
    """Return why alpha is wrong although no tensor that is shown is."""
    if not inner:
        return ""
    if any(output not in traced for traced in traces):
        return _GROWS
    shown = compare(np.concatenate([traced[output][0] for traced in traces]), end.alpha)
    return _ELSEWHERE if shown.max_abs <= gate.max_abs and shown.mean_abs <= gate.mean_abs else _GROWS


def _at_alpha(
    compared: FloatReference, images: Images, alpha: Alphas, end: _End, gate: Gate, hint: str
) -> tuple[Part, Evidence]:
    """Return the output as the tensor that parts, at the image where it is worst."""
    from edgemat.verify.bisect import patterns

    with np.errstate(invalid="ignore"):
        worst = int(np.nan_to_num(np.abs(alpha - end.alpha).max((1, 2)), nan=np.inf).argmax())
    found, expected = (values[worst][None, None] for values in (alpha, end.alpha))
    residual = Residual(found, expected, np.full_like(expected, gate.max_abs))
    (output,) = compared.graph.outputs
    part = floats.measured(output, hints.source_of(compared, output, set()), residual, compared.precision)
    return replace(part, hint=hint or patterns.guess(residual)), Evidence(images[worst], expected, found)
