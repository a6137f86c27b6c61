"""The walk of an integer artefact: layer by layer on its own codes, then end to end, then the scales that it states."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgemat.export import _graph
from edgemat.export._compare import scale_differences
from edgemat.verify import layers
from edgemat.verify.bisect import hints, integers
from edgemat.verify.bisect.result import CODES, Bisection, Evidence, Part, in_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgemat.export._target import Alphas, Images, IntegerGate, Runner
    from edgemat.quantize.grid import Codes
    from edgemat.quantize.reference import Reference
    from edgemat.verify.bisect.integers import Run
    from edgemat.verify.exported import Entry

_FORCED = "each tensor's codes were compared with what the reference makes of the artefact's own codes before it"
_OUTPUT = (
    "only alpha was compared: the backend shows no codes, and a grid cannot be cut; export the same trunk with "
    "--target onnx --precision int8 and bisect that, to see whether the grid or this backend is at fault"
)
_GROWS = "no tensor is beyond its limit by itself: differences of single codes grow from layer to layer"
_LABEL = "the output is not what its codes stand for: the scale or zero point of the output"
_CODE = 1e-3
"""How far an output may be from what its code stands for: less than half a code (1/510), more than float16 rounds."""


def walk(entry: Entry, gate: IntegerGate, runner: Runner, images: Images, alpha: Alphas) -> Bisection:
    """Return where an integer artefact parts from the reference on its grid; see `edgemat.verify.bisect.bisect`."""
    compared = integers.reference(entry, runner.rounding)
    runs = [integers.Run(image, runner.codes(image)) for image in images]
    check = integers.forced(compared, runs, gate)
    found: dict[str, tuple[Part, Evidence | None]] = {
        part.tensor: (part, evidence) for part, evidence in integers.parts(compared, runs, check)
    }
    stated, mends = _scales(entry, gate, compared)
    for tensor, line in stated.items():
        found[tensor] = _stated(compared, tensor, line, found.get(tensor))
    end, at_alpha = _ends(compared, gate, runs, alpha)
    if at_alpha is not None and (not found or at_alpha[0].hint == _LABEL):
        found.setdefault(at_alpha[0].tensor, at_alpha)
    order = {name: place for place, name in enumerate((*compared.graph.inputs, *(u.output for u in compared.units)))}
    parts = in_order({name: part for name, (part, _) in found.items()}, order)
    evidence = found[parts[0].tensor][1] if parts else None
    if parts and parts[0].tensor not in stated:
        parts = (_explained(entry, compared, runs, parts[0], evidence), *parts[1:])
    worst = check.worst
    closest = 0.0 if worst is None else max(worst.lsb / max(gate.lsb, 1) if worst.lsb > 1 else 0.0, _share(check, gate))
    return Bisection(
        entry.name, str(entry.path), _FORCED if check.layers else _OUTPUT, parts, end if parts else None,
        max(1, len(check.layers)), check.missing, len(images), closest, tuple(mends), evidence,
    )  # fmt: skip


def _share(check: layers.LayerCheck, gate: IntegerGate) -> float:
    return max((layer.differ for layer in check.layers), default=0.0) / gate.differ


def _ends(
    compared: Reference, gate: IntegerGate, runs: Sequence[Run], alpha: Alphas
) -> tuple[Part | None, tuple[Part, Evidence | None] | None]:
    """Return the first tensor that departs end to end, and alpha where it does although every layer is right."""
    exact = [compared.codes(run.image) for run in runs]
    first = integers.first_apart(compared, runs, exact, gate)
    name = compared.graph.outputs[0]
    params, source = compared.grid.activations[name], integers.source_of(compared, name)
    for place, (run, codes) in enumerate(zip(runs, exact, strict=True)):
        shown = run.codes.get(name)
        real = alpha[place][None, None]
        if shown is not None and shown.shape == real.shape:
            off = np.abs(params.reals(shown) - real)
            if not (off <= _CODE).all():  # NaN is no small difference
                part = integers.measured(name, source, _codes(params.codes, real), shown, _LABEL)
                return first, (part, Evidence(run.image, shown, _codes(params.codes, real)))
        own = _codes(params.codes, real)
        if layers.end_to_end(own, codes[name]).within_one < gate.within_one:
            part = integers.measured(name, source, own, codes[name], _GROWS if shown is not None else "")
            return first, (part, Evidence(run.image, codes[name], own))
    return first, None


def _codes(encode: integers.Encode, real: Alphas) -> Codes:
    return encode(np.nan_to_num(real, nan=-1.0))


def _scales(entry: Entry, gate: IntegerGate, compared: Reference) -> tuple[dict[str, str], list[str]]:
    """Return what the file's scales say against the grid's, by the tensor where that acts, and notes on the rest."""
    if entry.target.scales is None:
        return {}, []
    try:
        lines, _ = scale_differences(entry.target, compared.grid, entry.path, gate.scales)
    except Exception as error:  # what its codes say stands without what it states
        return {}, [f"the scales cannot be read back ({type(error).__name__}: {error})"]
    makers = {unit.weight: unit.output for unit in compared.units if unit.weight}
    named = {unit.output for unit in compared.units} | set(compared.graph.inputs)
    found: dict[str, str] = {}
    notes = []
    for line in lines:
        name = next((n for n in (*named, *makers) if line.startswith(f"{n}: ")), "")
        tensor = makers.get(name, name)
        if tensor:
            found[tensor] = f"{found[tensor]}; {line}" if tensor in found else line
        else:
            notes.append(line)
    return found, notes


def _stated(
    compared: Reference, tensor: str, line: str, known: tuple[Part, Evidence | None] | None
) -> tuple[Part, Evidence | None]:
    """Return the part of a tensor whose scale is not the grid's: what its codes showed, or no code at all."""
    hint = f"the scale in the file: {line}"
    if known is not None:
        return replace(known[0], hint=hint), known[1]
    return Part(tensor, *integers.source_of(compared, tensor), CODES, 0.0, 0.0, 0.0, 0.0, 0.0, hint=hint), None


def _explained(entry: Entry, compared: Reference, runs: Sequence[Run], part: Part, evidence: Evidence | None) -> Part:
    """Return a part with the likeliest cause."""
    if evidence is None or part.tensor in compared.graph.inputs or not np.isfinite(part.largest):
        return part
    run = next((run for run in runs if run.image is evidence.image), None)
    if run is None or part.hint in (_GROWS, _LABEL) or part.tensor not in run.codes:
        return part
    model = _graph.read(entry.trunk.path)
    hint = hints.of_codes(model, compared, part.tensor, evidence.expected.astype(np.int32), run.codes, part.hint)
    return replace(part, hint=hint)
