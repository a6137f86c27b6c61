"""Plant every kind of fault in every artefact, run `edgemat parity` over it, and count what is caught and named."""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from edgemat import export
from edgemat.export import _graph, _trunk
from edgemat.export._target import Target, Trunk, Trunks
from edgemat.model import weights
from edgemat.verify.exported import Entry, Exported
from edgemat.verify.parity import images, run
from edgemat.verify.parity.images import ParitySet
from edgemat.verify.parity.report import Outcome

from .native import TURN
from .planters import FAULTS, FLOAT, INTEGER, Fault, Patient

TARGETS = ("onnx", "coreml", "tflite")
SIZE, IMAGES = 96, 3
SCHEME = "static_w8c_a8"
_SAID = 3
"""Findings in which a cause has to be named: what a reader sees first."""


@dataclass(frozen=True)
class Trial:
    """One fault in one artefact.

    Attributes:
        fault: Its kind.
        site: Where in the network.
        target: Whose artefact.
        precision: Which.
        outcome: What parity made of it.
        tensors: Where the fault arises.
    """

    fault: Fault
    site: str
    target: str
    precision: str
    outcome: Outcome
    tensors: frozenset[str]

    @property
    def is_caught(self) -> bool:
        """Whether parity failed it."""
        return self.outcome.failed

    @property
    def names_tensor(self) -> bool:
        """Whether the first tensor that parity names is where the fault arises."""
        if self.outcome.tensor:
            return self.outcome.tensor in self.tensors
        return any(line.split(":")[0] in self.tensors for line in self._said)

    @property
    def names_cause(self) -> bool:
        """Whether what parity says first names the cause."""
        return any(re.search(self.fault.cause, line) for line in self._said)

    @property
    def is_named(self) -> bool:
        """Whether tensor or cause is right, and the fault was caught."""
        return self.is_caught and (self.names_tensor or self.names_cause)

    @property
    def _said(self) -> tuple[str, ...]:
        return (*self.outcome.findings[:_SAID], *filter(None, [self.outcome.message]))


def trunks(folder: Path, size: int = SIZE) -> Trunks:
    """Make the graphs of the shipped students."""
    plain = _trunk.from_student(weights.shipped(), size, size, folder / "float.onnx")
    on_grid = _trunk.from_student(weights.shipped_quantized(SCHEME), size, size, folder / f"{SCHEME}.onnx")
    return Trunks(plain, {SCHEME: on_grid})


def pictures(count: int = IMAGES, size: int = SIZE) -> ParitySet:
    """Return some of the images that come with the package: they have no truth, so quality catches nothing here."""
    return images.load(images.CALIBRATION, size, size, count)


def artefacts(ends: bool = False) -> list[tuple[Target, str]]:
    """Return the targets' precisions; with ``ends``, those too that differ from another in their ends alone."""
    made = [(target, precision) for target in map(export.get, TARGETS) for precision in target.gates]
    return [(target, precision) for target, precision in made if ends or not precision.endswith("_io")]


def applies(fault: Fault, target: Target, precision: str) -> bool:
    """Return whether a fault can be planted in an artefact, and means something there."""
    if f"{target.name} {precision}" in fault.refused:
        return False
    kind = FLOAT if not target.needs_grid(precision) or precision in target.stores else INTEGER
    return kind in fault.applies or precision in fault.applies


def planted(
    fault: Fault, site: str, target: Target, precision: str, clean: Trunks, folder: Path
) -> tuple[Entry, set[str]]:
    """Write one faulty artefact, and return it as an export would list it, with the tensors where the fault arises."""
    trunk = clean.get(target, precision)
    patient = Patient(onnx.load(trunk.path), trunk.grid, _other(clean, trunk))
    tensors = fault.plant(patient, site)
    place = folder / uuid.uuid4().hex  # no name that a message could repeat tells what is wrong
    place.mkdir()
    source = place / "trunk.onnx"
    model = onnx.shape_inference.infer_shapes(patient.model, strict_mode=True, data_prop=True)
    source.write_bytes(model.SerializeToString(deterministic=True))
    path = place / f"student-{precision}{target.suffix}"
    target.convert(dataclasses.replace(trunk, path=source, grid=patient.grid), precision, path)
    if fault.native:
        TURN[target.name](path)
    return Entry(target, precision, path, trunk), tensors


def _other(clean: Trunks, trunk: Trunk) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """Return the constants of the other student: the float one's for integers, and the other way round."""
    assert clean.plain is not None
    other = clean.on_grid[SCHEME] if trunk.grid is None else clean.plain
    return {name: np.asarray(value) for name, value in _graph.initializers(_graph.read(other.path))}


def trials(
    folder: Path,
    faults: Sequence[Fault] = FAULTS,
    sites: Sequence[str] | None = None,
    wanted: Sequence[tuple[Target, str]] | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Trial]:
    """Plant and judge.

    Args:
        folder: For graphs and artefacts.
        faults: Kinds.
        sites: Where; each kind's own where None.
        wanted: Artefacts; all if None.
        on_progress: Called with each kind.
    """
    clean, given = trunks(folder), pictures()
    for fault in faults:
        for site in sites or fault.sites:
            if site not in fault.sites:
                continue
            on_progress(f"{fault.name}, {site}")
            made = []
            for target, precision in wanted or artefacts():
                if applies(fault, target, precision):
                    made.append(planted(fault, site, target, precision, clean, folder))
            entries = tuple(entry for entry, _ in made)
            report = run.judge(Exported(folder, entries, clean, (), {}), given)[0]
            for (entry, tensors), outcome in zip(made, report.outcomes, strict=True):
                yield Trial(fault, site, entry.target.name, entry.precision, outcome, frozenset(tensors))
