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
    from collections.abc import Mapping, Sequence

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
_GROWS = (
    "end to end {:.2%} of alpha's pixels are within one code, the gate asks for {:.0%} over all images: no tensor is "
    "beyond its limit by itself, differences of single codes grow from layer to layer"
)
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
    stated, notes = _scales(entry, gate, compared)
    for tensor, line in stated.items():
        found[tensor] = _stated(compared, tensor, line, found.get(tensor))
    exact = [compared.codes(run.image) for run in runs]
    if (labelled := _mislabelled(compared, runs, alpha)) is not None:
        found.setdefault(labelled[0].tensor, labelled)
    share, at_alpha = _agreement(compared, runs, exact, alpha)
    if not found and share < gate.within_one:
        if check.missing:  # the fault may lie in what is not shown
            found[at_alpha[0].tensor] = at_alpha
        else:
            notes.append(_GROWS.format(share, gate.within_one))
    order = {name: place for place, name in enumerate((*compared.graph.inputs, *(u.output for u in compared.units)))}
    parts = in_order({name: part for name, (part, _) in found.items()}, order)
    evidence = found[parts[0].tensor][1] if parts else None
    if parts and parts[0].tensor not in stated:
        parts = (_explained(entry, compared, runs, parts[0], evidence), *parts[1:])
    end = integers.first_apart(compared, runs, exact, gate) if parts else None
    worst = check.worst
    closest = 0.0 if worst is None else max(worst.lsb / max(gate.lsb, 1) if worst.lsb > 1 else 0.0, _share(check, gate))
    return Bisection(
        entry.name, str(entry.path), _FORCED if check.layers else _OUTPUT, parts, end,
        max(1, len(check.layers)), check.missing, len(images), closest, tuple(notes), evidence,
    )  # fmt: skip


def _share(check: layers.LayerCheck, gate: IntegerGate) -> float:
    return max((layer.differ for layer in check.layers), default=0.0) / gate.differ


def _mislabelled(compared: Reference, runs: Sequence[Run], alpha: Alphas) -> tuple[Part, Evidence] | None:
    """Return alpha where what is returned is not what the codes that are shown stand for."""
    name = compared.graph.outputs[0]
    params = compared.grid.activations[name]
    for run, returned in zip(runs, alpha, strict=True):
        shown, real = run.codes.get(name), returned[None, None]
        if shown is None or shown.shape != real.shape:
            continue
        if not (np.abs(params.reals(shown) - real) <= _CODE).all():  # NaN is no small difference
            own = _codes(params.codes, real)
            part = integers.measured(name, integers.source_of(compared, name), own, shown, _LABEL)
            return part, Evidence(run.image, shown, own)
    return None


def _agreement(
    compared: Reference, runs: Sequence[Run], exact: Sequence[Mapping[str, Codes]], alpha: Alphas
) -> tuple[float, tuple[Part, Evidence]]:
    """Return the share of alpha's pixels within one code end to end, and alpha at the image where it is worst."""
    name = compared.graph.outputs[0]
    params, shares = compared.grid.activations[name], []
    for codes, real in zip(exact, alpha, strict=True):
        shares.append(layers.end_to_end(_codes(params.codes, real[None, None]), codes[name]).within_one)
    worst = int(np.argmin(shares))
    own, expected = _codes(params.codes, alpha[worst][None, None]), exact[worst][name]
    part = integers.measured(name, integers.source_of(compared, name), own, expected)
    return float(np.mean(shares)), (part, Evidence(runs[worst].image, expected, own))


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
    notes: list[str] = []
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
    if run is None or part.hint == _LABEL or part.tensor not in run.codes:
        return part
    model = _graph.read(entry.trunk.path)
    hint = hints.of_codes(model, compared, part.tensor, evidence.expected.astype(np.int32), run.codes, part.hint)
    return replace(part, hint=hint)
