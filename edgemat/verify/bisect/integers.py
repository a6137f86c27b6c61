"""Integer artefacts: each tensor's codes beside what the reference makes of the artefact's own codes before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgemat.export import _graph
from edgemat.quantize import graph as graphs
from edgemat.quantize.grid import Codes, Reals
from edgemat.quantize.reference import Reference
from edgemat.verify import layers
from edgemat.verify.bisect.result import CODES, Evidence, Part

if TYPE_CHECKING:
    from edgemat.export._target import Images, IntegerGate
    from edgemat.quantize.rules import Unit
    from edgemat.verify.exported import Entry

Encode = Callable[[Reals], Codes]
_SPAN = 255.0
"""Codes of 8 bits: what a difference is relative to."""


class Run(NamedTuple):
    """One image, and the codes that the artefact shows of it."""

    image: Images
    codes: Mapping[str, Codes]


def reference(entry: Entry, rounding: str) -> Reference:
    """Return the exact integers on the artefact's grid that round as its runtime does."""
    assert entry.trunk.grid is not None
    return Reference(graphs.of(_graph.read(entry.trunk.path)), entry.trunk.grid, rounding)


def forced(compared: Reference, runs: list[Run], gate: IntegerGate) -> layers.LayerCheck:
    """Return every layer beside what the reference makes of the artefact's own inputs."""
    return layers.merge(layers.check(compared, run.codes, run.image, gate.lsb, gate.differ) for run in runs)


def first_apart(
    compared: Reference, runs: Sequence[Run], exact: Sequence[Mapping[str, Codes]], gate: IntegerGate
) -> Part | None:
    """Return the first tensor that departs from the reference's own run by more than the gate; None where none does.

    Args:
        compared: The reference.
        runs: The artefact's.
        exact: The reference's own codes of the same images.
        gate: How far one layer may be, given the same inputs; here differences add up.
    """
    for name in exact[0]:
        for run, codes in zip(runs, exact, strict=True):
            if name in run.codes:
                part = measured(name, source_of(compared, name), run.codes[name], codes[name])
                if part.steps > gate.lsb or part.share > gate.differ:
                    return part
    return None


def parts(compared: Reference, runs: list[Run], check: layers.LayerCheck) -> Iterator[tuple[Part, Evidence]]:
    """Yield each layer beyond a limit, with the values of the image where it differs most."""
    units = {unit.output: unit for unit in compared.units}
    for layer in check.failed:
        pairs = [(run, run.codes[layer.tensor], _expected(compared, units, run, layer.tensor)) for run in runs]
        run, found, expected = max(pairs, key=lambda pair: _score(pair[1], pair[2]))
        part = measured(layer.tensor, source_of(compared, layer.tensor), found, expected, layer.hint)
        yield part, Evidence(run.image, expected, found)


def _expected(compared: Reference, units: Mapping[str, Unit], run: Run, tensor: str) -> Codes:
    if tensor not in units:
        return compared.image_codes(run.image)
    return compared.step(units[tensor], run.codes)


def _score(found: Codes, expected: Codes) -> tuple[float, float]:
    if found.shape != expected.shape:
        return np.inf, 1.0
    difference = np.abs(found.astype(np.int64) - expected)
    return float(difference.max(initial=0)), float((difference > 0).mean())


def source_of(compared: Reference, tensor: str) -> tuple[str, str]:
    """Return operator and node of a tensor, with the activation that is fused into it."""
    unit = next((unit for unit in compared.units if unit.output == tensor), None)
    if unit is None:
        return "Input", tensor
    nodes = [unit.node, *([unit.activation] if unit.activation is not None else [])]
    return " + ".join(node.op for node in nodes), " + ".join(node.name for node in nodes)


def measured(tensor: str, node: tuple[str, str], found: Codes, expected: Codes, hint: str = "") -> Part:
    """Return how far codes are from what was expected.

    Args:
        tensor: Its name.
        node: Operator and name of what makes it.
        found: The artefact's, int32, NCHW.
        expected: The reference's.
        hint: What the pattern of the difference suggests.
    """
    if found.shape != expected.shape:
        return Part(tensor, *node, CODES, np.inf, np.inf, np.inf, np.inf, 1.0, hint=hint)
    difference = np.abs(found.astype(np.int64) - expected)
    place = np.unravel_index(int(difference.argmax()), difference.shape)
    lsb, share = float(difference[place]), float((difference > 0).mean())
    where = tuple(int(i) for i in place[1:])
    return Part(
        tensor,
        *node,
        CODES,
        lsb,
        lsb / _SPAN,
        lsb,
        lsb,
        share,
        where,
        float(expected[place]),
        float(found[place]),
        hint,
    )
