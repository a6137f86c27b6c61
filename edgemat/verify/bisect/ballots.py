"""What each voter says at each tensor: by how much it departs from what the reference makes of its own inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgemat.export._target import IntegerGate
from edgemat.verify.bisect import floats as float_side
from edgemat.verify.bisect import integers as integer_side
from edgemat.verify.bisect.integers import source_of

if TYPE_CHECKING:
    from edgemat.export._target import Alphas, Gate, Images, Runner, Tensors
    from edgemat.quantize.graph import Graph
    from edgemat.quantize.grid import Codes
    from edgemat.quantize.reference import Reference
    from edgemat.quantize.rules import Unit
    from edgemat.verify.exported import Entry

OUTPUT = "alpha, as it is returned"
"""The last ballot: what a caller gets, whatever the backend shows."""
_CORRELATED = "the float reference is ONNX Runtime as well as target onnx: these two may be wrong together"


class Shown(NamedTuple):
    """What one artefact showed of all images.

    Attributes:
        alpha: float32, (N, H, W).
        tensors: Of each image: reals of a float artefact, codes of an integer one.
        rounding: See `Runner`.
    """

    alpha: Alphas
    tensors: tuple[Mapping[str, npt.NDArray[Any]], ...]
    rounding: str


class Ballot(NamedTuple):
    """One voter at one tensor.

    Attributes:
        departs: By how much it departs, one array an image; None of the reference, which does not.
        limits: What rounding explains of it, an array or a number an image.
        share: Admissible share of values that depart at all; 1 for reals.
    """

    departs: tuple[npt.NDArray[np.float64], ...]
    limits: tuple[npt.NDArray[np.float32] | float, ...]
    share: float = 1.0


@dataclass(frozen=True, eq=False)
class Box:
    """All ballots.

    Attributes:
        order: Tensors in the trunk's order, then `OUTPUT`.
        cast: Voter to tensor to ballot.
        nodes: Tensor to operator and node.
        notes: What a reader has to know beside.
    """

    order: tuple[str, ...]
    cast: Mapping[str, Mapping[str, Ballot]]
    nodes: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def node(self, tensor: str) -> str:
        """Return operator and name of what makes a tensor."""
        return self.nodes.get(tensor, "the output")

    def apart(self, tensor: str, first: str, second: str) -> float:
        """Return the largest difference of two voters over what rounding explains; infinite where one has no number."""
        one, other = (self.cast.get(name, {}).get(tensor) for name in (first, second))
        if one is None or other is None:
            only = one or other
            assert only is not None
            return max(_times(d, limit, only.share) for d, limit in zip(only.departs, only.limits, strict=True))
        share = one.share + other.share
        triples = zip(one.departs, other.departs, one.limits, other.limits, strict=True)
        return max(_times(a - b, x + y, share) for a, b, x, y in triples)


def _times(difference: npt.NDArray[np.float64], limit: npt.NDArray[np.float32] | float, share: float) -> float:
    if np.isnan(difference).any():
        return np.inf
    times = float((np.abs(difference) / np.maximum(limit, 1e-30)).max(initial=0.0))
    if share >= 1.0:
        return times
    return max(times, float((difference != 0).mean()) / share)


def collect(entry: Entry, runner: Runner, images: Images) -> Shown:
    """Run an artefact, and return all that it shows."""
    show = runner.codes if isinstance(entry.gate, IntegerGate) else runner.trace
    return Shown(runner.run(images), tuple(show(image) for image in images), runner.rounding)


def floats(entries: Sequence[Entry], shown: Mapping[str, Shown], images: Images) -> Box:
    """Return the ballots of float artefacts.

    All are judged from the same tensors to the next: those that every backend shows that shows any.
    """
    references = {entry.name: float_side.reference(entry) for entry in entries}
    graph = next(iter(references.values())).graph
    showing = {name: found for name, found in shown.items() if _inner(graph, found.tensors[0])}
    common = set.intersection(*(set(found.tensors[0]) for found in showing.values())) if showing else set()
    cast: dict[str, dict[str, Ballot]] = {name: {} for name in shown}
    for name, found in showing.items():
        walked = []
        for image, tensors in zip(images, found.tensors, strict=True):
            inner = {tensor: value for tensor, value in tensors.items() if tensor in common}
            walked.append(references[name].residuals(image, inner))
        for tensor in common & graph.shapes.keys() - {*walked[0]}:  # of another shape
            nothing = np.full(graph.shapes[tensor], np.nan)
            cast[name][tensor] = Ballot((nothing,) * len(images), (1.0,) * len(images))
        for tensor in walked[0]:
            pairs = [residuals[tensor] for residuals in walked]
            departs = tuple(r.found.astype(np.float64) - r.expected for r in pairs)
            cast[name][tensor] = Ballot(departs, tuple(r.limit for r in pairs))
    order = tuple(name for node in graph.nodes for name in node.outputs if name in common)
    nodes = {tensor: f"{node.op} {node.name}" for node in graph.nodes for tensor in node.outputs}
    hidden = [name for name in shown if name not in showing]
    notes = [f"{name} shows no inner tensors: it votes on the output alone" for name in hidden]
    if any(entry.target.name == "onnx" for entry in entries):
        notes.append(_CORRELATED)
    expected = _float_alpha(entries[0], images)
    for entry in entries:
        assert not isinstance(entry.gate, IntegerGate)
        cast[entry.name][OUTPUT] = _output(shown[entry.name].alpha, expected, entry.gate)
    return Box((*order, OUTPUT), cast, nodes, tuple(notes))


def _inner(graph: Graph, tensors: Tensors) -> bool:
    return bool(tensors.keys() & graph.shapes.keys() - {*graph.inputs, *graph.outputs})


def _float_alpha(entry: Entry, images: Images) -> Alphas:
    import tempfile
    from pathlib import Path

    from edgemat.export._compare import References

    with tempfile.TemporaryDirectory() as folder:
        references = References(images, Path(folder))
        return references.plain(
            references.stored(entry.trunk) if entry.precision in entry.target.stores else entry.trunk
        )


def _output(alpha: Alphas, expected: Alphas, gate: Gate) -> Ballot:
    return Ballot((alpha.astype(np.float64) - expected,), (gate.max_abs,))


def integers(entries: Sequence[Entry], shown: Mapping[str, Shown], images: Images) -> Box:
    """Return the ballots of integer artefacts of one grid, each beside a reference that rounds as its runtime does."""
    cast: dict[str, dict[str, Ballot]] = {name: {} for name in shown}
    order: tuple[str, ...] = ()
    nodes: dict[str, str] = {}
    for entry in entries:
        found, gate = shown[entry.name], entry.gate
        assert isinstance(gate, IntegerGate)
        compared = integer_side.reference(entry, found.rounding)
        order = tuple(unit.output for unit in compared.units)
        nodes = {tensor: " ".join(source_of(compared, tensor)) for tensor in order}
        for unit in compared.units:
            if all(_can_step(compared, unit, codes) for codes in found.tensors):
                departs = tuple(_forced(compared, unit, codes) for codes in found.tensors)
                cast[entry.name][unit.output] = Ballot(departs, (float(max(gate.lsb, 1)),) * len(departs), gate.differ)
        output = compared.graph.outputs[0]
        params = compared.grid.activations[output]
        expected = np.stack([compared.codes(image)[output][0, 0] for image in images])
        # single codes add up on the way: what counts is the share of the pixels that are farther off
        off = np.abs(params.codes(found.alpha) - expected) > 1
        cast[entry.name][OUTPUT] = Ballot((off.astype(np.float64),), (np.inf,), 1.0 - gate.within_one)
    notes = [f"{name} shows no codes: it votes on the output alone" for name, box in cast.items() if len(box) == 1]
    return Box((*order, OUTPUT), cast, nodes, tuple(notes))


def _forced(compared: Reference, unit: Unit, codes: Mapping[str, Codes]) -> npt.NDArray[np.float64]:
    """Return by how much one unit's codes depart from what the reference makes of the artefact's own inputs."""
    expected = compared.step(unit, codes)
    if codes[unit.output].shape != expected.shape:
        return np.full(expected.shape, np.nan)
    return (codes[unit.output] - expected).astype(np.float64)


def _can_step(compared: Reference, unit: Unit, codes: Mapping[str, Codes]) -> bool:
    shapes = compared.graph.shapes
    return unit.output in codes and all(n in codes and codes[n].shape == tuple(shapes[n]) for n in unit.inputs)
